import type { Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { awayFromZero, squares } from "../transforms/moments";
import { descent } from "./descent";
import { epsilon, learningRate, momentumSpace, retained, weightDecay } from "./specs";

export interface AdadeltaScalingOptions {
  /** Retained fraction of both averages, in [0, 1). */
  readonly decay: number | Schedule;
  readonly epsilon: number | Schedule;
}

/**
 * Scales so that updates have the size of earlier updates: u = √(r + ε) / √(v + ε) g, where v averages g² and r averages u².
 *
 * @see Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012
 */
export function scaleByAdadelta({ decay, epsilon }: AdadeltaScalingOptions): GradientTransformation {
  const owner = "scaleByAdadelta";
  return transformation<{ readonly secondMoment: TensorTree; readonly updateMoment: TensorTree }>({
    name: owner,
    constants: [decayConstant(owner, "decay", decay), constant(owner, "epsilon", epsilon, nonNegative)],
    init: (params) => ({ secondMoment: treeZeros(params), updateMoment: treeZeros(params) }),
    update: (gradients, buffers, { constant: numbers }) => {
      const average = numbers("decay");
      const [eps] = numbers("epsilon") as [Tensor];
      const secondMoment = updateAverage(average, buffers.secondMoment, squares(gradients));
      const updates = mapTensors(
        (g, v, r) =>
          r
            .add(eps)
            .sqrt()
            .div(awayFromZero(v.add(eps).sqrt()))
            .mul(g),
        gradients,
        secondMoment,
        buffers.updateMoment,
      );
      const updateMoment = updateAverage(average, buffers.updateMoment, squares(updates));
      return [updates, { secondMoment, updateMoment }];
    },
  });
}

/** The record of {@link adadelta}. */
export const adadeltaRecord = defineOptimizer({
  name: "adadelta",
  title: "Adadelta",
  source: "Zeiler, ADADELTA: An Adaptive Learning Rate Method",
  year: 2012,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1),
    decay: retained(0.9, "retained fraction of both averages", momentumSpace),
    epsilon: epsilon(1e-6, "added under both roots"),
    ...weightDecay(0, false),
  },
  buffers: () => 2,
  create: (values) => descent("adadelta", values, scaleByAdadelta(values)),
});

/** Adadelta: v ← ρ v + (1 - ρ) g², u = √(r + ε) / √(v + ε) g, r ← ρ r + (1 - ρ) u², x ← x - α u. */
export const adadelta = adadeltaRecord.create;
