import type { Tensor } from "@thalweg/tensor";
import { defineOptimizer } from "../optimizer-record";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation, type UpdateContext } from "../transform";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  updateMoments,
  zeroMoments,
} from "../transforms/moments";
import { descent } from "./descent";
import { adamBetas, epsilon, learningRate, weightDecay } from "./specs";

export interface RadamScalingOptions extends MomentOptions {
  /** Epsilon is added to the root of the second moment before or after the bias correction. Default `"uncorrected"`. */
  readonly epsilonPlacement?: "uncorrected" | "corrected";
  /** The length of the average from which on it is trusted. Default 5. */
  readonly threshold?: number;
}

/**
 * {@link scaleByAdam} with a factor that makes up for the variance of the second moment in the first steps; as long as it
 * is infinite the first moment alone is used.
 *
 * @see Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020
 */
export function scaleByRadam(options: RadamScalingOptions): GradientTransformation {
  const { epsilonPlacement = "uncorrected", threshold = 5 } = options;
  const owner = "scaleByRadam";
  return transformation<Moments>({
    name: owner,
    constants: momentConstants(owner, options),
    init: zeroMoments,
    update: (gradients, buffers, context) => {
      const { firstMoment, secondMoment, unbias1, unbias2, epsilon } = updateMoments(gradients, buffers, context);
      const { isRectified, factor } = rectification(context, threshold);
      const isCorrected = epsilonPlacement === "corrected";
      const rectified = factor.mul(unbias1).div(isCorrected ? 1 : unbias2.sqrt());
      const direction = (m: Tensor, v: Tensor) => {
        const divisor = (isCorrected ? v.mul(unbias2) : v).sqrt().add(epsilon);
        return isRectified.where(m.mul(rectified).div(awayFromZero(divisor)), m.mul(unbias1));
      };
      return [mapTensors(direction, firstMoment, secondMoment), { firstMoment, secondMoment }];
    },
  });
}

/**
 * The factor √((ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ)), where ρ = ρ∞ - 2 t β2^t / (1 - β2^t) is the length of the average.
 *
 * Both terms of ρ are near 2 / (1 - β2), and their difference would lose most digits. With s = -log β2 and Langevin's
 * function L(y) = coth y - 1/y it is t (1 - L(ts/2)) + L(s/2), where nothing cancels.
 */
export function rectification(
  { step, constant: numbers }: Pick<UpdateContext, "step" | "constant">,
  threshold: number,
): { readonly isRectified: Tensor; readonly factor: Tensor } {
  const [beta2, complement, log] = numbers("beta2") as [Tensor, Tensor, Tensor];
  const t = step.add(1).cast("f32");
  const half = log.mul(-0.5);
  const length = t.mul(langevinRest(t.mul(half))).add(langevinRest(half).neg().add(1));
  const longest = beta2.add(1).div(complement);
  const isRectified = length.greater(threshold);
  const shares = length.sub(4).mul(length.sub(2)).div(length);
  const limit = longest.sub(4).mul(longest.sub(2)).div(longest);
  // Where it is not used, both are replaced by 1, so that nothing is divided by 0.
  return { isRectified, factor: isRectified.where(shares.div(isRectified.where(limit, 1)), 1).sqrt() };
}

/** 1 - L(y) for y ≥ 0: by its series near 0, where 1/y and coth y cancel. */
function langevinRest(y: Tensor): Tensor {
  const square = y.square();
  const series = [-1 / 4725, 2 / 945, -1 / 45, 1 / 3].reduce(
    (sum, coefficient) => sum.mul(square).add(coefficient),
    y.fullLike(2 / 93555),
  );
  const large = y.maximum(0.5);
  // Beyond 40 the exponential is of no account, and it must not overflow.
  const direct = large.reciprocal().sub(large.minimum(40).mul(2).expm1().reciprocal().mul(2));
  return y.less(0.5).where(series.mul(y).neg().add(1), direct);
}

/** The record of {@link radam}. */
export const radamRecord = defineOptimizer({
  name: "radam",
  title: "RAdam",
  source: "Liu et al., On the Variance of the Adaptive Learning Rate and Beyond",
  year: 2020,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    epsilonPlacement: {
      type: "choice",
      default: "uncorrected",
      choices: ["uncorrected", "corrected"],
      description: "whether epsilon is added before or after the bias correction",
    },
    threshold: {
      type: "float",
      default: 5,
      min: 4,
      description: "length of the average from which on the second moment is used",
    },
    ...weightDecay(0, false),
  },
  buffers: () => 2,
  create: (values) => descent("radam", values, scaleByRadam(values)),
});

/** RAdam: Adam with a rectified second moment, which needs no warm-up. */
export const radam = radamRecord.create;
