import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  unbiasing,
  zeroMoments,
} from "../transforms/moments";
import { descent } from "./descent";
import { rectification } from "./radam";
import { adamBetas, amount, epsilon, learningRate, off, weightDecay } from "./specs";

export interface AdabeliefScalingOptions extends MomentOptions {
  /** Added to the average at every step, at least 0. Default: epsilon. */
  readonly epsilonInside?: number | Schedule;
  /** Makes up for the variance of the first steps as {@link scaleByRadam} does. Default false. */
  readonly rectify?: boolean;
}

/**
 * Divides by the root of the average squared difference of the gradient from its own average: s ← β2 s + (1 - β2)(g - m)² +
 * ε, u = (m / c1) / (√(s / c2) + ε).
 *
 * @see Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, 2020
 */
export function scaleByAdabelief(options: AdabeliefScalingOptions): GradientTransformation {
  const { epsilonInside, rectify = false } = options;
  const owner = "scaleByAdabelief";
  return transformation<Moments>({
    name: owner,
    constants: [
      ...momentConstants(owner, options),
      ...(epsilonInside === undefined ? [] : [constant(owner, "epsilonInside", epsilonInside, nonNegative)]),
    ],
    init: zeroMoments,
    update: (gradients, buffers, context) => {
      const { beta1, beta2, epsilon, unbias1, unbias2 } = unbiasing(context);
      const [inside] = epsilonInside === undefined ? [epsilon] : context.constant("epsilonInside");
      const firstMoment = updateAverage(beta1, buffers.firstMoment, gradients);
      const surprise = mapTensors((g, m) => g.sub(m).square(), gradients, firstMoment);
      const secondMoment = mapTensors(
        (s) => s.add(inside as Tensor),
        updateAverage(beta2, buffers.secondMoment, surprise),
      );
      if (!rectify) {
        const direction = (m: Tensor, s: Tensor) =>
          m.mul(unbias1).div(awayFromZero(s.mul(unbias2).sqrt().add(epsilon)));
        return [mapTensors(direction, firstMoment, secondMoment), { firstMoment, secondMoment }];
      }
      const { isRectified, factor } = rectification(context, 5);
      const rectified = factor.mul(unbias1).div(unbias2.sqrt());
      const direction = (m: Tensor, s: Tensor) =>
        isRectified.where(m.mul(rectified).div(awayFromZero(s.sqrt().add(epsilon))), m.mul(unbias1));
      return [mapTensors(direction, firstMoment, secondMoment), { firstMoment, secondMoment }];
    },
  });
}

/** The record of {@link adabelief}. */
export const adabeliefRecord = defineOptimizer({
  name: "adabelief",
  title: "AdaBelief",
  source: "Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients",
  year: 2020,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-16, "added to the root of the average"),
    epsilonInside: amount(1e-16, "added to the average at every step"),
    rectify: off("make up for the variance of the first steps, as RAdam does"),
    ...weightDecay(0, false),
  },
  buffers: () => 2,
  create: (values) => descent("adabelief", values, scaleByAdabelief(values)),
});

/** AdaBelief: Adam with the variance of the gradient around its average in place of its second moment. */
export const adabelief = adabeliefRecord.create;
