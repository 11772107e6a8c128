import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { mapTensors, treeFull, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { awayFromZero, type MomentOptions, type Moments, momentConstants, unbiasing } from "../transforms/moments";
import { descent } from "./descent";
import { adamBetas, epsilon, learningRate, start, weightDecay } from "./specs";

export interface YogiScalingOptions extends MomentOptions {
  /** Second moment before the first step. Default 1e-6. */
  readonly initialAccumulator?: number;
}

/**
 * {@link scaleByAdam} with a second moment that moves by (1 - β2) g² towards g², however far away it is.
 *
 * @see Zaheer et al., Adaptive Methods for Nonconvex Optimization, 2018
 */
export function scaleByYogi(options: YogiScalingOptions): GradientTransformation {
  const owner = "scaleByYogi";
  const { value: first } = constant(owner, "initialAccumulator", options.initialAccumulator ?? 1e-6, nonNegative);
  return transformation<Moments>({
    name: owner,
    constants: momentConstants(owner, options),
    init: (params) => ({ firstMoment: treeZeros(params), secondMoment: treeFull(params, first) }),
    update: (gradients, buffers, context) => {
      const { beta1, beta2, epsilon, unbias1, unbias2 } = unbiasing(context);
      const firstMoment = updateAverage(beta1, buffers.firstMoment, gradients);
      const secondMoment = mapTensors(
        (v, g) => {
          const square = g.square();
          return v.sub(
            v
              .sub(square)
              .sign()
              .mul(square)
              .mul(beta2[1] as Tensor),
          );
        },
        buffers.secondMoment,
        gradients,
      );
      const direction = (m: Tensor, v: Tensor) => m.mul(unbias1).div(awayFromZero(v.mul(unbias2).sqrt().add(epsilon)));
      return [mapTensors(direction, firstMoment, secondMoment), { firstMoment, secondMoment }];
    },
  });
}

/** The record of {@link yogi}. */
export const yogiRecord = defineOptimizer({
  name: "yogi",
  title: "Yogi",
  source: "Zaheer et al., Adaptive Methods for Nonconvex Optimization",
  year: 2018,
  family: "adaptive",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-3, "added to the root of the second moment"),
    initialAccumulator: start(1e-6, "second moment before the first step"),
    ...weightDecay(0, false),
  },
  buffers: () => 2,
  create: (values) => descent("yogi", values, scaleByYogi(values)),
});

/** Yogi: v ← v - (1 - β2) sign(v - g²) g², the rest as in Adam. */
export const yogi = yogiRecord.create;
