import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative, positive } from "../constant";
import { mapTensors, treeNorm } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface ClipByGlobalNormOptions {
  /** Greater than 0. */
  readonly maxNorm: number;
  /** Added to the norm where it is too large, as PyTorch and AlgoPerf do (1e-6). Default 0. */
  readonly epsilon?: number;
}

/**
 * Scales all gradients by one factor, so that the norm of all together is at most `maxNorm`. All gradients have to be
 * there before the first update, so that updates do not fuse with the kernels of the gradients.
 *
 * @see Pascanu et al., On the difficulty of training recurrent neural networks, 2013
 */
export function clipByGlobalNorm({ maxNorm, epsilon = 0 }: ClipByGlobalNormOptions): GradientTransformation {
  const owner = "clipByGlobalNorm";
  return transformation({
    name: owner,
    constants: [
      constant(owner, "maxNorm", maxNorm, positive),
      ...(epsilon === 0 ? [] : [constant(owner, "epsilon", epsilon, nonNegative)]),
    ],
    update: (gradients, buffers, { constant: numbers }) => {
      const [max] = numbers("maxNorm") as [Tensor];
      const [eps] = epsilon === 0 ? [] : numbers("epsilon");
      const norm = treeNorm(gradients);
      const factor = clippingFactor(norm, max, eps);
      return [mapTensors((g) => g.mul(factor), gradients), buffers];
    },
  });
}

/** max / (norm + ε) where the norm is larger than max, exactly 1 elsewhere. */
function clippingFactor(norm: Tensor, max: Tensor, epsilon?: Tensor): Tensor {
  // The divisor is at least max, so that the branch that is not taken has no division by 0.
  const divisor = epsilon === undefined ? norm.maximum(max) : norm.add(epsilon).maximum(max);
  return norm.greater(max).where(max.div(divisor), 1);
}

export interface ClipByNormOptions {
  /** Greater than 0. */
  readonly maxNorm: number;
}

/** Scales each tensor on its own, so that its norm is at most `maxNorm`. */
export function clipByNorm({ maxNorm }: ClipByNormOptions): GradientTransformation {
  return transformation({
    name: "clipByNorm",
    constants: [constant("clipByNorm", "maxNorm", maxNorm, positive)],
    update: (gradients, buffers, { constant: numbers }) => {
      const [max] = numbers("maxNorm") as [Tensor];
      return [mapTensors((g) => g.mul(clippingFactor(treeNorm(g), max)), gradients), buffers];
    },
  });
}

export interface ClipByValueOptions {
  /** Greater than 0. */
  readonly maxValue: number;
}

/** Limits each element to [-maxValue, maxValue]. */
export function clipByValue({ maxValue }: ClipByValueOptions): GradientTransformation {
  return transformation({
    name: "clipByValue",
    constants: [constant("clipByValue", "maxValue", maxValue, positive)],
    update: (gradients, buffers, { constant: numbers }) => {
      const [max] = numbers("maxValue") as [Tensor];
      return [mapTensors((g) => g.maximum(max.neg()).minimum(max), gradients), buffers];
    },
  });
}

export interface ClipByBlockRmsOptions {
  /** Greater than 0. */
  readonly threshold: number;
}

/** Scales each tensor on its own, so that its root mean square is at most `threshold`. */
export function clipByBlockRms({ threshold }: ClipByBlockRmsOptions): GradientTransformation {
  return transformation({
    name: "clipByBlockRms",
    constants: [constant("clipByBlockRms", "threshold", threshold, positive)],
    update: (gradients, buffers, { constant: numbers }) => {
      const [max] = numbers("threshold") as [Tensor];
      const clip = (g: Tensor) => g.mul(clippingFactor(g.square().mean().sqrt(), max));
      return [mapTensors(clip, gradients), buffers];
    },
  });
}

export interface AdaptiveClipOptions {
  /** Largest ratio of the norms of gradient and parameter. Default 0.01. */
  readonly clipping?: number;
  /** Least norm that a parameter counts with. Default 1e-3. */
  readonly epsilon?: number;
  /**
   * The axis of output units, whose slices are clipped one by one; a tensor of rank 0 or 1 is clipped as a whole.
   * Default `"last"`, where this library's layers have it; PyTorch's layouts have it first.
   */
  readonly unitAxis?: "first" | "last";
}

/** Gradient norms below count as this. */
const leastNorm = 1e-6;

/**
 * Scales the gradient of each output unit, so that its norm is at most `clipping` times the norm of the unit's weights.
 *
 * @see Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, 2021, eq. 3
 */
export function adaptiveClip({
  clipping = 0.01,
  epsilon = 1e-3,
  unitAxis = "last",
}: AdaptiveClipOptions = {}): GradientTransformation {
  const owner = "adaptiveClip";
  return transformation({
    name: owner,
    constants: [constant(owner, "clipping", clipping, positive), constant(owner, "epsilon", epsilon, positive)],
    update: (gradients, buffers, { params, constant: numbers }) => {
      const [ratio] = numbers("clipping") as [Tensor];
      const [least] = numbers("epsilon") as [Tensor];
      const clip = (g: Tensor, x: Tensor): Tensor => {
        const largest = unitNorm(x, unitAxis).maximum(least).mul(ratio);
        const norm = unitNorm(g, unitAxis).maximum(leastNorm);
        return norm.greater(largest).where(g.mul(largest.div(norm)), g);
      };
      return [mapTensors(clip, gradients, params), buffers];
    },
  });
}

/** The norm of each output unit, with all axes kept. */
function unitNorm(x: Tensor, unitAxis: "first" | "last"): Tensor {
  if (x.rank <= 1) return x.square().sum().sqrt();
  return x
    .square()
    .sum({ axis: axesWithin(x, unitAxis), keepDims: true })
    .sqrt();
}

/** All axes but that of the output units. */
export function axesWithin({ rank }: Tensor, unitAxis: "first" | "last"): number[] {
  const unit = unitAxis === "first" ? 0 : rank - 1;
  return Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== unit);
}
