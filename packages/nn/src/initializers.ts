/**
 * Initial values of parameters. An initializer is a function of a key, a shape and the fans of the layer; layers call it
 * with their own fans. Values such as `zeros` and `glorotUniform` are initializers; those with options are made by a call:
 * `truncatedNormal({ std: 0.05 })`.
 */
import {
  full,
  type Key,
  normal as randomNormal,
  truncatedNormal as randomTruncatedNormal,
  uniform as randomUniform,
  type Shape,
  sizeOf,
  type Tensor,
} from "@thalweg/tensor";

/** How many inputs an output sums over, and how many outputs an input reaches. */
export interface Fans {
  readonly in: number;
  readonly out: number;
}

/** @param fans - Default: {@link fansOf} the shape. */
export type Initializer = (key: Key, shape: Shape, fans?: Fans) => Tensor;

/**
 * The fans of a kernel `[…taps, in, out]`: the extents times the number of taps. A vector has its length as both.
 */
export function fansOf(shape: Shape): Fans {
  if (shape.length < 2) return { in: sizeOf(shape), out: sizeOf(shape) };
  const taps = sizeOf(shape.slice(0, -2));
  return { in: taps * (shape.at(-2) as number), out: taps * (shape.at(-1) as number) };
}

/** All 0. */
export const zeros: Initializer = (_key, shape) => full(shape, 0);

/** All 1. */
export const ones: Initializer = (_key, shape) => full(shape, 1);

/** One value everywhere. */
export const constant =
  (value: number): Initializer =>
  (_key, shape) =>
    full(shape, value);

/** Uniform in [low, high). */
export const uniform =
  ({ low, high }: { readonly low: number; readonly high: number }): Initializer =>
  (key, shape) =>
    randomUniform(key, shape, { low, high });

/** Normal. */
export const normal =
  ({ mean = 0, std = 1 }: { readonly mean?: number; readonly std?: number } = {}): Initializer =>
  (key, shape) =>
    randomNormal(key, shape, { mean, std });

/**
 * A normal of width `std`, conditioned on lying within two `std` of 0. The width is not corrected for the truncation:
 * the standard deviation of the result is 0.8796 `std`. This is TensorFlow's `truncated_normal_initializer`.
 */
export const truncatedNormal =
  ({ std = 1 }: { readonly std?: number } = {}): Initializer =>
  (key, shape) =>
    randomTruncatedNormal(key, shape, { low: -2, high: 2 }).mul(std);

/** The standard deviation of a standard normal that is truncated at ±2. */
const truncatedStd = 0.8796256610342398;

export interface VarianceScalingOptions {
  /** The variance times the fan. Default 1. */
  readonly scale?: number;
  /** Which fan. Default `"fanIn"`. */
  readonly mode?: "fanIn" | "fanOut" | "fanAverage";
  /**
   * `"truncatedNormal"` is truncated at two standard deviations and corrected, so that the variance is as stated.
   * Default `"truncatedNormal"`.
   */
  readonly distribution?: "uniform" | "normal" | "truncatedNormal";
}

/** A mean of 0 and a variance of `scale / fan`, the common form of the Glorot, He and LeCun initializers. */
export const varianceScaling =
  ({ scale = 1, mode = "fanIn", distribution = "truncatedNormal" }: VarianceScalingOptions = {}): Initializer =>
  (key, shape, fans = fansOf(shape)) => {
    const fan = mode === "fanIn" ? fans.in : mode === "fanOut" ? fans.out : (fans.in + fans.out) / 2;
    const variance = scale / Math.max(1, fan);
    switch (distribution) {
      case "uniform": {
        const limit = Math.sqrt(3 * variance);
        return randomUniform(key, shape, { low: -limit, high: limit });
      }
      case "normal":
        return randomNormal(key, shape, { std: Math.sqrt(variance) });
      case "truncatedNormal":
        return truncatedNormal({ std: Math.sqrt(variance) / truncatedStd })(key, shape);
    }
  };

/** Uniform within ±sqrt(6 / (fanIn + fanOut)). PyTorch calls it Xavier. @see Glorot and Bengio (AISTATS 2010), eq. 16 */
export const glorotUniform: Initializer = varianceScaling({ mode: "fanAverage", distribution: "uniform" });

/** Truncated normal of variance 2 / (fanIn + fanOut), as in TensorFlow and Flax. @see Glorot and Bengio (AISTATS 2010) */
export const glorotNormal: Initializer = varianceScaling({ mode: "fanAverage" });

/** Uniform of variance 2 / fanIn. @see He et al. (ICCV 2015) */
export const heUniform: Initializer = varianceScaling({ scale: 2, distribution: "uniform" });

/** Truncated normal of variance 2 / fanIn, as in TensorFlow and Flax. @see He et al. (ICCV 2015) */
export const heNormal: Initializer = varianceScaling({ scale: 2 });

/** Uniform of variance 1 / fanIn. @see LeCun et al., Efficient BackProp (1998) */
export const lecunUniform: Initializer = varianceScaling({ distribution: "uniform" });

/** Truncated normal of variance 1 / fanIn, Flax' default for kernels. @see LeCun et al., Efficient BackProp (1998) */
export const lecunNormal: Initializer = varianceScaling();

export interface KaimingOptions {
  /** Slope of the leaky ReLU that follows; 0 is ReLU. Default 0. */
  readonly slope?: number;
  /** Default `"fanIn"`. */
  readonly mode?: "fanIn" | "fanOut";
}

/** Uniform of variance 2 / ((1 + slope²) fan): PyTorch's `kaiming_uniform_`. @see He et al. (ICCV 2015) */
export const kaimingUniform = ({ slope = 0, mode = "fanIn" }: KaimingOptions = {}): Initializer =>
  varianceScaling({ scale: 2 / (1 + slope ** 2), mode, distribution: "uniform" });

/** Normal (not truncated) of variance 2 / ((1 + slope²) fan): PyTorch's `kaiming_normal_`. @see He et al. (ICCV 2015) */
export const kaimingNormal = ({ slope = 0, mode = "fanIn" }: KaimingOptions = {}): Initializer =>
  varianceScaling({ scale: 2 / (1 + slope ** 2), mode, distribution: "normal" });

/**
 * Uniform within ±1 / sqrt(fanIn): what PyTorch's linear and convolution layers start from, kernels and biases alike
 * (a bias has the fan of its layer). The default of this library's layers.
 */
export const fanInUniform: Initializer = varianceScaling({ scale: 1 / 3, distribution: "uniform" });
