import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tensor, zeros } from "../create";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { evaluateReference } from "../reference/interpreter";
import { placeholder, type Tensor } from "../tensor";
import { expectClose, randomInputs, seededDraw } from "../testing";
import { averagePool, globalAveragePool, globalMaxPool, maxPool } from "./pooling";

const exact = { relative: 1e-12, absolute: 1e-12 };
const read = (x: Tensor) => evaluateReference([x])[0] as NdArray;

interface AxisCase {
  readonly extent: number;
  readonly window: number;
  readonly stride: number;
  readonly dilation: number;
  readonly pad: readonly [number, number];
}

const axisCase: fc.Arbitrary<AxisCase> = fc.record({
  extent: fc.integer({ min: 1, max: 6 }),
  window: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  pad: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
});

const span = ({ window, dilation }: AxisCase) => (window - 1) * dilation + 1;
const windowsOf = (axis: AxisCase) =>
  Math.floor((axis.extent + axis.pad[0] + axis.pad[1] - span(axis)) / axis.stride) + 1;
/** At least one window, and none of padding alone. */
function possible(axis: AxisCase): boolean {
  const windows = Array.from({ length: Math.max(0, windowsOf(axis)) }, (_, o) => o * axis.stride - axis.pad[0]);
  const taps = Array.from({ length: axis.window }, (_, k) => k * axis.dilation);
  const inside = (position: number) => position >= 0 && position < axis.extent;
  return windows.length > 0 && windows.every((start) => taps.some((tap) => inside(start + tap)));
}

/** Folds the elements of every window that are not padding. */
function poolByLoops(x: NdArray, axes: readonly AxisCase[], fold: (values: readonly number[]) => number): NdArray {
  const first = x.shape.length - axes.length - 1;
  const shape = [...x.shape.slice(0, first), ...axes.map(windowsOf), x.shape.at(-1) as number];
  return ndarray(shape, "f32", (output) => {
    const inside: number[] = [];
    const taps = axes.map(({ window }) => window);
    ndarray(taps, "f32", (tap) => {
      const position = axes.map(
        ({ stride, dilation, pad }, axis) =>
          (output[first + axis] as number) * stride + (tap[axis] as number) * dilation - pad[0],
      );
      if (position.every((p, axis) => p >= 0 && p < (axes[axis] as AxisCase).extent)) {
        inside.push(elementAt(x, [...output.slice(0, first), ...position, output.at(-1) as number]));
      }
      return 0;
    });
    return fold(inside);
  });
}

function checkPool(
  axes: fc.Arbitrary<AxisCase[]>,
  pool: (x: Tensor, axes: readonly AxisCase[]) => Tensor,
  fold: (axes: readonly AxisCase[]) => (values: readonly number[]) => number,
): void {
  fc.assert(
    fc.property(axes, fc.nat(), (cases, seed) => {
      fc.pre(cases.every(possible));
      // Below 0 throughout: padding with 0 would win a maximum.
      const shape = [2, ...cases.map(({ extent }) => extent), 2];
      const sample = { inputs: [{ shape, dtype: "f32" as const, domain: [-3, -1] as const }], params: undefined };
      const [value] = randomInputs(sample, seededDraw(seed)) as [NdArray];
      const x = placeholder(shape, "f32");
      const [actual] = evaluateReference([pool(x, cases)], new Map([[x, value]])) as [NdArray];
      const expected = poolByLoops(value, cases, fold(cases));
      expect(actual.shape).toEqual(expected.shape);
      expectClose(actual, expected, exact);
    }),
    { numRuns: 150 },
  );
}

const options = (axes: readonly AxisCase[]) => ({
  window: axes.map(({ window }) => window),
  stride: axes.map(({ stride }) => stride),
  padding: axes.map(({ pad }) => pad),
});
const anyAxes = fc.array(axisCase, { minLength: 1, maxLength: 3 });
const dense = anyAxes.map((axes) => axes.map((axis) => ({ ...axis, dilation: 1 })));

describe("maxPool", () => {
  it("equals direct loops for any window, stride, padding and dilation in 1 to 3 dimensions", () => {
    checkPool(
      anyAxes,
      (x, axes) => maxPool(x, { ...options(axes), dilation: axes.map(({ dilation }) => dilation) }),
      () => (values) => Math.max(...values),
    );
  });

  it("halves the extent with padding same, also an odd one", () => {
    const x = tensor([-5, -4, -3, -2, -1], { shape: [1, 5, 1] });
    expect([...read(maxPool(x, { window: 2, padding: "same" })).values]).toEqual([-4, -2, -1]);
    expect([...read(maxPool(x, { window: 3, stride: 2, padding: "same" })).values]).toEqual([-4, -2, -1]);
  });

  it("reads windows that lie side by side through a reshape", () => {
    const pooled = maxPool(zeros([2, 7, 6, 3]), { window: 2 });
    expect(pooled.shape).toEqual([2, 3, 3, 3]);
    const names: string[] = [];
    for (let node: Tensor | undefined = pooled; node && node.inputs.length > 0; node = node.inputs[0]) {
      names.push(node.primitive.name);
    }
    expect(names).toEqual(["max", "reshape", "reshape", "slice"]);
  });

  it("takes windows per axis with any number of batch axes", () => {
    expect(maxPool(zeros([4, 6, 3]), { window: [2, 3] }).shape).toEqual([2, 2, 3]);
    expect(maxPool(zeros([5, 2, 4, 6, 3]), { window: [2, 3] }).shape).toEqual([5, 2, 2, 2, 3]);
  });

  it("explains what is impossible", () => {
    expect(() => maxPool(zeros([2, 3]), { window: 2 })).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: maxPool: [2, 3] has no room for 1 spatial axes. Give […batch, …spatial, channels].]`,
    );
    expect(() => maxPool(zeros([2, 3, 1]), { window: 4 })).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: maxPool: a window of 4 does not fit axis 1 of [2, 3, 1], which has 3 elements and 0 of padding. Use padding "same" or a smaller window.]`,
    );
    expect(() => maxPool(zeros([2, 3, 1]), { window: 2, padding: 2 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: maxPool: padding [2, 2] around the 3 elements of axis 1 leaves windows of 2 that hold padding alone. Use less padding.]`,
    );
    expect(() => maxPool(zeros([2, 3, 1]), { window: 0 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: maxPool: window [0] is impossible. Give integers of at least 1.]`,
    );
  });
});

describe("averagePool", () => {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

  it("divides by the size of the window", () => {
    checkPool(
      dense,
      (x, axes) => averagePool(x, options(axes)),
      (axes) => (values) => sum(values) / axes.reduce((product, { window }) => product * window, 1),
    );
  });

  it("divides by the elements that are not padding where countPadding is false", () => {
    checkPool(
      dense,
      (x, axes) => averagePool(x, { ...options(axes), countPadding: false }),
      () => (values) => sum(values) / values.length,
    );
  });
});

describe("global pools", () => {
  const x = tensor([1, 2, 3, 4, 5, 6, 7, 10], { shape: [1, 2, 2, 2] });

  it("reduce all spatial axes", () => {
    expect([...read(globalAveragePool(x)).values]).toEqual([4, 5.5]);
    expect([...read(globalMaxPool(x)).values]).toEqual([7, 10]);
    expect(() => globalMaxPool(zeros([2, 3]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: globalMaxPool: [2, 3] has no spatial axis. Give [batch, …spatial, channels].]`,
    );
  });
});
