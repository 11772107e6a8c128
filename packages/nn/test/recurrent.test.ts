import { grad } from "@thalweg/autograd";
import { compile, evaluate, init, key, stack, type Tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference, expectClose, type NdArray, tolerance } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import * as nn from "../src/index";
import { exact, random } from "./values";

beforeAll(async () => {
  await init({ notice: () => undefined });
});

/** Step by step: what `nn.unroll` means. */
function stepByStep<P extends object, C>(cell: nn.Cell<P, C>, params: P, xs: Tensor): Tensor {
  const [batch, time, inputs] = xs.shape as [number, number, number];
  let carry = cell.initialCarry(batch);
  const outputs: Tensor[] = [];
  for (let t = 0; t < time; t++) {
    const [next, y] = cell.step(params, carry, xs.slice([0, t, 0], [batch, t + 1, inputs]).reshape([batch, inputs]));
    carry = next;
    outputs.push(y);
  }
  return stack(outputs, { axis: 1 });
}

const cells = {
  lstm: nn.lstmCell({ features: 5, forgetBias: 1 }),
  gru: nn.gruCell({ features: 5 }),
} as const;

const lossOf = (outputs: Tensor): Tensor => outputs.mul(outputs.iotaLike(1, "f32").sin()).sum();

describe.each(Object.entries(cells))("%s along a sequence", (_, cell) => {
  const own = cell as nn.Cell<{ readonly inputKernel: Tensor }, unknown>;
  const params = own.init(key(2), { shape: [3, 4] });

  it("has the outputs and gradients of the steps one by one", () => {
    const xs = random([3, 7, 4], 3);
    const of = (run: (p: typeof params) => Tensor) => [
      run(params),
      ...treeLeaves<Tensor>(grad((p: typeof params) => lossOf(run(p)))(params)),
    ];
    const actual = evaluateReference(of((p) => nn.unroll(own, p, xs)[1]));
    const expected = evaluateReference(of((p) => stepByStep(own, p, xs)));
    for (const [index, array] of actual.entries())
      expectClose(array, expected[index] as NdArray, exact, `result ${index}`);
  });

  it("computes them on the device", async () => {
    const xs = random([3, 50, 4], 4, [-1, 1]);
    const results = [
      nn.unroll(own, params, xs)[1],
      ...treeLeaves<Tensor>(grad((p: typeof params) => lossOf(nn.unroll(own, p, xs)[1]))(params)),
    ];
    const expected = evaluateReference(results) as NdArray[];
    await evaluate(results);
    for (const [index, result] of results.entries()) {
      const array = expected[index] as NdArray;
      const scale = array.values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
      // Sums over 50 steps and three examples; contractions along the sequence keep errors from growing.
      expectClose(
        await result.data(),
        array,
        tolerance({ terms: 150, ulp: 4, condition: 4, scale }),
        `result ${index}`,
      );
    }
  }, 120_000);

  it("compiles as many kernels for 100 steps as for 10", async () => {
    const count = async (time: number) => {
      const step = compile((p: typeof params, xs: Tensor) =>
        grad((q: typeof params) => lossOf(nn.unroll(own, q, xs)[1]))(p),
      );
      await step.prepare(params, random([3, time, 4], 3));
      const { kernels, dispatches } = step.statistics();
      step.dispose();
      return { kernels: kernels.length, dispatches };
    };
    const [short, long] = [await count(10), await count(100)];
    expect(long.kernels).toBe(short.kernels);
    // Forward and backward together.
    expect((long.dispatches - short.dispatches) / 90).toBeLessThanOrEqual(12);
  }, 120_000);
});
