import { ArgumentError, formatShape, ShapeError } from "../errors";
import { iota, type Tensor } from "../tensor";
import { type Padding, type PerAxis, planWindows, unfold, type WindowAxis } from "./window";

export interface PoolingOptions {
  /**
   * Extent of the window: one number for all spatial axes (all but the first and the last axis of the input), or one
   * per spatial axis (then any number of batch axes, also none, may stand in front).
   */
  readonly window: PerAxis;
  /** Distance of neighbouring windows. Default: the window, so that windows lie side by side. */
  readonly stride?: PerAxis;
  /** Default `"valid"`. */
  readonly padding?: Padding;
}

export interface MaxPoolOptions extends PoolingOptions {
  /** Distance of neighbouring elements in a window. Default 1. */
  readonly dilation?: PerAxis;
}

export interface AveragePoolOptions extends PoolingOptions {
  /**
   * Whether padding counts as zeros in the average (PyTorch's and Flax' default) or is left out of it (TensorFlow,
   * Keras). Default true.
   */
  readonly countPadding?: boolean;
}

/** The lowest finite number: infinities are not safe in WGSL. */
const lowest = (x: Tensor): number => (x.dtype === "f16" ? -65504 : -3.4028234663852886e38);

/**
 * The largest element of each window. Padding never wins: it holds the lowest finite number. The derivative goes to the
 * first largest element of a window.
 *
 * @param x - `[…batch, …spatial, c]`
 * @returns `[…batch, …windows, c]`
 */
export function maxPool(x: Tensor, options: MaxPoolOptions): Tensor {
  const { first, axes } = plan("maxPool", x, options);
  const { view, taps } = unfold(x, first, axes, lowest(x));
  return view.max({ axis: taps });
}

/**
 * The mean of each window.
 *
 * @param x - `[…batch, …spatial, c]`
 * @returns `[…batch, …windows, c]`
 */
export function averagePool(x: Tensor, options: AveragePoolOptions): Tensor {
  const { first, axes } = plan("averagePool", x, options);
  const { view, taps } = unfold(x, first, axes);
  const total = view.sum({ axis: taps });
  const padded = axes.some(({ low, high }) => low > 0 || high > 0);
  if (options.countPadding !== false || !padded) {
    return total.mul(1 / axes.reduce((product, axis) => product * axis.taps, 1));
  }
  return axes.reduce((mean, axis, index) => mean.div(counts(mean, first + index, axis)), total);
}

/** How many elements of each window along an axis are not padding, in a shape that broadcasts to `like`. */
function counts(like: Tensor, position: number, { extent, taps, stride, low, windows }: WindowAxis): Tensor {
  const start = iota([windows], 0, "i32").mul(stride).sub(low);
  const count = start.add(taps).minimum(extent).sub(start.maximum(0));
  return count.cast(like.dtype).reshape(like.shape.map((_, axis) => (axis === position ? windows : 1)));
}

/**
 * The mean over all spatial axes.
 *
 * @param x - `[batch, …spatial, c]`
 * @returns `[batch, c]`
 */
export const globalAveragePool = (x: Tensor): Tensor => x.mean({ axis: spatialAxes("globalAveragePool", x) });

/**
 * The largest element over all spatial axes.
 *
 * @param x - `[batch, …spatial, c]`
 * @returns `[batch, c]`
 */
export const globalMaxPool = (x: Tensor): Tensor => x.max({ axis: spatialAxes("globalMaxPool", x) });

function spatialAxes(operation: string, x: Tensor): number[] {
  if (x.rank < 3) {
    throw new ShapeError(
      `${operation}: ${formatShape(x.shape)} has no spatial axis. Give [batch, …spatial, channels].`,
    );
  }
  return Array.from({ length: x.rank - 2 }, (_, axis) => axis + 1);
}

function plan(
  operation: string,
  x: Tensor,
  { window, stride = window, padding = "valid", dilation = 1 }: MaxPoolOptions,
) {
  const rank = typeof window === "number" ? x.rank - 2 : window.length;
  if (rank < 1 || x.rank < rank + 1) {
    throw new ShapeError(
      `${operation}: ${formatShape(x.shape)} has no room for ${Math.max(1, rank)} spatial axes. ` +
        "Give […batch, …spatial, channels].",
    );
  }
  const taps = typeof window === "number" ? Array<number>(rank).fill(window) : window;
  if (!taps.every((own) => Number.isInteger(own) && own > 0)) {
    throw new ArgumentError(`${operation}: window ${formatShape(taps)} is impossible. Give integers of at least 1.`);
  }
  const first = x.rank - rank - 1;
  const axes = planWindows(operation, x.shape, first, taps, { stride, padding, dilation });
  // A window of padding alone has no largest element and no mean.
  const alone = axes.findIndex(hasEmptyWindow);
  if (alone >= 0) {
    const { extent, low, high, taps: own } = axes[alone] as WindowAxis;
    throw new ArgumentError(
      `${operation}: padding [${low}, ${high}] around the ${extent} elements of axis ${first + alone} leaves windows of ` +
        `${own} that hold padding alone. Use less padding.`,
    );
  }
  return { first, axes };
}

function hasEmptyWindow({ extent, taps, stride, dilation, low, windows }: WindowAxis): boolean {
  const isInside = (position: number) => position >= 0 && position < extent;
  const ofWindow = (window: number) => Array.from({ length: taps }, (_, tap) => window * stride + tap * dilation - low);
  return Array.from({ length: windows }, (_, window) => ofWindow(window)).some(
    (positions) => !positions.some(isInside),
  );
}
