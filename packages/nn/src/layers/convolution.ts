import {
  conv,
  convTranspose,
  formatShape,
  isFloat,
  type Padding,
  type PerAxis,
  ShapeError,
  sizeOf,
  type Tensor,
} from "@thalweg/tensor";
import { fanInUniform, type Initializer } from "../initializers";
import { defineStateless, describe, type Layer, type Nothing, namedRoles, type Role } from "../module";
import { addBias, type KernelParams, makeKernel } from "./kernel";

export interface ConvOptions<Bias extends boolean = true> {
  /** Number of output channels. */
  readonly features: number;
  /** Taps per spatial axis; one number for all of them. */
  readonly kernel: PerAxis;
  /** Default 1. */
  readonly stride?: PerAxis;
  /** `"valid"`, `"same"` (TensorFlow's rule), a number for both sides, or one entry per axis. Default `"valid"`. */
  readonly padding?: Padding;
  /** Default 1. */
  readonly dilation?: PerAxis;
  /** Blocks of channels that do not see each other; as many as channels is a depthwise convolution. Default 1. */
  readonly groups?: number;
  /** Whether a bias is added. Default true. */
  readonly bias?: Bias;
  /** Default: uniform within ±1 / sqrt(fan in), as in PyTorch. */
  readonly kernelInit?: Initializer;
  /** Default: uniform within ±1 / sqrt(fan in), as in PyTorch. */
  readonly biasInit?: Initializer;
  /** The role of the kernel. Default `"weight"`. */
  readonly role?: Extract<Role, "weight" | "head">;
}

export interface ConvTransposeOptions<Bias extends boolean = true> extends ConvOptions<Bias> {
  /** Positions added at the end of each spatial axis of the output. Default 0. */
  readonly outputPadding?: number | readonly number[];
}

/** A convolution layer. Parameters: `kernel` `[…taps, in / groups, features]`, `bias` `[features]`. */
type ConvLayer<Bias extends boolean> = Layer<KernelParams<Bias>, Nothing>;

/** Convolution over one spatial axis: `[…batch, length, in]` to `[…batch, windows, features]`. See `conv`. */
export const conv1d = <Bias extends boolean = true>(options: ConvOptions<Bias>): ConvLayer<Bias> =>
  convolution("conv1d", 1, options);

/** Convolution over two spatial axes: `[…batch, height, width, in]` to `[…batch, windows, windows, features]`. See `conv`. */
export const conv2d = <Bias extends boolean = true>(options: ConvOptions<Bias>): ConvLayer<Bias> =>
  convolution("conv2d", 2, options);

/** Convolution over three spatial axes, `[…batch, depth, height, width, in]`. See `conv`. */
export const conv3d = <Bias extends boolean = true>(options: ConvOptions<Bias>): ConvLayer<Bias> =>
  convolution("conv3d", 3, options);

/**
 * Transposed convolution over one spatial axis. Parameters: `kernel` `[taps, in, features / groups]`, `bias` `[features]`.
 * The output's extent is explained at `convTranspose`.
 */
export const convTranspose1d = <Bias extends boolean = true>(options: ConvTransposeOptions<Bias>): ConvLayer<Bias> =>
  transposed("convTranspose1d", 1, options);

/** {@link convTranspose1d} over two spatial axes. */
export const convTranspose2d = <Bias extends boolean = true>(options: ConvTransposeOptions<Bias>): ConvLayer<Bias> =>
  transposed("convTranspose2d", 2, options);

/** {@link convTranspose1d} over three spatial axes. */
export const convTranspose3d = <Bias extends boolean = true>(options: ConvTransposeOptions<Bias>): ConvLayer<Bias> =>
  transposed("convTranspose3d", 3, options);

function convolution<Bias extends boolean>(kind: string, spatial: number, options: ConvOptions<Bias>): ConvLayer<Bias> {
  const { groups = 1, stride = 1, padding = "valid", dilation = 1 } = options;
  return kernelLayer(kind, spatial, options, {
    kernelShape: (taps, channels) => [...taps, channels / groups, options.features],
    channelsOf: (kernel) => (kernel.shape[spatial] as number) * groups,
    compute: (x, kernel) => conv(x, kernel, { stride, padding, dilation, groups }),
  });
}

function transposed<Bias extends boolean>(
  kind: string,
  spatial: number,
  options: ConvTransposeOptions<Bias>,
): ConvLayer<Bias> {
  const { groups = 1, stride = 1, padding = "valid", dilation = 1, outputPadding = 0 } = options;
  return kernelLayer(kind, spatial, options, {
    kernelShape: (taps, channels) => [...taps, channels, options.features / groups],
    channelsOf: (kernel) => kernel.shape[spatial] as number,
    compute: (x, kernel) => convTranspose(x, kernel, { stride, padding, dilation, groups, outputPadding }),
  });
}

interface KernelRule {
  kernelShape(taps: readonly number[], channels: number): number[];
  /** Channels of the input that a kernel takes. */
  channelsOf(kernel: Tensor): number;
  compute(x: Tensor, kernel: Tensor): Tensor;
}

function kernelLayer<Bias extends boolean>(
  kind: string,
  spatial: number,
  {
    features,
    kernel: window,
    groups = 1,
    bias,
    kernelInit = fanInUniform,
    biasInit = fanInUniform,
    role = "weight",
  }: ConvOptions<Bias>,
  { kernelShape, channelsOf, compute }: KernelRule,
): ConvLayer<Bias> {
  return defineStateless<KernelParams<Bias>>({
    kind,
    init(key, x, path) {
      const layer = describe(kind, path);
      const taps = typeof window === "number" ? Array<number>(spatial).fill(window) : window;
      if (taps.length !== spatial) {
        throw new ShapeError(
          `${layer}: kernel ${formatShape(taps)} has ${taps.length} extents. Give one number, or ${spatial}.`,
        );
      }
      checkRank(layer, x, spatial);
      const channels = x.shape.at(-1) as number;
      if (channels % groups !== 0 || features % groups !== 0) {
        throw new ShapeError(
          `${layer}: ${groups} groups do not divide ${channels} input channels and ${features} features.`,
        );
      }
      const area = sizeOf(taps);
      const shape = kernelShape(taps, channels);
      const fans = { in: area * (shape.at(-2) as number), out: area * (shape.at(-1) as number) };
      const dtype = isFloat(x.dtype) ? x.dtype : "f32";
      return makeKernel(key, { shape, fans, bias: bias !== false, features, kernelInit, biasInit, dtype });
    },
    roles: namedRoles({ kernel: role, bias: "bias" }),
    forward(params, x, { path }) {
      const { kernel } = params;
      const layer = describe(kind, path);
      checkRank(layer, x, spatial);
      const expected = channelsOf(kernel);
      if (x.shape.at(-1) !== expected) {
        throw new ShapeError(
          `${layer}: input ${formatShape(x.shape)} does not fit kernel ${formatShape(kernel.shape)} ` +
            `(axis ${x.rank - 1}: ${x.shape.at(-1)} channels, expected ${expected})`,
        );
      }
      return addBias(compute(x, kernel), params);
    },
  });
}

function checkRank(layer: string, x: Tensor, spatial: number): void {
  if (x.rank < spatial + 1) {
    throw new ShapeError(
      `${layer}: input ${formatShape(x.shape)} has ${x.rank} axes. Give […batch, …${spatial} spatial, channels], channels last.`,
    );
  }
}
