import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative, type Range } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeFull, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { rateSpace } from "./specs";

export interface RpropOptions {
  /** The size of the first step. */
  readonly learningRate: number;
  /** Factor on the step where the gradient's sign changed, in (0, 1). */
  readonly shrink: number | Schedule;
  /** Factor where it did not, above 1. */
  readonly grow: number | Schedule;
  readonly minStep: number | Schedule;
  readonly maxStep: number | Schedule;
}

const shrinking: Range = { min: 0, max: 1, open: "both" };
const growing: Range = { min: 1, open: "min" };

/** Every weight has a step of its own, which grows while the sign of its gradient stays. */
function resilient({ learningRate, shrink, grow, minStep, maxStep }: RpropOptions): GradientTransformation {
  const owner = "rprop";
  const { value: first } = constant(owner, "learningRate", learningRate, nonNegative);
  return transformation<{ readonly previous: TensorTree; readonly steps: TensorTree }>({
    name: owner,
    constants: [
      constant(owner, "shrink", shrink, shrinking),
      constant(owner, "grow", grow, growing),
      constant(owner, "minStep", minStep, nonNegative),
      constant(owner, "maxStep", maxStep, nonNegative),
    ],
    init: (params) => ({ previous: treeZeros(params), steps: treeFull(params, first) }),
    update: (gradients, buffers, { constant: numbers }) => {
      const [[less], [more], [low], [high]] = ["shrink", "grow", "minStep", "maxStep"].map((name) => numbers(name)) as [
        [Tensor],
        [Tensor],
        [Tensor],
        [Tensor],
      ];
      const agreement = mapTensors((g, before) => g.sign().mul(before.sign()), gradients, buffers.previous);
      const steps = mapTensors(
        (step, same) =>
          step
            .mul(same.greater(0).where(more, same.less(0).where(less, 1)))
            .maximum(low)
            .minimum(high),
        buffers.steps,
        agreement,
      );
      // After an overshoot the gradient counts as 0, now and when the next one is compared with it.
      const previous = mapTensors((g, same) => same.less(0).where(0, g), gradients, agreement);
      return [mapTensors((g, step) => g.sign().mul(step).neg(), previous, steps), { previous, steps }];
    },
  });
}

/** The record of {@link rprop}. */
export const rpropRecord = defineOptimizer({
  name: "rprop",
  title: "Rprop",
  source: "Riedmiller & Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
  year: 1993,
  family: "sign",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: {
      type: "float",
      default: 1e-2,
      tuning: rateSpace,
      description: "size of the first step; the initial state depends on it",
      ...nonNegative,
    },
    shrink: {
      type: "float",
      default: 0.5,
      schedulable: true,
      description: "factor where the sign changed",
      ...shrinking,
    },
    grow: { type: "float", default: 1.2, schedulable: true, description: "factor where the sign stayed", ...growing },
    minStep: { type: "float", default: 1e-6, schedulable: true, description: "smallest step", ...nonNegative },
    maxStep: { type: "float", default: 50, schedulable: true, description: "largest step", ...nonNegative },
  },
  buffers: () => 2,
  create: resilient,
});

/**
 * Rprop, for full batches: only the signs of gradients count. Where a sign stays the weight's step grows, where it changes
 * the step shrinks and the weight rests once.
 */
export const rprop = rpropRecord.create;
