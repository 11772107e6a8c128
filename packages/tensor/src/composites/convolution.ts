import { ArgumentError, formatShape, ShapeError } from "../errors";
import type { Tensor } from "../tensor";
import { type Padding, type PerAxis, perAxis, planWindows, resolvePadding, spanOf, unfold } from "./window";

export interface ConvolutionOptions {
  /** Distance of neighbouring windows. Default 1. */
  readonly stride?: PerAxis;
  /** Default `"valid"`. */
  readonly padding?: Padding;
  /** Distance of neighbouring taps. Default 1. */
  readonly dilation?: PerAxis;
  /** Input channels and output channels are cut into so many blocks that do not see each other. Default 1. */
  readonly groups?: number;
}

export interface TransposedConvolutionOptions extends ConvolutionOptions {
  /** Positions added at the end of each spatial axis of the output, as in PyTorch. Default 0. */
  readonly outputPadding?: number | readonly number[];
}

/**
 * Convolution (cross-correlation, as in every learning library) over 1, 2, 3 or more spatial axes, channels last.
 *
 * One `dot` over the unfolded view of `x`; the unfolded tensor is never stored. Output channel `j` belongs to group
 * `floor(j / (o / groups))`.
 *
 * @param x - `[…batch, …spatial, c]`, with any number of batch axes, also none.
 * @param kernel - `[…taps, c / groups, o]`; its rank fixes the number of spatial axes.
 * @returns `[…batch, …windows, o]` with `floor((extent + padding - dilation·(taps - 1) - 1) / stride) + 1` windows.
 * @throws ShapeError if `x` and `kernel` do not fit; ArgumentError for an impossible option.
 */
export function conv(
  x: Tensor,
  kernel: Tensor,
  { stride = 1, padding = "valid", dilation = 1, groups = 1 }: ConvolutionOptions = {},
): Tensor {
  const spatial = checkOperands("conv", x, kernel);
  const taps = kernel.shape.slice(0, spatial);
  const [channels, features] = kernel.shape.slice(spatial) as [number, number];
  checkGroups("conv", groups, features, "output channels");
  if (x.shape[x.rank - 1] !== channels * groups) {
    throw new ShapeError(
      `conv: input ${formatShape(x.shape)} has ${x.shape[x.rank - 1]} channels, kernel ${formatShape(kernel.shape)} with ` +
        `${groups} group${groups === 1 ? "" : "s"} takes ${channels * groups}. Channels are the last axis of the input, ` +
        "the last but one of the kernel.",
    );
  }
  const first = x.rank - spatial - 1;
  const axes = planWindows("conv", x.shape, first, taps, { stride, dilation, padding });
  const { view, taps: tapAxes } = unfold(x, first, axes);
  // Taps first, channels last: the innermost loop of the contraction runs over neighbouring elements.
  const tapExtents = tapAxes.map((axis) => view.shape[axis] as number);
  const ofKernel = tapAxes.map((_, index) => index);
  if (groups === 1) {
    return view.dot(kernel.reshape([...tapExtents, channels, features]), {
      contract: [
        [...tapAxes, view.rank - 1],
        [...ofKernel, tapAxes.length],
      ],
    });
  }
  const grouped = view.reshape([...view.shape.slice(0, -1), groups, channels]);
  const blocks = kernel.reshape([...tapExtents, channels, groups, features / groups]);
  const result = grouped.dot(blocks, {
    batch: [[grouped.rank - 2], [tapAxes.length + 1]],
    contract: [
      [...tapAxes, grouped.rank - 1],
      [...ofKernel, tapAxes.length],
    ],
  });
  return joinGroups(result);
}

/**
 * The transpose of {@link conv} with respect to its input, also called deconvolution or fractionally strided
 * convolution: `convTranspose(y, kernel.transpose(), options)` is what `conv(x, kernel, options)` sends back to `x`.
 *
 * Output extent per axis:
 * - padding `"valid"`, a number or pairs: `(extent - 1)·stride + dilation·(taps - 1) + 1 - low - high + outputPadding`,
 *   as PyTorch's ConvTranspose (whose `padding` argument is our number). TensorFlow's `"valid"` is the same as long as
 *   the window spans at least the stride; else it appends `stride - span` zeros, here `outputPadding`.
 * - padding `"same"`: `extent·stride + outputPadding`, as TensorFlow's and Keras' `"same"`.
 *
 * With stride 1 it is a dense convolution by the mirrored kernel. With a larger stride an implicit form would multiply
 * mostly by zeros between the inputs, so every input position is first multiplied by all taps (a dense `dot`), and
 * the overlapping results are then summed in gather form. Where that intermediate is stored, it has `taps / stride` times
 * the extent of the output along each axis.
 *
 * @param x - `[…batch, …spatial, c]`.
 * @param kernel - `[…taps, c, o / groups]` (PyTorch has `[c, o / groups, …taps]`, TensorFlow `[…taps, o, c]`).
 * @returns `[…batch, …extents, o]`.
 * @throws ShapeError if `x` and `kernel` do not fit; ArgumentError for an impossible option.
 */
export function convTranspose(
  x: Tensor,
  kernel: Tensor,
  { stride = 1, padding = "valid", dilation = 1, groups = 1, outputPadding = 0 }: TransposedConvolutionOptions = {},
): Tensor {
  const spatial = checkOperands("convTranspose", x, kernel);
  const channels = kernel.shape[spatial] as number;
  checkGroups("convTranspose", groups, channels, "input channels");
  if (x.shape[x.rank - 1] !== channels) {
    throw new ShapeError(
      `convTranspose: input ${formatShape(x.shape)} has ${x.shape[x.rank - 1]} channels, kernel ` +
        `${formatShape(kernel.shape)} takes ${channels}. Channels are the last axis of the input, the last but one of ` +
        "the kernel.",
    );
  }
  const first = x.rank - spatial - 1;
  const axes = planFold(x, first, kernel.shape.slice(0, spatial), { stride, padding, dilation, outputPadding });
  const dense = axes.every((axis) => axis.stride === 1);
  return dense
    ? mirroredConvolution(x, kernel, first, axes, groups)
    : scatteredConvolution(x, kernel, first, axes, groups);
}

/** How inputs spread over one spatial axis of the output. */
interface FoldAxis {
  readonly taps: number;
  readonly stride: number;
  readonly dilation: number;
  /** Elements of the full overlap-add that are cut off in front. */
  readonly low: number;
  readonly output: number;
}

function planFold(
  x: Tensor,
  first: number,
  taps: readonly number[],
  options: Required<Pick<TransposedConvolutionOptions, "stride" | "padding" | "dilation" | "outputPadding">>,
): FoldAxis[] {
  const rank = taps.length;
  const strides = perAxis("convTranspose", "stride", options.stride, rank);
  const dilations = perAxis("convTranspose", "dilation", options.dilation, rank);
  const spans = taps.map((own, axis) => spanOf(own, dilations[axis] as number));
  const pads = resolvePadding("convTranspose", options.padding, rank, (axis) =>
    Math.max(0, (spans[axis] as number) - (strides[axis] as number)),
  );
  const { outputPadding } = options;
  const extra = typeof outputPadding === "number" ? taps.map(() => outputPadding) : outputPadding;
  return taps.map((own, axis) => {
    const [low, high] = pads[axis] as [number, number];
    const [stride, dilation, added] = [strides[axis] as number, dilations[axis] as number, extra[axis] as number];
    if (extra.length !== rank || !Number.isInteger(added) || added < 0) {
      throw new ArgumentError(
        `convTranspose: outputPadding ${formatShape(extra)} does not fit ${rank} spatial axes. ` +
          "Give one integer of at least 0, or one per axis.",
      );
    }
    const extent = x.shape[first + axis] as number;
    const full = extent === 0 ? 0 : (extent - 1) * stride + (spans[axis] as number);
    const output = options.padding === "same" ? extent * stride + added : full - low - high + added;
    if (output < 1 && extent > 0) {
      throw new ShapeError(
        `convTranspose: padding [${low}, ${high}] leaves nothing of the ${full} elements that axis ${first + axis} of ` +
          `${formatShape(x.shape)} spreads to. Use less padding.`,
      );
    }
    return { taps: own, stride, dilation, low, output };
  });
}

/** Stride 1: output h is the sum over taps k of x[h + low - k·dilation] times kernel[k]. */
function mirroredConvolution(
  x: Tensor,
  kernel: Tensor,
  first: number,
  axes: readonly FoldAxis[],
  groups: number,
): Tensor {
  const [channels, features] = kernel.shape.slice(-2) as [number, number];
  const taps = axes.map((axis) => axis.taps);
  const mirrored = kernel
    .flip(axes.map((_, axis) => axis))
    .reshape([...taps, groups, channels / groups, features])
    .moveAxis(-3, -2)
    .reshape([...taps, channels / groups, groups * features]);
  // A window's last tap meets the first output: it needs span - 1 zeros in front, less those that are cut off.
  const pads = axes.map(({ taps: own, dilation, low, output }, axis) => {
    const reach = spanOf(own, dilation) - 1;
    const before = reach - low;
    return { before, after: output + reach - before - (x.shape[first + axis] as number) };
  });
  const kept = x.slice(
    [...Array<number>(first).fill(0), ...pads.map(({ before }) => Math.max(0, -before))],
    x.shape.map((extent, axis) => extent + Math.min(0, pads[axis - first]?.after ?? 0)),
  );
  return conv(kept, mirrored, {
    padding: pads.map(({ before, after }): [number, number] => [Math.max(0, before), Math.max(0, after)]),
    dilation: axes.map(({ dilation }) => dilation),
    groups,
  });
}

/** Any stride: every input times all taps, then overlap-add. */
function scatteredConvolution(
  x: Tensor,
  kernel: Tensor,
  first: number,
  axes: readonly FoldAxis[],
  groups: number,
): Tensor {
  const [channels, features] = kernel.shape.slice(-2) as [number, number];
  const spatial = axes.length;
  const leading = groups === 1 ? 0 : 1;
  // [groups?, …batch, …spatial, …taps, features]
  const spread =
    groups === 1
      ? x.dot(kernel, { contract: [[x.rank - 1], [spatial]] })
      : x
          .reshape([...x.shape.slice(0, -1), groups, channels / groups])
          .dot(kernel.reshape([...kernel.shape.slice(0, spatial), groups, channels / groups, features]), {
            batch: [[x.rank - 1], [spatial]],
            contract: [[x.rank], [spatial + 1]],
          });
  const start = leading + first;
  const order = [
    ...Array.from({ length: start }, (_, axis) => axis),
    ...axes.flatMap((_, axis) => [start + axis, start + spatial + axis]),
    spread.rank - 1,
  ];
  let folded = spread.permute(order);
  for (const [index, { stride, dilation, taps, low, output }] of axes.entries()) {
    const axis = start + 2 * index;
    const windows = folded.shape[axis] as number;
    const full = windows === 0 ? 0 : (windows - 1) * stride + spanOf(taps, dilation);
    folded = folded.unwindowed({ axis, stride, dilation, windows, extent: Math.max(full, low + output) });
  }
  const bounds = new Map(axes.map(({ low, output }, index) => [start + 2 * index, [low, low + output] as const]));
  folded = folded.slice(
    folded.shape.map((_, axis) => bounds.get(axis)?.[0] ?? 0),
    folded.shape.map((extent, axis) => bounds.get(axis)?.[1] ?? extent),
  );
  const summed = folded.sum({ axis: axes.map((_, index) => start + 2 * index + 1) });
  return groups === 1 ? summed : joinGroups(summed);
}

/** `[groups, …, o / groups]` to `[…, o]`. */
function joinGroups(result: Tensor): Tensor {
  const last = result.moveAxis(0, result.rank - 2);
  return last.reshape([...last.shape.slice(0, -2), (last.shape.at(-2) as number) * (last.shape.at(-1) as number)]);
}

/** The number of spatial axes. */
function checkOperands(operation: string, x: Tensor, kernel: Tensor): number {
  const spatial = kernel.rank - 2;
  if (spatial < 1 || x.rank < spatial + 1) {
    throw new ShapeError(
      `${operation}: input ${formatShape(x.shape)} and kernel ${formatShape(kernel.shape)} do not fit. The kernel is ` +
        "[…taps, in, out], the input […batch, …spatial, channels] with one spatial axis per axis of taps.",
    );
  }
  return spatial;
}

function checkGroups(operation: string, groups: number, channels: number, meaning: string): void {
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new ArgumentError(
      `${operation}: ${groups} groups do not divide ${channels} ${meaning}. Give a divisor of ${channels}.`,
    );
  }
}
