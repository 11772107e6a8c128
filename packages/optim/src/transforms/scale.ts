import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

/** Leaves gradients as they are: the direction of plain gradient descent, for wrappers that want one. */
export function identity(): GradientTransformation {
  return transformation({ name: "identity", update: (gradients, buffers) => [gradients, buffers] });
}

/** Multiplies by a number. */
export function scale(factor: number): GradientTransformation {
  return transformation({
    name: "scale",
    constants: [constant("scale", "factor", factor, {})],
    update: (gradients, buffers, { constant: numbers }) => {
      const [by] = numbers("factor");
      return [mapTensors((g) => g.mul(by as Tensor), gradients), buffers];
    },
  });
}

/**
 * Multiplies by minus the learning rate: the last link of an optimizer, and the only one that changes the sign.
 *
 * @param learningRate At least 0, or a schedule.
 */
export function scaleByLearningRate(learningRate: number | Schedule): GradientTransformation {
  return transformation({
    name: "scaleByLearningRate",
    constants: [constant("scaleByLearningRate", "learningRate", learningRate, nonNegative)],
    update: (gradients, buffers, { constant: numbers }) => {
      const [rate] = numbers("learningRate");
      const factor = (rate as Tensor).neg();
      return [mapTensors((g) => g.mul(factor), gradients), buffers];
    },
  });
}
