import type { Tensor } from "@thalweg/tensor";
import { directionalDerivative, evaluateReference, innerProduct, type NdArray } from "@thalweg/tensor/testing";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { grad, hvp, jvp, linearize, vjp, vmap } from "../src/index";
import { programs, run, shape } from "./random-programs";
import { agree, bound, exampleOf, merge, randomArrays, stackArrays } from "./support";

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
