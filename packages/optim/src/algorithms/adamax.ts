import type { Tensor } from "@thalweg/tensor";
import { defineOptimizer } from "../optimizer-record";
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
import { adamBetas, epsilon, learningRate, weightDecay } from "./specs";

/**
 * Divides the average gradient by a decaying maximum: v ← max(β2 v, |g| + ε), u = m / (c1 v).
 *
 * @see Kingma & Ba, Adam, 2015, section 7.1
 */
export function scaleByAdamax(options: MomentOptions): GradientTransformation {
  const owner = "scaleByAdamax";
  return transformation<Moments>({
    name: owner,
    constants: momentConstants(owner, options),
    init: zeroMoments,
    update: (gradients, buffers, context) => {
      const { beta1, beta2, epsilon, unbias1 } = unbiasing(context);
      const firstMoment = updateAverage(beta1, buffers.firstMoment, gradients);
      const [retained] = beta2 as [Tensor];
      const secondMoment = mapTensors(
        (v, g) => v.mul(retained).maximum(g.abs().add(epsilon)),
        buffers.secondMoment,
        gradients,
      );
      const updates = mapTensors((m, v) => m.mul(unbias1).div(awayFromZero(v)), firstMoment, secondMoment);
      return [updates, { firstMoment, secondMoment }];
    },
  });
}

/** The record of {@link adamax}. */
export const adamaxRecord = defineOptimizer({
  name: "adamax",
  title: "AdaMax",
  source: "Kingma & Ba, Adam: A Method for Stochastic Optimization, section 7.1",
  year: 2015,
  family: "adaptive",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(2e-3),
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-8, "added to the size of the gradient"),
    ...weightDecay(0, false),
  },
  buffers: () => 2,
  create: (values) => descent("adamax", values, scaleByAdamax(values)),
});

/** AdaMax: Adam with a decaying maximum in place of the root of the second moment. */
export const adamax = adamaxRecord.create;
