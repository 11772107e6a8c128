import type { Tensor } from "@thalweg/tensor";
import { decayConstant } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { descent } from "./descent";
import { learningRate, momentumSpace, retained, weightDecay } from "./specs";

export interface LionScalingOptions {
  /** Retained fraction of the average in the update, in [0, 1). */
  readonly beta1: number | Schedule;
  /** Retained fraction of the average that is kept, in [0, 1). */
  readonly beta2: number | Schedule;
}

/** The signs of β1 m + (1 - β1) g, where m averages g with β2. @see Chen et al., Symbolic Discovery of Optimization Algorithms, 2023 */
export function scaleByLion({ beta1, beta2 }: LionScalingOptions): GradientTransformation {
  const owner = "scaleByLion";
  return transformation<{ readonly moment: TensorTree }>({
    name: owner,
    constants: [decayConstant(owner, "beta1", beta1), decayConstant(owner, "beta2", beta2)],
    init: (params) => ({ moment: treeZeros(params) }),
    update: (gradients, { moment }, { constant: numbers }) => {
      const direction = mapTensors((u: Tensor) => u.sign(), updateAverage(numbers("beta1"), moment, gradients));
      return [direction, { moment: updateAverage(numbers("beta2"), moment, gradients) }];
    },
  });
}

/** The record of {@link lion}. */
export const lionRecord = defineOptimizer({
  name: "lion",
  title: "Lion",
  source: "Chen et al., Symbolic Discovery of Optimization Algorithms",
  year: 2023,
  family: "sign",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-4),
    beta1: retained(0.9, "retained fraction of the average in the update", momentumSpace),
    beta2: retained(0.99, "retained fraction of the average that is kept", momentumSpace),
    ...weightDecay(0, true),
  },
  buffers: () => 1,
  create: (values) => descent("lion", values, scaleByLion(values)),
});

/** Lion: x ← x - α (sign(β1 m + (1 - β1) g) + λ x), m ← β2 m + (1 - β2) g. */
export const lion = lionRecord.create;
