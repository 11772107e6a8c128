import { compile, evaluate, type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference, expectClose, tolerance } from "@thalweg/tensor/testing";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { customRule, grad, valueAndGrad, vmap } from "../src/index";
import { checkOnDevice } from "./device-cases";
import { cases } from "./functions";
import { programs, run, shape } from "./random-programs";
import { randomArrays } from "./support";

const upload = (seed: number, shapes: readonly (readonly number[])[]): Tensor[] =>
  randomArrays(seed, shapes).map(({ values, shape }) => tensor(Float32Array.from(values), { shape }));

describe("on the device", () => {
  it.each(cases)("$name: derivatives are those of the float64 reference", checkOnDevice);

  it("random programs and their derivatives are those of the float64 reference", async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (steps) => {
        const [x, y, rows] = upload(1, [shape, shape, [3, ...shape]]) as [Tensor, Tensor, Tensor];
        const f = (a: Tensor, b: Tensor) => run(steps, a, b).sin().sum();
        const results = [f(x, y), grad(f)(x, y), vmap(grad(f), { in: [0, null] })(rows, y)];
        const expected = evaluateReference(results);
        await evaluate(results);
        for (const [index, result] of results.entries()) {
          const array = expected[index] as (typeof expected)[number];
          const scale = array.values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
          // Up to nine operations of some dozens of rounded terms each, some of which enlarge errors.
          expectClose(await result.data(), array, tolerance({ terms: 300, condition: 8, scale }), `result ${index}`);
        }
      }),
      { numRuns: 10, seed: 7 },
    );
    // Every program has pipelines of its own, and software adapters compile slowly.
  }, 120_000);

  it("compiled derivatives are those of the graph", async () => {
    const leaky = customRule((x: Tensor) => x.relu(), {
      vjp: (cotangent, { primals: [x] }) => [x.greater(0).where(cotangent, cotangent.mul(0.1))],
    });
    const loss = (params: { w: Tensor; b: Tensor }, x: Tensor) => leaky(x.dot(params.w).add(params.b)).square().mean();
    const derivatives = (params: { w: Tensor; b: Tensor }, x: Tensor) => ({
      both: valueAndGrad(loss)(params, x),
      perExample: vmap(grad(loss), { in: [null, 0] })(params, x),
    });
    const make = () => upload(3, [[4, 3], [3], [5, 4]]) as [Tensor, Tensor, Tensor];
    const [w, b, x] = make();
    const reference = derivatives({ w, b }, x);
    const leaves = (tree: typeof reference): Tensor[] => [
      tree.both[0],
      tree.both[1].w,
      tree.both[1].b,
      tree.perExample.w,
      tree.perExample.b,
    ];
    const expected = evaluateReference(leaves(reference));
    await evaluate([tensor(0)]);
    const program = compile(derivatives);
    const actual = leaves(program({ w, b }, x));
    expect(actual.map((each) => each.shape)).toEqual(expected.map((each) => each.shape));
    for (const [index, result] of actual.entries()) {
      const bound = tolerance({ terms: 40, scale: 1 });
      expectClose(await result.data(), expected[index] as (typeof expected)[number], bound, `result ${index}`);
    }
  });
});
