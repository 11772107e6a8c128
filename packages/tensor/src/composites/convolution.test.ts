import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tensor, zeros } from "../create";
import type { NdArray } from "../reference/array";
import { elementAt, ndarray } from "../reference/array";
import { evaluateReference } from "../reference/interpreter";
import { iota, placeholder, type Tensor } from "../tensor";
import { expectClose, randomInputs, seededDraw } from "../testing";
import { conv, convTranspose } from "./convolution";
import { planWindows } from "./window";

/** Everything in float64: what is left is the order of summation. */
const exact = { relative: 1e-12, absolute: 1e-12 };

interface AxisCase {
  readonly extent: number;
  readonly taps: number;
  readonly stride: number;
  readonly dilation: number;
  readonly pad: readonly [number, number];
}

interface Case {
  readonly batch: readonly number[];
  readonly axes: readonly AxisCase[];
  readonly groups: number;
  readonly channels: number;
  readonly features: number;
  readonly seed: number;
}

const axisCase: fc.Arbitrary<AxisCase> = fc.record({
  extent: fc.integer({ min: 1, max: 6 }),
  taps: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  pad: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
});

/** Channels and features count per group. */
const anyCase: fc.Arbitrary<Case> = fc.record({
  batch: fc.array(fc.integer({ min: 1, max: 2 }), { maxLength: 2 }),
  axes: fc.array(axisCase, { minLength: 1, maxLength: 3 }),
  groups: fc.integer({ min: 1, max: 3 }),
  channels: fc.integer({ min: 1, max: 3 }),
  features: fc.integer({ min: 1, max: 3 }),
  seed: fc.nat(),
});

const span = ({ taps, dilation }: AxisCase) => (taps - 1) * dilation + 1;

const optionsOf = ({ axes, groups }: Case) => ({
  stride: axes.map(({ stride }) => stride),
  dilation: axes.map(({ dilation }) => dilation),
  padding: axes.map(({ pad }) => pad),
  groups,
});

/** Placeholders with random values. */
function randomTensors(shapes: readonly (readonly number[])[], seed: number): { inputs: Tensor[]; values: NdArray[] } {
  const draw = seededDraw(seed);
  const values = randomInputs({ inputs: shapes.map((shape) => ({ shape, dtype: "f32" })), params: undefined }, draw);
  return { inputs: shapes.map((shape) => placeholder(shape, "f32")), values };
}

const bind = (inputs: readonly Tensor[], values: readonly NdArray[]) =>
  new Map(inputs.map((input, index) => [input, values[index] as NdArray]));

/** Calls `visit` for every coordinate of a shape. */
function forEachCoordinate(shape: readonly number[], visit: (c: readonly number[]) => void): void {
  ndarray(shape, "f32", (c) => {
    visit([...c]);
    return 0;
  });
}

/** Calls `visit` with every pair of input and output position, tap, and channel that a convolution connects. */
function forEachProduct(
  { batch, axes, groups, channels, features }: Case,
  windows: readonly number[],
  visit: (x: number[], kernel: number[], y: number[]) => void,
): void {
  forEachCoordinate([...batch, ...windows, groups * features], (y) => {
    const o = y.at(-1) as number;
    const group = Math.floor(o / features);
    forEachCoordinate([...axes.map(({ taps }) => taps), channels], (k) => {
      const position = axes.map(
        ({ stride, dilation, pad }, axis) =>
          (y[batch.length + axis] as number) * stride + (k[axis] as number) * dilation - pad[0],
      );
      if (position.some((p, axis) => p < 0 || p >= (axes[axis] as AxisCase).extent)) return;
      const c = k.at(-1) as number;
      visit([...y.slice(0, batch.length), ...position, group * channels + c], [...k.slice(0, -1), c, o], [...y]);
    });
  });
}

function addAt(array: NdArray, coordinates: readonly number[], value: number): void {
  const position = coordinates.reduce((sum, c, axis) => sum * (array.shape[axis] as number) + c, 0);
  array.values[position] = (array.values[position] as number) + value;
}

describe("conv", () => {
  it("equals direct loops for any stride, padding, dilation and groups in 1 to 3 dimensions", () => {
    fc.assert(
      fc.property(anyCase, (example) => {
        const { batch, axes, groups, channels, features, seed } = example;
        const windows = axes.map((a) => Math.floor((a.extent + a.pad[0] + a.pad[1] - span(a)) / a.stride) + 1);
        fc.pre(windows.every((count) => count > 0));
        const { inputs, values } = randomTensors(
          [
            [...batch, ...axes.map(({ extent }) => extent), groups * channels],
            [...axes.map(({ taps }) => taps), channels, groups * features],
          ],
          seed,
        );
        const [x, kernel] = inputs as [Tensor, Tensor];
        const expected = ndarray([...batch, ...windows, groups * features], "f32", () => 0);
        forEachProduct(example, windows, (atX, atKernel, atY) =>
          addAt(expected, atY, elementAt(values[0] as NdArray, atX) * elementAt(values[1] as NdArray, atKernel)),
        );
        const y = conv(x, kernel, optionsOf(example));
        expect(y.shape).toEqual(expected.shape);
        expectClose(evaluateReference([y], bind(inputs, values))[0] as NdArray, expected, exact);
      }),
      { numRuns: 150 },
    );
  });

  it.each([
    { extent: 28, taps: 5, stride: 1, dilation: 1, expected: [2, 2, 28] },
    { extent: 14, taps: 3, stride: 2, dilation: 1, expected: [0, 1, 7] },
    { extent: 7, taps: 2, stride: 2, dilation: 1, expected: [0, 1, 4] },
    { extent: 5, taps: 4, stride: 1, dilation: 1, expected: [1, 2, 5] },
    { extent: 9, taps: 3, stride: 3, dilation: 2, expected: [1, 1, 3] },
    { extent: 8, taps: 1, stride: 3, dilation: 1, expected: [0, 0, 3] },
  ])("pads $extent with taps $taps, stride $stride as TensorFlow's same", ({ extent, taps, expected, ...options }) => {
    const [axis] = planWindows("conv", [extent], 0, [taps], { ...options, padding: "same" });
    expect([axis?.low, axis?.high, axis?.windows]).toEqual(expected);
  });

  it("reads through a view: nothing but movements stands between the input and the dot", () => {
    const y = conv(zeros([2, 6, 6, 3]), zeros([3, 3, 3, 4]), { padding: 1, stride: 2 });
    expect(y.primitive.name).toBe("dot");
    const chain: string[] = [];
    for (let node = y.inputs[0]; node && node.inputs.length > 0; node = node.inputs[0]) chain.push(node.primitive.name);
    expect(chain).toEqual(["windowed", "expand", "reshape", "windowed", "expand", "reshape", "pad"]);
  });

  it("is a plain dot of the input where the kernel is 1 x 1 and the stride 1", () => {
    const x = zeros([2, 6, 6, 3]);
    expect(conv(x, zeros([1, 1, 3, 4])).inputs[0]).toBe(x);
  });

  it("explains what does not fit", () => {
    const x = zeros([2, 6, 6, 3]);
    expect(() => conv(x, zeros([3, 3, 4, 4]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: conv: input [2, 6, 6, 3] has 3 channels, kernel [3, 3, 4, 4] with 1 group takes 4. Channels are the last axis of the input, the last but one of the kernel.]`,
    );
    expect(() => conv(x, zeros([3, 3, 3, 4]), { groups: 3 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: conv: 3 groups do not divide 4 output channels. Give a divisor of 4.]`,
    );
    expect(() => conv(x, zeros([7, 7, 3, 4]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: conv: a window of 7 does not fit axis 1 of [2, 6, 6, 3], which has 6 elements and 0 of padding. Use padding "same" or a smaller window.]`,
    );
    expect(() => conv(x, zeros([3, 4]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: conv: input [2, 6, 6, 3] and kernel [3, 4] do not fit. The kernel is […taps, in, out], the input […batch, …spatial, channels] with one spatial axis per axis of taps.]`,
    );
    expect(() => conv(x, zeros([3, 3, 3, 4]), { stride: [1, 0] })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: conv: stride [1, 0] does not fit 2 spatial axes. Give one integer of at least 1, or one per axis.]`,
    );
    expect(() => conv(x, zeros([3, 3, 3, 4]), { padding: [1] })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: conv: padding [1] does not fit 2 spatial axes. Give "same", "valid", an integer of at least 0, or one integer or [low, high] pair per axis.]`,
    );
  });
});

describe("convTranspose", () => {
  it("sends every product of the convolution back to where it came from", () => {
    fc.assert(
      fc.property(anyCase, (example) => {
        const { batch, axes, groups, channels, features, seed } = example;
        // The extents of this case are those of the transposed convolution's input: the windows of the convolution.
        const windows = axes.map(({ extent }) => extent);
        const extents = axes.map((a) => (a.extent - 1) * a.stride + span(a) - a.pad[0] - a.pad[1]);
        fc.pre(extents.every((extent) => extent > 0));
        const forward = { ...example, axes: axes.map((a, i) => ({ ...a, extent: extents[i] as number })) };
        const taps = axes.map((a) => a.taps);
        const { inputs, values } = randomTensors(
          [
            [...batch, ...windows, groups * features],
            [...taps, groups * features, channels],
          ],
          seed,
        );
        const [y, kernel] = inputs as [Tensor, Tensor];
        const expected = ndarray([...batch, ...extents, groups * channels], "f32", () => 0);
        forEachProduct(forward, windows, (atX, atKernel, atY) => {
          const [c, o] = atKernel.slice(-2) as [number, number];
          const weight = elementAt(values[1] as NdArray, [...atKernel.slice(0, -2), o, c]);
          addAt(expected, atX, elementAt(values[0] as NdArray, atY) * weight);
        });
        const x = convTranspose(y, kernel, optionsOf(example));
        expect(x.shape).toEqual(expected.shape);
        expectClose(evaluateReference([x], bind(inputs, values))[0] as NdArray, expected, exact);
      }),
      { numRuns: 150 },
    );
  });

  it("appends positions with outputPadding: those that padding had cut off, then zeros", async () => {
    const x = tensor([[1], [10]]);
    const kernel = tensor([1, 2, 3]).reshape([3, 1, 1]);
    const values = (outputPadding: number) => [
      ...(evaluateReference([convTranspose(x, kernel, { stride: 2, padding: 1, outputPadding })])[0] as NdArray).values,
    ];
    expect(values(0)).toEqual([2, 13, 20]);
    expect(values(1)).toEqual([2, 13, 20, 30]);
    expect(values(2)).toEqual([2, 13, 20, 30, 0]);
  });

  it.each([
    { taps: 4, stride: 2 },
    { taps: 3, stride: 2 },
    { taps: 2, stride: 3 },
    { taps: 4, stride: 1 },
  ])(
    "with padding same is the transpose of conv with padding same (taps $taps, stride $stride)",
    ({ taps, stride }) => {
      const extent = 5 * stride;
      const kernel = iota([taps, 2, 3], 0, "i32").cast("f32").add(1);
      const y = iota([1, 5, 3], 1).cast("f32").sub(2);
      const x = iota([1, extent, 2], 1).cast("f32").square();
      const back = convTranspose(y, kernel.transpose(), { stride, padding: "same" });
      expect(back.shape).toEqual(x.shape);
      const [left, right] = evaluateReference([
        conv(x, kernel, { stride, padding: "same" }).mul(y).sum(),
        back.mul(x).sum(),
      ]);
      expectClose(left as NdArray, right as NdArray, exact);
    },
  );

  it("explains what does not fit", () => {
    const x = zeros([2, 6, 6, 3]);
    expect(() => convTranspose(x, zeros([3, 3, 4, 4]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: convTranspose: input [2, 6, 6, 3] has 3 channels, kernel [3, 3, 4, 4] takes 4. Channels are the last axis of the input, the last but one of the kernel.]`,
    );
    expect(() => convTranspose(x, zeros([1, 1, 3, 4]), { padding: 3 })).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: convTranspose: padding [3, 3] leaves nothing of the 6 elements that axis 1 of [2, 6, 6, 3] spreads to. Use less padding.]`,
    );
    expect(() => convTranspose(x, zeros([3, 3, 3, 4]), { outputPadding: -1 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: convTranspose: outputPadding [-1, -1] does not fit 2 spatial axes. Give one integer of at least 0, or one per axis.]`,
    );
  });
});
