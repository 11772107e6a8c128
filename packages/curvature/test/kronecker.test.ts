import { conv as convolution, evaluate, init, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type CurvatureProblem,
  crossEntropy,
  type Factors,
  ggnOperator,
  invertFactors,
  type KroneckerBlock,
  type KroneckerOptions,
  kroneckerCurvature,
  type MatrixFactors,
  precondition,
  squaredError,
  toDense,
} from "../src/index";
import { distance, norm, numbers, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

/** x Wᵀ + b in three spellings that mean the same. */
const spellings: Readonly<Record<string, (p: Params, x: Tensor) => Tensor>> = {
  "contraction and broadcast": (p, x) => x.dot(p.W as Tensor, { contract: [[x.rank - 1], [1]] }).add(p.b as Tensor),
  "transposed product": (p, x) => x.matmul((p.W as Tensor).transpose()).add((p.b as Tensor).reshape([1, -1])),
  "weight on the left": (p, x) => {
    const y = (p.W as Tensor).dot(x, { contract: [[1], [x.rank - 1]] });
    return y.moveAxis(0, -1).add(p.b as Tensor);
  },
};

describe("a layer is found however it is written", () => {
  const params = { W: random(1, [3, 4]), b: random(2, [3]) };
  const batch = { inputs: random(3, [5, 2, 4]), targets: tensor(Int32Array.from([0, 1, 2, 0, 1])) };
  const factorsOf = (spelling: string, options: KroneckerOptions) => {
    const layer = spellings[spelling] as (p: Params, x: Tensor) => Tensor;
    const problem: CurvatureProblem<Params> = {
      loss: crossEntropy,
      model: (p, x) => layer(p, x).tanh().mean({ axis: 1 }),
    };
    const curvature = kroneckerCurvature(problem, params, batch, options);
    return { curvature, values: numbers(curvature.evaluate(params, batch).factors) };
  };

  it.each(Object.keys(spellings))("%s", (spelling) => {
    for (const flavour of ["expand", "reduce"] as const) {
      const { curvature, values } = factorsOf(spelling, { flavour });
      expect(curvature.report()).toContain("W + b: Kronecker");
      const expected = factorsOf("contraction and broadcast", { flavour }).values;
      values.forEach((own, index) => expect(distance(own, expected[index] as number[])).toBeLessThan(1e-9));
    }
  });
});

describe("a model of plain operations with a weight used twice, a convolution and a parameter that is ignored", () => {
  const params = {
    kernel: random(1, [3, 3, 1, 2]),
    twice: random(2, [8, 8]).mul(0.3),
    head: random(3, [8, 3]),
    offset: random(4, [8]),
    ignored: random(5, [4]),
  };
  type Own = typeof params;
  const problem: CurvatureProblem<Own> = {
    loss: crossEntropy,
    model(p, x) {
      // A convolution by hand: nine shifted copies times nine taps.
      const shifts = [0, 1, 2].flatMap((i) =>
        [0, 1, 2].map((j) => x.slice([0, i, j, 0], [x.shape[0] as number, i + 2, j + 2, 1])),
      );
      const taps = shifts.map((shift, tap) => {
        const [i, j] = [Math.floor(tap / 3), tap % 3];
        const weight = p.kernel.slice([i, j, 0, 0], [i + 1, j + 1, 1, 2]).reshape([1, 2]);
        return shift.dot(weight, { contract: [[3], [0]] });
      });
      const features = taps.reduce((sum, own) => sum.add(own)).reshape([x.shape[0] as number, 8]);
      const once = features.dot(p.twice, { contract: [[1], [0]] }).tanh();
      const again = once
        .dot(p.twice, { contract: [[1], [0]] })
        .mul(p.offset)
        .tanh();
      return again.dot(p.head, { contract: [[1], [0]] });
    },
  };
  const batch = { inputs: random(6, [4, 4, 4, 1]), targets: tensor(Int32Array.from([0, 1, 2, 1])) };

  it("says which block everything got", () => {
    const curvature = kroneckerCurvature(problem, params, batch, { flavour: "expand" });
    expect(curvature.report().split("\n")).toEqual([
      "fisher type2",
      "kernel: diagonal of [3, 3, 1, 2] (used by dot, which has no Kronecker form)",
      "twice: Kronecker, expand, B 8 ⊗ A 8, R = 2",
      "head: Kronecker, expand, B 3 ⊗ A 8, R = 1",
      "offset: diagonal of [8] (used by scale, which has no Kronecker form)",
      "ignored: diagonal of [4] (the outputs do not depend on it)",
    ]);
  });

  it("has the diagonal of the exact matrix where there is no Kronecker form, and zero for what is ignored", () => {
    const { factors } = kroneckerCurvature(problem, params, batch).evaluate(params, batch);
    const dense = toDense(ggnOperator(problem, params, batch));
    const [exact] = numbers([dense.iotaLike(0).equal(dense.iotaLike(1)).where(dense, 0).sum({ axis: 1 })]) as [
      number[],
    ];
    const [kernel, offset, ignored] = numbers([factors.kernel, factors.offset, factors.ignored]) as [
      number[],
      number[],
      number[],
    ];
    expect(distance(kernel, exact.slice(0, 18))).toBeLessThan(1e-12 * norm(exact));
    expect(distance(offset, exact.slice(18 + 64 + 24, 18 + 64 + 24 + 8))).toBeLessThan(1e-12 * norm(exact));
    expect(ignored).toEqual([0, 0, 0, 0]);
  });
});

describe("random convolutions", () => {
  const cases = fc.record({
    stride: fc.integer({ min: 1, max: 2 }),
    padding: fc.integer({ min: 0, max: 1 }),
    groups: fc.constantFrom(1, 2),
    seed: fc.integer({ min: 0, max: 1000 }),
  });

  it("pooled linear ones are exact in the reduce flavour, and not in the other one", () => {
    fc.assert(
      fc.property(cases, ({ stride, padding, groups, seed }) => {
        const params = { W: random(seed, [4, 4 / groups, 2, 2]) };
        const batch = { inputs: random(seed + 1, [3, 4, 5, 4]), targets: random(seed + 2, [3, 4]) };
        const problem: CurvatureProblem<typeof params> = {
          loss: squaredError,
          model: (p, x) => convolve(x, p.W, { stride, padding, groups }).mean({ axis: [1, 2] }),
        };
        const errorOf = (flavour: "expand" | "reduce"): number => {
          const curvature = kroneckerCurvature(problem, params, batch, { flavour });
          const evaluation = curvature.evaluate(params, batch);
          const { a, b } = evaluation.factors.W as MatrixFactors;
          const block = curvature.blocks[0] as KroneckerBlock;
          const { groups: count, outs, ins } = block.layout;
          const product = b.reshape([count, outs, 1, outs, 1]).mul(a.reshape([count, 1, ins, 1, ins]));
          const [own, exact] = numbers([
            product.reshape([count, outs * ins, outs * ins]),
            evaluation.exactBlock("W"),
          ]) as [number[], number[]];
          return distance(own, exact) / norm(exact);
        };
        expect(errorOf("reduce")).toBeLessThan(1e-12);
        expect(errorOf("expand")).toBeGreaterThan(1e-3);
      }),
      { numRuns: 12 },
    );
  });
});

describe("what can go wrong", () => {
  const params = { W: random(1, [3, 4]), b: random(2, [3]) };
  const problem: CurvatureProblem<Params> = {
    loss: crossEntropy,
    model: (p, x) => (spellings["transposed product"] as (p: Params, x: Tensor) => Tensor)(p, x),
  };
  const targets = tensor(Int32Array.from([0]));

  it("a batch of one and its singular factors have a finite inverse", { timeout: 120_000 }, async () => {
    const batch = { inputs: random(3, [1, 4]), targets };
    const curvature = kroneckerCurvature(problem, params, batch);
    const { factors, gradients } = curvature.evaluate(params, batch);
    for (const rule of ["heuristicPi", "sqrtBoth", "addToEachFactor", "exactKronecker"] as const) {
      const damping = tensor([1e-3]).reshape([]);
      const solved = precondition(
        curvature.blocks,
        invertFactors(curvature.blocks, factors, damping, rule),
        gradients,
        damping,
      );
      await evaluate(treeLeaves<Tensor>(solved));
      for (const leaf of treeLeaves<Tensor>(solved))
        expect([...(await leaf.data())].every(Number.isFinite), rule).toBe(true);
    }
  });

  it("zero factors leave the gradient over λ", async () => {
    const batch = { inputs: random(3, [1, 4]), targets };
    const { blocks, evaluate: at } = kroneckerCurvature(problem, params, batch);
    const { factors, gradients } = at(params, batch);
    const zero: Factors = { W: { a: (factors.W as MatrixFactors).a, b: (factors.W as MatrixFactors).b.mul(0) } };
    const damping = tensor([0.25]).reshape([]);
    const solved = precondition(blocks, invertFactors(blocks, zero, damping, "heuristicPi"), gradients, damping);
    const [own, gradient] = [await (solved.W as Tensor).data(), await (gradients.W as Tensor).data()];
    expect(
      distance(
        [...own],
        [...gradient].map((value) => 4 * value),
      ),
    ).toBeLessThan(1e-5 * norm([...own]));
  });

  it("batches that do not fit, unknown options and outputs of the wrong shape are named", () => {
    const batch = { inputs: random(3, [2, 4]), targets };
    expect(() => kroneckerCurvature(problem, params, batch)).toThrow(
      /inputs \[2, 4\] has 2 examples, the targets have 1/,
    );
    const good = { inputs: random(3, [1, 4]), targets };
    expect(() => kroneckerCurvature(problem, params, good, { fisher: "type-2" as "type2" })).toThrow(
      /Did you mean "type2"/,
    );
    expect(() => kroneckerCurvature(problem, params, good, { fisher: "mc", draws: 0 })).toThrow(/0 draws/);
    const flat = { ...problem, model: (p: Params, x: Tensor) => problem.model(p, x).flatten() };
    expect(() => kroneckerCurvature(flat, params, good)).toThrow(/It has to give \[1, C\]/);
    const { evaluate: at } = kroneckerCurvature(problem, params, good, { fisher: "mc" });
    expect(() => at(params, good)).toThrow(/pass a key/);
  });
});

/** Channels first, kernel `[out, in / groups, k, k]`. */
function convolve(x: Tensor, kernel: Tensor, options: { stride: number; padding: number; groups: number }): Tensor {
  return convolution(x.permute([0, 2, 3, 1]), kernel.permute([2, 3, 1, 0]), options);
}
