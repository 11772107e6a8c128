import type { Tensor } from "@thalweg/tensor";
import { type Constant, constant, decayConstant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import type { UpdateContext } from "../transform";
import { biasCorrection, updateAverage } from "./average";

/** The options of rules that average the gradient and its square. */
export interface MomentOptions {
  /** Retained fraction of the first moment, in [0, 1). */
  readonly beta1: number | Schedule;
  /** Retained fraction of the second moment, in [0, 1). */
  readonly beta2: number | Schedule;
  /** Added to the root of the second moment, at least 0. */
  readonly epsilon: number | Schedule;
}

/** The averages of the gradient and of its square. (A type, so that it counts as a tree.) */
export type Moments = {
  readonly firstMoment: TensorTree;
  readonly secondMoment: TensorTree;
};

/** The hyperparameters of {@link updateMoments}. */
export const momentConstants = (owner: string, { beta1, beta2, epsilon }: MomentOptions): readonly Constant[] => [
  decayConstant(owner, "beta1", beta1),
  decayConstant(owner, "beta2", beta2),
  constant(owner, "epsilon", epsilon, nonNegative),
];

/** Both averages before the first step. */
export const zeroMoments = (params: TensorTree): Moments => ({
  firstMoment: treeZeros(params),
  secondMoment: treeZeros(params),
});

/** The averages with one gradient more, and the factors 1 / (1 - β^t) that correct their start at 0. */
export function updateMoments(gradients: TensorTree, buffers: Moments, context: UpdateContext) {
  const [beta1, beta2] = [context.constant("beta1"), context.constant("beta2")];
  return {
    firstMoment: updateAverage(beta1, buffers.firstMoment, gradients),
    secondMoment: updateAverage(beta2, buffers.secondMoment, squares(gradients)),
    ...unbiasing(context),
  };
}

/** The factors 1 / (1 - β^t) of both moments, and the other numbers of {@link momentConstants}. */
export function unbiasing({ step, constant: numbers }: UpdateContext) {
  const [beta1, beta2] = [numbers("beta1"), numbers("beta2")];
  const [epsilon] = numbers("epsilon");
  return {
    beta1,
    beta2,
    epsilon: epsilon as Tensor,
    unbias1: biasCorrection(beta1, step).reciprocal(),
    unbias2: biasCorrection(beta2, step).reciprocal(),
  };
}

export const squares = (tree: TensorTree): TensorTree => mapTensors((x) => x.square(), tree);

/** What divides is kept from 0, where only zeros are divided. */
export const awayFromZero = (divisor: Tensor): Tensor => divisor.maximum(smallest);

const smallest = 1e-37;
