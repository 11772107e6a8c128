import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  compile,
  conv,
  type Device,
  init,
  key,
  randomBits,
  setDefaultDevice,
  type Tensor,
  tensor,
  zeros,
} from "../src/index";
import type { Primitive } from "../src/primitives/definition";
import * as primitives from "../src/primitives/index";
import { threefry2x32 } from "../src/reference/threefry";
import { apply } from "../src/tensor";
import { evaluateReference, randomInputs, seededDraw } from "../src/testing/index";

let device: Device;
beforeAll(async () => {
  device = await init({ notice: () => undefined });
});
afterAll(async () => {
  await device.idle();
  device.destroy();
  setDefaultDevice(undefined);
});

const arrays = { f32: Float32Array, i32: Int32Array, u32: Uint32Array } as const;

describe("in the browser", () => {
  it("every primitive agrees with the float64 reference", async () => {
    const all = Object.values(primitives) as Primitive[];
    const cases = all
      .filter(({ lowering }) => lowering.kind !== "leaf")
      .map((primitive, index) => {
        const draw = seededDraw(index + 1);
        const sample = primitive.sample(draw);
        const inputs = randomInputs(sample, draw).map(({ values, shape, dtype }) =>
          dtype === "bool"
            ? tensor(Uint32Array.from(values), { shape }).cast("bool")
            : tensor(arrays[dtype as "f32"].from(values), { shape }),
        );
        const output = apply(primitive, inputs, sample.params);
        return { name: primitive.name, output, expected: evaluateReference([output])[0] };
      });
    for (const { name, output, expected } of cases) {
      const actual = await output.data();
      expect(actual.length, name).toBe(expected?.values.length);
      for (const [i, value] of actual.entries()) {
        const reference = expected?.values[i] as number;
        // Sums of at most a few dozen terms and functions within 3 ulp: 64 units in the last place, and the least exponent.
        const bound = 64 * 2 ** -24 * Math.max(1, Math.abs(reference));
        expect(Math.abs(value - reference), `${name} at ${i}: ${value}, expected ${reference}`).toBeLessThanOrEqual(
          bound,
        );
      }
    }
  }, 120_000);

  it("random bits are those of every other adapter", async () => {
    const bits = await randomBits(key(7), [5]).data();
    const expected = [0, 1, 2, 3, 4].map((counter) => {
      const [first, second] = threefry2x32([0, 7, 0, counter]);
      return (first ^ second) >>> 0;
    });
    expect([...bits]).toEqual(expected);
  });

  it("a compiled step is one submit, creates nothing, and trains", async () => {
    const x = tensor(
      Float32Array.from({ length: 2 * 6 * 6 }, (_, i) => Math.sin(i)),
      { shape: [2, 6, 6, 1] },
    );
    const step = compile(
      ({ kernel }: { kernel: Tensor }) => {
        const y = conv(x, kernel, { padding: "same" });
        return [{ kernel: kernel.sub(kernel.mul(0.5)) }, y.square().sum()] as const;
      },
      { donate: [0] },
    );
    let state = { kernel: zeros([3, 3, 1, 4]).add(1) };
    const norms: Tensor[] = [];
    for (let i = 0; i < 2; i++) [state, norms[i] as Tensor] = step(state);
    const [first, second] = [await norms[0]?.item(), await norms[1]?.item()] as [number, number];
    expect(second / first).toBeCloseTo(0.25, 5);
    const before = device.counters.snapshot();
    [state] = step(state);
    const after = device.counters.snapshot();
    expect(after.submits - before.submits).toBe(1);
    expect(after.bindGroupsCreated).toBe(before.bindGroupsCreated);
  });
});
