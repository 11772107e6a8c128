import { defineOptimizer } from "../optimizer-record";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  squares,
  unbiasing,
  zeroMoments,
} from "../transforms/moments";
import { descent } from "./descent";
import { adamBetas, epsilon, learningRate, on, weightDecay } from "./specs";

export interface AdoptScalingOptions extends MomentOptions {
  /** Limits the scaled gradient of step t to ±(t - 1)^¼. Default true. */
  readonly clip?: boolean;
}

/**
 * Averages gradients that are divided by the root of the second moment of the steps before: the first step only begins it.
 *
 * @see Taniguchi et al., ADOPT: Modified Adam Can Converge with Any β2 with the Optimal Rate, 2024
 */
export function scaleByAdopt(options: AdoptScalingOptions): GradientTransformation {
  const { clip = true } = options;
  const owner = "scaleByAdopt";
  return transformation<Moments>({
    name: owner,
    constants: momentConstants(owner, options),
    init: zeroMoments,
    update: (gradients, buffers, context) => {
      const { beta1, beta2, epsilon } = unbiasing(context);
      const isFirst = context.step.equal(0);
      const limit = context.step.cast("f32").sqrt().sqrt();
      const scaled = mapTensors(
        (g, v) => {
          const ratio = g.div(awayFromZero(v.sqrt().maximum(epsilon)));
          return isFirst.where(0, clip ? ratio.maximum(limit.neg()).minimum(limit) : ratio);
        },
        gradients,
        buffers.secondMoment,
      );
      const firstMoment = updateAverage(beta1, buffers.firstMoment, scaled);
      const now = squares(gradients);
      const later = updateAverage(beta2, buffers.secondMoment, now);
      const secondMoment = mapTensors((v, square) => isFirst.where(square, v), later, now);
      return [firstMoment, { firstMoment, secondMoment }];
    },
  });
}

/** The record of {@link adopt}. */
export const adoptRecord = defineOptimizer({
  name: "adopt",
  title: "ADOPT",
  source: "Taniguchi et al., ADOPT: Modified Adam Can Converge with Any β2 with the Optimal Rate",
  year: 2024,
  family: "adaptive",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...adamBetas(0.9, 0.9999),
    epsilon: epsilon(1e-6, "smallest divisor"),
    clip: on("limit the scaled gradient of step t to ±(t - 1)^¼"),
    ...weightDecay(0, true),
  },
  buffers: () => 2,
  create: (values) => descent("adopt", values, scaleByAdopt(values)),
});

/** ADOPT: m ← β1 m + (1 - β1) g / max(√v, ε) with the v of the step before, x ← x - α m. */
export const adopt = adoptRecord.create;
