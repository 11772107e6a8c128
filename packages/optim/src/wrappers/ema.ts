import type { Tensor } from "@thalweg/tensor";
import { decayConstant } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation, type UpdateContext } from "../transform";
import { biasCorrection, updateAverage } from "../transforms/average";

export interface EmaOptions {
  /** Retained fraction in [0, 1). */
  readonly decay: number | Schedule;
  /**
   * The average starts at 0 and is divided by 1 - decay^t, or starts at the first value, or starts at 0 and stays as it is.
   * Default `"debiased"`.
   */
  readonly start?: "debiased" | "first" | "uncorrected";
}

/** Replaces gradients by their exponential average. */
export function ema(options: EmaOptions): GradientTransformation {
  const { constants, init, add, value } = averaging("ema", options);
  return transformation<Average>({
    name: "ema",
    constants,
    init,
    update(gradients, buffers, context) {
      const average = add(buffers.average, gradients, context);
      return [value(average, context.step, context), { average }];
    },
  });
}

/**
 * Keeps an exponential average of the parameters, at which the model is to be evaluated ({@link evalParams}). Training
 * goes on as without it. It stands last in a chain, where it sees what is added to the parameters.
 *
 * @see Polyak & Juditsky, Acceleration of stochastic approximation by averaging, 1992
 */
export function emaParams(options: EmaOptions): GradientTransformation {
  const { constants, init, add, value } = averaging("emaParams", options);
  return transformation<Average>({
    name: "emaParams",
    constants,
    init,
    update(updates, buffers, context) {
      const params = mapTensors((x, u) => x.add(u), context.params, updates);
      return [updates, { average: add(buffers.average, params, context) }];
    },
    evalParams({ average }, context) {
      const { step, params } = context;
      const isFirst = step.equal(0);
      const point = value(average, step.maximum(1).sub(1), context);
      return mapTensors((x, a) => isFirst.where(x, a), params, point);
    },
  });
}

/** A type and no interface, so that it counts as a tree. */
type Average = { readonly average: TensorTree };

type Numbers = Pick<UpdateContext, "constant" | "step">;

function averaging(owner: string, { decay, start = "debiased" }: EmaOptions) {
  const isDebiased = start === "debiased";
  return {
    constants: [decayConstant(owner, "decay", decay)],
    init: (params: TensorTree): Average => ({ average: treeZeros(params) }),
    /** The average with one value more. */
    add(average: TensorTree, values: TensorTree, { step, constant }: Numbers): TensorTree {
      const next = updateAverage(constant("decay"), average, values);
      if (start !== "first") return next;
      const isFirst = step.equal(0);
      return mapTensors((a: Tensor, x: Tensor) => isFirst.where(x, a), next, values);
    },
    /** What the average stands for after step + 1 values. */
    value(average: TensorTree, step: Tensor, { constant }: Pick<Numbers, "constant">): TensorTree {
      if (!isDebiased) return average;
      const unbias = biasCorrection(constant("decay"), step).reciprocal();
      return mapTensors((a) => a.mul(unbias), average);
    },
  };
}
