import { describe, it } from "vitest";
import { averagePool, conv, convTranspose, einsum, evaluate, maxPool, type Tensor, tensor } from "../src/index";
import { evaluateReference, expectClose, type NdArray, randomInputs, seededDraw, tolerance } from "../src/testing";

/** Few: on a software adapter compiling the shaders takes most of the time. The loops beside the sources cover more. */
const seeds = [0, 1, 2, 3, 4, 14];

const bound = (array: NdArray) =>
  tolerance({ terms: 64, scale: array.values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1) });

async function check(
  shapes: readonly (readonly number[])[],
  seed: number,
  f: (inputs: Tensor[]) => Tensor[],
): Promise<void> {
  const sample = { inputs: shapes.map((shape) => ({ shape, dtype: "f32" as const })), params: undefined };
  const inputs = randomInputs(sample, seededDraw(seed)).map(({ values, shape }) =>
    tensor(Float32Array.from(values), { shape }),
  );
  const results = f(inputs);
  const expected = evaluateReference(results);
  await evaluate(results);
  for (const [index, result] of results.entries()) {
    expectClose(
      await result.data(),
      expected[index] as NdArray,
      bound(expected[index] as NdArray),
      `seed ${seed}, result ${index}`,
    );
  }
}

/** Options that always leave at least one window. */
function drawCase(seed: number) {
  const draw = seededDraw(seed);
  const axes = Array.from({ length: draw.integer(1, 3) }, () => {
    const [taps, dilation] = [draw.integer(1, 3), draw.integer(1, 2)];
    const span = (taps - 1) * dilation + 1;
    return {
      taps,
      dilation,
      stride: draw.integer(1, 3),
      pad: [draw.integer(0, 1), draw.integer(0, 1)],
      extent: span + draw.integer(0, 7),
    };
  });
  const groups = draw.pick([1, 1, 2, 3]);
  return {
    axes,
    groups,
    channels: draw.integer(1, 5),
    features: draw.integer(1, 5),
    options: {
      stride: axes.map(({ stride }) => stride),
      dilation: axes.map(({ dilation }) => dilation),
      padding: axes.map(({ pad }): [number, number] => [pad[0] as number, pad[1] as number]),
      groups,
    },
  };
}

describe("on the device", () => {
  it.each(seeds)("convolutions are those of the float64 reference (seed %d)", async (seed) => {
    const { axes, groups, channels, features, options } = drawCase(seed);
    const extents = axes.map(({ extent }) => extent);
    const taps = axes.map((axis) => axis.taps);
    const shapes = [
      [3, ...extents, groups * channels],
      [...taps, channels, groups * features],
      [...taps, groups * channels, features],
    ];
    await check(shapes, seed, ([x, kernel, transposed]) => [
      conv(x as Tensor, kernel as Tensor, options),
      convTranspose(x as Tensor, transposed as Tensor, { ...options, padding: "same" }),
    ]);
  });

  it.each(seeds)("pooling is that of the float64 reference (seed %d)", async (seed) => {
    const { axes, channels } = drawCase(100 + seed);
    const window = axes.map(({ taps, dilation }) => Math.max(2, (taps - 1) * dilation + 1));
    const stride = axes.map((axis) => axis.stride);
    await check([[2, ...axes.map(({ extent }) => extent + 1), channels]], seed, ([x]) => [
      maxPool(x as Tensor, { window, stride, padding: "same" }),
      averagePool(x as Tensor, { window, stride, padding: "same", countPadding: false }),
      averagePool(x as Tensor, { window, padding: 1 }),
    ]);
  });

  it("einsum is that of the float64 reference", () =>
    check(
      [
        [3, 3, 17],
        [17, 9],
        [9, 3],
      ],
      1,
      ([a, b, c]) => [
        einsum("iij,jk,ki->ik", a as Tensor, b as Tensor, c as Tensor),
        einsum("bij,jk->kbi", a as Tensor, b as Tensor),
      ],
    ));

  it("views divide towards minus infinity where a part of a coordinate is negative", () =>
    check(
      [
        [4, 2],
        [3, 2, 1],
        [1, 4, 2],
      ],
      1,
      ([x, kernel, windows]) => [
        (x as Tensor).permute([1, 0]).reshape([8]).flip([0]).mul(2),
        (windows as Tensor)
          .dot(kernel as Tensor, { contract: [[2], [1]] })
          .unwindowed({ axis: 1, stride: 2, dilation: 1, windows: 4, extent: 9 }),
      ],
    ));
});
