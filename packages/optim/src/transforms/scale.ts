import type { Tensor } from "@thalweg/tensor";
import { type Constant, constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation, type UpdateContext } from "../transform";

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
  const { constants, value } = scheduledConstant("scaleByLearningRate", "learningRate", learningRate);
  return transformation({
    name: "scaleByLearningRate",
    constants,
    update: (gradients, buffers, context) => {
      const rate = value(context).neg();
      return [mapTensors((g) => g.mul(rate), gradients), buffers];
    },
  });
}

/** A hyperparameter that may follow a schedule, whose numbers then are hyperparameters: `learningRate.peak`. */
function scheduledConstant(owner: string, name: string, value: number | Schedule) {
  const first = (numbers: readonly Tensor[]) => numbers[0] as Tensor;
  if (typeof value === "number") {
    const constants = [constant(owner, name, value, nonNegative)];
    return { constants, value: (context: UpdateContext) => first(context.constant(name)) };
  }
  const { evaluate, constants = [] } = value;
  if (evaluate === undefined) return { constants: [], value: ({ step }: UpdateContext) => value(step) };
  return {
    constants: constants.map((own): Constant => ({ ...own, name: `${name}.${own.name}` })),
    value: ({ step, constant }: UpdateContext) => evaluate(step, (own) => first(constant(`${name}.${own}`))),
  };
}
