import type { Tensor } from "@thalweg/tensor";
import { directionalDerivative, evaluateReference, innerProduct, type NdArray } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { grad, hessian, hvp, jacobian, jvp, linearize, valueAndGrad, vjp } from "../src/index";
import { cases, type FunctionCase } from "./functions";
import { agree, bound, merge, randomArrays, weighted } from "./support";

function setUp({ shapes, domain, f }: FunctionCase, seed = 1) {
  const point = bound(randomArrays(seed, shapes, domain));
  const direction = bound(randomArrays(seed + 1, shapes));
  const along = new Map(
    point.tensors.map((tensor, index) => [
      tensor,
      direction.bindings.get(direction.tensors[index] as Tensor) as NdArray,
    ]),
  );
  const output = f(...point.tensors);
  const cotangent = bound(randomArrays(seed + 2, [output.shape]));
  const bindings = merge(point.bindings, direction.bindings, cotangent.bindings);
  return {
    x: point.tensors,
    v: direction.tensors,
    c: cotangent.tensors[0] as Tensor,
    output,
    along,
    bindings,
    at: point.bindings,
  };
}

const allArguments = (x: readonly unknown[]): number[] => x.map((_, index) => index);

describe.each(cases)("$name", (example) => {
  const g = weighted(example);
  const gradient = (...args: Tensor[]): Tensor[] => grad(g, { argnums: allArguments(args) })(...args) as Tensor[];

  it("has the jvp that finite differences have", () => {
    const { x, v, output, along, at, bindings } = setUp(example);
    const [value, tangent] = jvp(example.f, x, v);
    agree([tangent], directionalDerivative([output], at, along), bindings, 7);
    agree([value], evaluateReference([output], bindings), bindings, 13);
  });

  it("has a vjp that is the transpose of the jvp", () => {
    const { x, v, c, bindings } = setUp(example, 11);
    const [, tangent] = jvp(example.f, x, v);
    const [, pull] = vjp(example.f, ...x);
    const [forward, ...rest] = evaluateReference([tangent, c, ...pull(c), ...v], bindings);
    const [cotangent, ...others] = rest as [NdArray, ...NdArray[]];
    const [pulled, directions] = [others.slice(0, x.length), others.slice(x.length)];
    const reverse = pulled.reduce((sum, part, index) => sum + innerProduct(part, directions[index] as NdArray), 0);
    expect(reverse).toBeCloseTo(innerProduct(forward as NdArray, cotangent), 10);
  });

  it("has a linearization that is the jvp", () => {
    const { x, v, bindings } = setUp(example, 21);
    const [value, push] = linearize(example.f, ...x);
    agree([value, push(...v)], evaluateReference(jvp(example.f, x, v), bindings), bindings, 12);
  });

  it("has the gradient that finite differences have", () => {
    const { x, along, at, bindings } = setUp(example, 31);
    const [value, gradients] = valueAndGrad(g, { argnums: allArguments(x) })(...x);
    const [expected] = directionalDerivative([g(...x)], at, along) as [NdArray];
    const slope = evaluateReference(gradients as Tensor[], bindings).reduce(
      (sum, part, index) => sum + innerProduct(part, along.get(x[index] as Tensor) as NdArray),
      0,
    );
    expect(slope).toBeCloseTo(expected.values[0] as number, 7);
    agree([value], evaluateReference([g(...x)], bindings), bindings, 13);
  });

  it("has one second derivative, whichever modes are nested", () => {
    const { x, v, along, at, bindings } = setUp(example, 41);
    const expected = directionalDerivative(gradient(...x), at, along);
    const forwardOverReverse = jvp((...args: Tensor[]) => gradient(...args), x, v)[1];
    agree(forwardOverReverse, expected, bindings, 6);
    agree(
      hvp((args: Tensor[]) => g(...args), x, v),
      expected,
      bindings,
      6,
    );
    const exact = evaluateReference(forwardOverReverse, bindings);
    const slope = (...args: Tensor[]): Tensor =>
      gradient(...args).reduce<Tensor>(
        (sum, part, index) => sum.add(part.mul(v[index] as Tensor).sum()),
        g(...args).mul(0),
      );
    agree(grad(slope, { argnums: allArguments(x) })(...x) as Tensor[], exact, bindings, 10);
    const tangent = (...args: Tensor[]): Tensor => jvp(g, args, v)[1];
    agree(grad(tangent, { argnums: allArguments(x) })(...x) as Tensor[], exact, bindings, 10);
  });

  it("has the third derivative that finite differences have", () => {
    const { x, v, along, at, bindings } = setUp(example, 51);
    const second = (...args: Tensor[]): Tensor[] => jvp((...inner: Tensor[]) => gradient(...inner), args, v)[1];
    const expected = directionalDerivative(second(...x), merge(at, bindings), along);
    agree(jvp((...args: Tensor[]) => second(...args), x, v)[1], expected, bindings, 5);
  });

  it("has one Jacobian, by rows and by columns", () => {
    const { x, v, bindings } = setUp(example, 61);
    const f = (args: Tensor[]): Tensor => example.f(...args);
    const [reverse, forward] = [jacobian(f)(x), jacobian(f, { mode: "forward" })(x)];
    agree(forward, evaluateReference(reverse, bindings), bindings, 11);
    const output = example.f(...x);
    expect(reverse.map(({ shape }) => shape)).toEqual(x.map(({ shape }) => [...output.shape, ...shape]));
    const product = reverse
      .map((block, index) => {
        const axes = (x[index] as Tensor).shape.map((_, axis) => axis);
        return block.dot(v[index] as Tensor, { contract: [axes.map((axis) => axis + output.rank), axes] });
      })
      .reduce((sum, part) => sum.add(part));
    agree([product], evaluateReference([jvp(example.f, x, v)[1]], bindings), bindings, 11);
  });

  it("has a symmetric Hessian whose product with a direction is the hvp", () => {
    const { x, v, bindings } = setUp(example, 71);
    const scalar = (args: Tensor[]): Tensor => g(...args);
    const blocks = hessian(scalar)(x);
    const products = blocks.map((row, i) =>
      row
        .map((block, j) => {
          const axes = (x[j] as Tensor).shape.map((_, axis) => axis);
          return block.dot(v[j] as Tensor, { contract: [axes.map((axis) => axis + (x[i] as Tensor).rank), axes] });
        })
        .reduce((sum, part) => sum.add(part)),
    );
    agree(products, evaluateReference(hvp(scalar, x, v), bindings), bindings, 10);
    const flat = (block: Tensor, i: number) =>
      block.reshape([(x[i] as Tensor).size, block.size / Math.max(1, (x[i] as Tensor).size)]);
    blocks.forEach((row, i) =>
      row.forEach((block, j) => {
        if (block.size === 0) return;
        const mirrored = flat((blocks[j] as Tensor[])[i] as Tensor, j).T;
        agree([flat(block, i)], evaluateReference([mirrored], bindings), bindings, 10);
      }),
    );
  });
});
