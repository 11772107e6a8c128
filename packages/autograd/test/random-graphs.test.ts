import { concat, type Tensor, tensor, where } from "@thalweg/tensor";
import { directionalDerivative, evaluateReference, innerProduct, type NdArray } from "@thalweg/tensor/testing";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { customRule, grad, hvp, jvp, linearize, vjp, vmap } from "../src/index";
import { agree, bound, exampleOf, merge, randomArrays, stackArrays } from "./support";

const shape = [2, 3] as const;

const cubed = customRule((x: Tensor) => x.pow(3), {
  vjp: (cotangent, { primals: [x] }) => [cotangent.mul(x.square()).mul(3)],
});

/** Smooth functions from two tensors [2, 3] to one, with values of moderate size; transformations are among them. */
const operations: readonly ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a) => a.sin(),
  (a) => a.tanh(),
  (a, b) => a.add(b).mul(0.7),
  (a, b) => a.mul(b),
  (a, b) => a.sub(b.square().mul(0.3)),
  (a, b) => a.div(b.square().add(1)),
  (a, b) => a.dot(b.T).dot(a).mul(0.3),
  (a) => a.sub(a.logSumExp({ axis: 1, keepDims: true })).exp(),
  (a) => a.sub(a.mean({ axis: 1, keepDims: true })).mul(a.variance({ axis: 1, keepDims: true }).add(0.3).rsqrt()),
  (a, b) =>
    a
      .cumsum({ axis: 1 })
      .mul(b.sum({ axis: 0 }))
      .mul(0.4),
  (a, b) =>
    concat([a.flip(1), b.slice([0, 0], [1, 3])], { axis: 0 })
      .slice([1, 0])
      .mul(0.9),
  (a, b) => b.gather(tensor([1, 1], { dtype: "i32" }), { axis: 0 }).mul(a),
  (a, b) => a.scatterAdd(tensor([0, 0], { dtype: "i32" }), b, { axis: 0 }).mul(0.6),
  (a, b) => where(tensor([true, false, true]), a, b),
  (a) => a.reshape([3, 2]).T.mul(0.8),
  (a, b) =>
    a
      .pad([
        [0, 0],
        [1, 1],
      ])
      .reshape([2, 5, 1])
      .expand([2, 5, 3])
      .windowed({ axis: 1, stride: 1, dilation: 1, windows: 3, extent: 5 })
      .mul(b.expandDims(1).expand([2, 3, 3]))
      .sum({ axis: 2 })
      .mul(0.4),
  (a, b) => vmap((x: Tensor, y: Tensor) => x.mul(y.sum()), { in: 1, out: 1 })(a, b).mul(0.4),
  (a, b) => grad((x: Tensor) => x.sin().mul(b).sum())(a),
  (a, b) => vmap(grad((x: Tensor, y: Tensor) => x.dot(y).tanh()))(a, b),
  (a, b) => jvp((x: Tensor) => x.square().mul(b), [a], [b.tanh()])[1].mul(0.5),
  (a) => cubed(a).mul(0.2),
  (a, b) => vmap((x: Tensor, y: Tensor) => cubed(x).mul(y))(a, b).mul(0.2),
  (a, b) => a.stopGradient().mul(0.5).add(b).sub(a.stopGradient().mul(0.5)),
];

interface Step {
  readonly operation: number;
  readonly left: number;
  readonly right: number;
}

const programs = fc.array(
  fc.record({
    operation: fc.nat({ max: operations.length - 1 }),
    left: fc.nat({ max: 20 }),
    right: fc.nat({ max: 20 }),
  }),
  { minLength: 1, maxLength: 8 },
);

/** Every step takes two earlier values; the last step's is the result. */
const run = (steps: readonly Step[], x: Tensor, y: Tensor): Tensor => {
  const values = [x, y];
  for (const { operation, left, right } of steps) {
    const [a, b] = [values[left % values.length] as Tensor, values[right % values.length] as Tensor];
    values.push((operations[operation] as (a: Tensor, b: Tensor) => Tensor)(a, b));
  }
  return values[values.length - 1] as Tensor;
};

describe("for random graphs", () => {
  const point = bound(randomArrays(1, [shape, shape]));
  const direction = bound(randomArrays(2, [shape, shape]));
  const weights = bound(randomArrays(3, [shape]));
  const bindings = merge(point.bindings, direction.bindings, weights.bindings);
  const [x, v, c] = [point.tensors, direction.tensors, weights.tensors[0] as Tensor];
  const along = new Map(x.map((tensor, i) => [tensor, bindings.get(v[i] as Tensor) as NdArray]));
  const check = (law: (f: (a: Tensor, b: Tensor) => Tensor) => void, runs: number) =>
    fc.assert(
      fc.property(programs, (steps) => law((a, b) => run(steps, a, b))),
      { numRuns: runs, seed: 20240 },
    );
  const scalar = (f: (a: Tensor, b: Tensor) => Tensor) => (a: Tensor, b: Tensor) => f(a, b).mul(c).sum();

  it("jvp is the directional derivative, and linearize the same", () => {
    check((f) => {
      const tangent = jvp(f, [x[0] as Tensor, x[1] as Tensor], [v[0] as Tensor, v[1] as Tensor])[1];
      const output = f(x[0] as Tensor, x[1] as Tensor);
      // A stopped gradient is the one operation whose derivative is not that of its value; here its parts cancel.
      agree([tangent], directionalDerivative([output], point.bindings, along), bindings, 6);
      const [, push] = linearize(f, x[0] as Tensor, x[1] as Tensor);
      agree([push(v[0] as Tensor, v[1] as Tensor)], evaluateReference([tangent], bindings), bindings, 11);
    }, 60);
  });

  it("vjp is the transpose of jvp", () => {
    check((f) => {
      const tangent = jvp(f, [x[0] as Tensor, x[1] as Tensor], [v[0] as Tensor, v[1] as Tensor])[1];
      const [, pull] = vjp(f, x[0] as Tensor, x[1] as Tensor);
      const [forward, left, right, ...rest] = evaluateReference([tangent, ...pull(c), c, ...v], bindings) as [
        NdArray,
        NdArray,
        NdArray,
        ...NdArray[],
      ];
      const [weight, first, second] = rest as [NdArray, NdArray, NdArray];
      const expected = innerProduct(forward, weight);
      const actual = innerProduct(left, first) + innerProduct(right, second);
      expect(Math.abs(actual - expected)).toBeLessThan(1e-10 * Math.max(1, Math.abs(expected)));
    }, 60);
  });

  it("reverse over reverse is forward over reverse", () => {
    check((f) => {
      const g = scalar(f);
      const [first, second] = [x[1] as Tensor, v[0] as Tensor];
      const product = hvp((a: Tensor) => g(a, first), x[0] as Tensor, second);
      const twice = grad((a: Tensor) => grad(g)(a, first).mul(second).sum())(x[0] as Tensor);
      agree([twice], evaluateReference([product], bindings), bindings, 9);
    }, 40);
  });

  it("vmap of a function and of its gradient is the loop", () => {
    const arrays = randomArrays(4, [[3, ...shape]]);
    const batch = bound(arrays);
    const all = merge(bindings, batch.bindings);
    const [fixed, single] = [x[1] as Tensor, x[0] as Tensor];
    check((f) => {
      const both = (a: Tensor, b: Tensor) => [f(a, b), grad(scalar(f))(a, b)];
      const whole = vmap(both, { in: [0, null] })(batch.tensors[0] as Tensor, fixed);
      const outputs = both(single, fixed);
      const loop = [0, 1, 2].map((i) =>
        evaluateReference(outputs, merge(bindings, new Map([[single, exampleOf(arrays[0] as NdArray, i)]]))),
      );
      agree(
        whole,
        outputs.map((_, index) => stackArrays(loop.map((each) => each[index] as NdArray))),
        all,
        10,
      );
    }, 40);
  });
});
