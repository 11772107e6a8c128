import { type Axes, inF32, type Tensor } from "../tensor";

export interface StandardizeOptions {
  /** Axes over which mean and variance are taken. */
  readonly axis: Axes;
  /** Added to the variance before the root. Default 1e-5. */
  readonly epsilon?: number;
}

export interface Moments {
  /** With the reduced axes kept as 1. */
  readonly mean: Tensor;
  /** The biased variance (divided by the count), with the reduced axes kept as 1. */
  readonly variance: Tensor;
}

/** Mean and biased variance over axes, in two passes: the squares are of deviations, so nothing cancels. */
export function moments(x: Tensor, { axis }: { readonly axis: Axes }): Moments {
  return { mean: x.mean({ axis, keepDims: true }), variance: x.variance({ axis, keepDims: true }) };
}

/** (x - mean) / sqrt(variance + epsilon), with mean and biased variance over the given axes. Same shape as `x`. */
export function standardize(x: Tensor, { axis, epsilon = 1e-5 }: StandardizeOptions): Tensor {
  return inF32(x, (wide) => {
    const { mean, variance } = moments(wide, { axis });
    return wide.sub(mean).mul(variance.add(epsilon).rsqrt());
  });
}
