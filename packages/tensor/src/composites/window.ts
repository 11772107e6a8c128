import { ArgumentError, formatShape, ShapeError } from "../errors";
import type { Shape } from "../shape";
import type { Tensor } from "../tensor";

/**
 * Elements added around the spatial axes before windows slide over them.
 *
 * - `"valid"`: none.
 * - `"same"`: so many that there are `ceil(extent / stride)` windows, the larger half at the end (TensorFlow's rule;
 *   PyTorch has it for stride 1 only).
 * - a number: on both sides of every spatial axis, as in PyTorch.
 * - one entry per spatial axis: a number for both sides, or `[low, high]`.
 */
export type Padding = "same" | "valid" | number | readonly (number | readonly [number, number])[];

/** One number for all spatial axes, or one per axis. */
export type PerAxis = number | readonly number[];

/** How windows lie over one spatial axis. */
export interface WindowAxis {
  readonly extent: number;
  readonly taps: number;
  readonly stride: number;
  readonly dilation: number;
  readonly low: number;
  readonly high: number;
  /** Number of windows. */
  readonly windows: number;
}

/** Elements that one window spans. */
export const spanOf = (taps: number, dilation: number): number => (taps - 1) * dilation + 1;

/** One positive integer per spatial axis. */
export function perAxis(operation: string, name: string, value: PerAxis, rank: number): number[] {
  const list = typeof value === "number" ? Array<number>(rank).fill(value) : [...value];
  if (list.length !== rank || !list.every((item) => Number.isInteger(item) && item > 0)) {
    throw new ArgumentError(
      `${operation}: ${name} ${formatShape(list)} does not fit ${rank} spatial axes. ` +
        "Give one integer of at least 1, or one per axis.",
    );
  }
  return list;
}

/** `[low, high]` per spatial axis; `same` says how much an axis needs in total under `"same"`. */
export function resolvePadding(
  operation: string,
  padding: Padding,
  rank: number,
  same: (axis: number) => number,
): [number, number][] {
  const pairs = Array.from({ length: rank }, (_, axis): [number, number] => {
    if (padding === "valid") return [0, 0];
    if (padding === "same") {
      const total = same(axis);
      const low = Math.floor(total / 2);
      return [low, total - low];
    }
    const own = typeof padding === "number" ? padding : (padding[axis] ?? Number.NaN);
    return typeof own === "number" ? [own, own] : [own[0], own[1]];
  });
  const fits = typeof padding !== "object" || padding.length === rank;
  if (!fits || !pairs.flat().every((count) => Number.isInteger(count) && count >= 0)) {
    throw new ArgumentError(
      `${operation}: padding ${JSON.stringify(padding)} does not fit ${rank} spatial axes. ` +
        'Give "same", "valid", an integer of at least 0, or one integer or [low, high] pair per axis.',
    );
  }
  return pairs;
}

/** Lays windows over the spatial axes, which begin at axis `first` of `shape`. */
export function planWindows(
  operation: string,
  shape: Shape,
  first: number,
  taps: readonly number[],
  options: { readonly stride: PerAxis; readonly dilation: PerAxis; readonly padding: Padding },
): WindowAxis[] {
  const rank = taps.length;
  const strides = perAxis(operation, "stride", options.stride, rank);
  const dilations = perAxis(operation, "dilation", options.dilation, rank);
  const extents = shape.slice(first, first + rank);
  const pads = resolvePadding(operation, options.padding, rank, (axis) => {
    const [extent, stride] = [extents[axis] as number, strides[axis] as number];
    const span = spanOf(taps[axis] as number, dilations[axis] as number);
    return Math.max(0, (Math.ceil(extent / stride) - 1) * stride + span - extent);
  });
  return extents.map((extent, axis) => {
    const [low, high] = pads[axis] as [number, number];
    const [stride, dilation] = [strides[axis] as number, dilations[axis] as number];
    const span = spanOf(taps[axis] as number, dilation);
    const windows = Math.floor((low + extent + high - span) / stride) + 1;
    if (windows < 1 && extent > 0) {
      throw new ShapeError(
        `${operation}: a window of ${span} does not fit axis ${first + axis} of ${formatShape(shape)}, which has ` +
          `${extent} elements and ${low + high} of padding. Use padding "same" or a smaller window.`,
      );
    }
    return { extent, taps: taps[axis] as number, stride, dilation, low, high, windows: Math.max(0, windows) };
  });
}

/**
 * The unfolded view of windows: every spatial axis of `x` becomes two, windows and taps, so that `[…, h, w, c]` turns into
 * `[…, p, k, q, l, c]`. Nothing is copied: the reader's index map does it all. An axis with a single tap keeps no axis
 * of taps.
 *
 * @param first - The first spatial axis of `x`.
 * @param fill - What the padding holds.
 * @returns The view, and the positions of its axes of taps.
 */
export function unfold(
  x: Tensor,
  first: number,
  axes: readonly WindowAxis[],
  fill = 0,
): { readonly view: Tensor; readonly taps: readonly number[] } {
  const behind = x.rank - first - axes.length;
  let view = x.pad(
    [
      ...Array<[number, number]>(first).fill([0, 0]),
      ...axes.map(({ low, high }): [number, number] => [low, high]),
      ...Array<[number, number]>(behind).fill([0, 0]),
    ],
    { value: fill },
  );
  const taps: number[] = [];
  let position = first;
  for (const axis of axes) {
    view = unfoldAxis(view, position, axis);
    if (axis.taps > 1) taps.push(position + 1);
    position += axis.taps > 1 ? 2 : 1;
  }
  return { view, taps };
}

/** Splits one padded axis into windows and taps. */
function unfoldAxis(x: Tensor, position: number, { taps, stride, dilation, windows }: WindowAxis): Tensor {
  const extent = x.shape[position] as number;
  const cut = (end: number, step = 1) =>
    x.slice(
      x.shape.map(() => 0),
      x.shape.map((own, axis) => (axis === position ? end : own)),
      x.shape.map((_, axis) => (axis === position ? step : 1)),
    );
  const split = (...extents: number[]) => [...x.shape.slice(0, position), ...extents, ...x.shape.slice(position + 1)];
  if (taps === 1) return cut(Math.max(0, (windows - 1) * stride + 1), stride);
  // Windows side by side are a reshape, whose derivative needs no overlap-add.
  if (dilation === 1 && stride === taps) return cut(windows * taps).reshape(split(windows, taps));
  return x
    .expandDims(position + 1)
    .expand(split(extent, taps))
    .windowed({ axis: position, stride, dilation, windows, extent });
}
