import { afterEach, describe, expect, it } from "vitest";
import {
  arange,
  compile,
  concat,
  debugNonFinite,
  evaluate,
  logSoftmax,
  NonFiniteError,
  softmax,
  standardize,
  type Tensor,
  tensor,
} from "../src/index";
import { useDevice } from "./device";

// What goes wrong most often in compute engines on WebGPU, as far as no other file tests it.
const device = useDevice();

describe("half precision is storage only", () => {
  const large = [-1000, -300, 300, 1000, 999, 512, -40, 0];
  const deviate = (actual: ArrayLike<number>, expected: readonly number[]) =>
    Math.max(...expected.map((value, i) => Math.abs((actual[i] as number) - value) / Math.max(1, Math.abs(value))));

  it("squares, means, softmax and normalization of numbers up to 1000 do not overflow", async (context) => {
    if (!device().features.has("shader-f16")) return context.skip("the adapter has no shader-f16");
    const x = tensor(large).cast("f16");
    const mean = large.reduce((a, b) => a + b) / large.length;
    const variance = large.reduce((sum, value) => sum + (value - mean) ** 2, 0) / large.length;
    // The squares alone exceed 65,504, the largest half; only results that a half can hold are stored.
    expect(await x.cast("f32").variance().item()).toBeCloseTo(variance, -1);
    expect(deviate(await x.square().mean().sqrt().data(), [Math.sqrt(variance + mean ** 2)])).toBeLessThan(2 ** -10);
    const normal = large.map((value) => (value - mean) / Math.sqrt(variance));
    expect(deviate(await standardize(x, { axis: 0, epsilon: 0 }).data(), normal)).toBeLessThan(2 ** -9);
    const weights = [...(await softmax(x.reshape([1, -1])).data())];
    expect(weights.every(Number.isFinite)).toBe(true);
    expect(weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 2);
    expect((await logSoftmax(x.reshape([1, -1])).data()).every(Number.isFinite)).toBe(true);
  });
});

describe("a planted NaN", () => {
  afterEach(() => debugNonFinite(false));

  it.each([
    ["a loss", (x: Tensor) => x.relu().square().mean()],
    ["a maximum", (x: Tensor) => x.max()],
    ["a selection", (x: Tensor) => x.greater(0).where(x, 0).sum()],
    ["a position", (x: Tensor) => x.argmax({ axis: 0 })],
  ])("is reported behind %s, which hides it", async (_name, fn) => {
    debugNonFinite(true);
    await expect(fn(tensor([1, Number.NaN, 3])).data()).rejects.toThrowError(NonFiniteError);
  });
});

describe("products whose epilogue looks at single columns", () => {
  // A product in quads of columns, cut and put together again: one quad holds columns of both parts.
  it.each([1, 2, 3])("join what was cut at column %i", async (cut) => {
    const a = arange(12).reshape([3, 4]);
    const b = arange(16).reshape([4, 4]).mul(0.25);
    const joined = compile((x: Tensor, y: Tensor) => {
      const product = x.dot(y);
      return concat([product.slice([0, 0], [3, cut]), product.slice([0, cut]).mul(2)], { axis: 1 });
    })(a, b);
    const product = await a.dot(b).data();
    const expected = Array.from(product, (value, index) => (index % 4 < cut ? value : 2 * value));
    expect([...(await joined.data())]).toEqual(expected);
  });
});

describe("replay", () => {
  it("depends on nothing that lies in recycled memory", async () => {
    const x = arange(64 * 64)
      .reshape([64, 64])
      .mul(1e-3);
    const step = compile(
      (state: { w: Tensor }, input: Tensor) => {
        const hidden = input.dot(state.w).tanh();
        return { w: state.w.sub(hidden.T.dot(hidden).mul(1e-3)) };
      },
      { donate: [0] },
    );
    const run = async (disturb: boolean) => {
      let state = {
        w: arange(64 * 64)
          .reshape([64, 64])
          .mul(1e-4),
      };
      for (let i = 0; i < 4; i++) {
        state = step(state, x);
        if (!disturb) continue;
        // Fills whatever the pool has free with numbers that nobody may read.
        const noise = Array.from({ length: 8 }, (_, k) =>
          arange(64 * 64)
            .add(1e30)
            .mul(k + 1),
        );
        await evaluate(noise);
        for (const tensor of noise) tensor.dispose();
      }
      return state.w.data();
    };
    expect(await run(true)).toEqual(await run(false));
  });
});
