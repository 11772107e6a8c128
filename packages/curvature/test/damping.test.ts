import { init, scaledDotProductAttention, type Tensor, tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type CurvatureProblem,
  crossEntropy,
  dampingRules,
  flattenTree,
  ggnOperator,
  invertBlock,
  invertFactors,
  kroneckerCurvature,
  precondition,
  toDense,
} from "../src/index";
import { distance, norm, numbers, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

/** A layer with a bias, scale and shift of features, and a parameter of no structure. */
const params: Params = {
  W: random(1, [4, 5]),
  b: random(2, [5]),
  scale: random(3, [5]),
  shift: random(4, [5]),
  slope: random(5, [5]),
  head: random(6, [5, 3]),
};
const at = (p: Params, name: string) => p[name] as Tensor;
const problem: CurvatureProblem<Params> = {
  loss: crossEntropy,
  model: (p, x) =>
    x
      .dot(at(p, "W"))
      .add(at(p, "b"))
      .tanh()
      .mul(at(p, "scale"))
      .add(at(p, "shift"))
      .mul(at(p, "slope").tanh())
      .dot(at(p, "head")),
};
const batch = { inputs: random(7, [6, 4]), targets: tensor(Int32Array.from([0, 1, 2, 2, 1, 0])) };
const curvature = kroneckerCurvature(problem, params, batch);
const { blocks } = curvature;
const { factors, forms, gradients } = curvature.evaluate(params, batch);
const damping = tensor([0.03]).reshape([]);

describe("the root of the inverse", () => {
  it.each(dampingRules)("applied twice is the inverse: %s", (rule) => {
    expect(blocks.map(({ kind }) => kind)).toEqual(["kronecker", "unitwise", "diagonal", "kronecker"]);
    const whole = precondition(blocks, invertFactors(blocks, factors, damping, rule), gradients, damping);
    const roots = invertFactors(blocks, factors, damping, rule, "inverseRoot");
    const half = (tree: Params) => precondition(blocks, roots, tree, damping, "inverseRoot");
    const [expected, actual] = [numbers(whole), numbers(half(half(gradients)))];
    actual.forEach((own, index) => {
      const wanted = expected[index] as number[];
      expect(distance(own, wanted)).toBeLessThan(1e-7 * norm(wanted));
    });
  });
});

describe("the report of an inversion", () => {
  const block = blocks[0] as (typeof blocks)[number];

  it("knows the condition of the damped block, up to the norm that is meant", () => {
    const exact = numbers(invertBlock(block, factors, damping, "exactKronecker").condition)[0]?.[0] as number;
    const estimate = numbers(invertBlock(block, factors, damping, "sqrtBoth").condition)[0]?.[0] as number;
    expect(exact).toBeGreaterThan(1);
    // (a + √λ)(b + √λ) has a smaller range than a b + λ, and the 1-norm of n rows is at most n times as large.
    expect(estimate).toBeGreaterThan(1);
    expect(estimate).toBeLessThan(exact * 5 * 5);
  });

  it("counts eigenvalues that are zero: all but one of a batch of one", () => {
    const single = { inputs: random(8, [1, 4]), targets: tensor(Int32Array.from([1])) };
    const own = kroneckerCurvature(problem, params, single, { fisher: "empirical" });
    const { clipped } = invertBlock(block, own.evaluate(params, single).factors, damping, "exactKronecker");
    // In float64 some of the zeros come out as 1e-17 above.
    expect(numbers(clipped)[0]?.[0]).toBeGreaterThan(0.2);
    const { clipped: none } = invertBlock(block, factors, damping, "heuristicPi");
    expect(numbers(none)).toEqual([[0]]);
  });

  it("takes π from the mean eigenvalues", () => {
    const { a, b } = factors.W as { readonly a: Tensor; readonly b: Tensor };
    const [left, right] = numbers([a, b]) as [number[], number[]];
    const mean = (values: number[], n: number) =>
      values.filter((_, index) => index % (n + 1) === 0).reduce((sum, value) => sum + value, 0) / n;
    const expected = Math.sqrt(mean(left, 5) / mean(right, 5));
    expect(numbers(invertBlock(block, factors, damping, "heuristicPi").pi)[0]?.[0]).toBeCloseTo(expected, 10);
    expect(numbers(invertBlock(block, factors, damping, "sqrtBoth").pi)).toEqual([[1]]);
  });
});

it("quadratic forms are those of the exact Gauss-Newton matrix", () => {
  const directions = [11, 12].map((seed) =>
    Object.fromEntries(
      Object.entries(params).map(([name, { shape }], index) => [name, random(seed + 10 * index, shape)]),
    ),
  );
  const dense = toDense(ggnOperator(problem, params, batch));
  const flat = directions.map((direction) => flattenTree(direction));
  const expected = flat.flatMap((row) => flat.map((column) => row.dot(dense.dot(column))));
  const [actual] = numbers(forms(directions)) as [number[]];
  const wanted = numbers(expected).flat();
  expect(distance(actual, wanted)).toBeLessThan(1e-10 * norm(wanted));
});

describe("keys of an attention", () => {
  const own: Params = { q: random(21, [4, 4]), k: random(22, [4, 4]), v: random(23, [4, 4]), head: random(24, [4, 3]) };
  const attending: CurvatureProblem<Params> = {
    loss: crossEntropy,
    model(p, x) {
      const [q, k, v] = ["q", "k", "v"].map((name) => x.dot(at(p, name), { contract: [[2], [0]] }).expandDims(1));
      const mixed = scaledDotProductAttention(q as Tensor, k as Tensor, v as Tensor);
      return mixed.mean({ axis: [1, 2] }).dot(at(p, "head"));
    },
  };
  const tokens = { inputs: random(25, [3, 5, 4]), targets: tensor(Int32Array.from([0, 1, 2])) };

  it("have a reduce factor B of zero, which leaves the gradient over λ, and expand by themselves", () => {
    const reduced = kroneckerCurvature(attending, own, tokens, { flavour: "reduce" });
    const evaluation = reduced.evaluate(own, tokens);
    const { b } = evaluation.factors.k as { readonly b: Tensor };
    expect(numbers(b)[0]?.every((value) => value === 0)).toBe(true);
    const inverses = invertFactors(reduced.blocks, evaluation.factors, damping, "heuristicPi");
    const solved = precondition(reduced.blocks, inverses, evaluation.gradients, damping);
    const [u, g] = numbers([at(solved, "k"), at(evaluation.gradients, "k")]) as [number[], number[]];
    const lambda = numbers(damping)[0]?.[0] as number;
    expect(
      distance(
        u,
        g.map((value) => value / lambda),
      ),
    ).toBeLessThan(1e-9 * norm(u));
    const automatic = kroneckerCurvature(attending, own, tokens).report();
    expect(automatic).toMatch(/k: Kronecker, expand/);
    expect(automatic).toMatch(/q: Kronecker, reduce/);
  });
});
