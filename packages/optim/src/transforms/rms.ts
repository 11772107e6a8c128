import type { Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeFull, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { biasCorrection, updateAverage } from "./average";
import { awayFromZero } from "./moments";

export interface RmsScalingOptions {
  /** Retained fraction of the average of squares, in [0, 1). */
  readonly decay: number | Schedule;
  /** Added to the root, at least 0. */
  readonly epsilon: number | Schedule;
  /** Adds `epsilon` under the root instead. Default false. */
  readonly epsilonInRoot?: boolean;
  /** Subtracts the square of the average gradient: divides by the standard deviation. Default false. */
  readonly centered?: boolean;
  /** The name of `decay` among the hyperparameters. Default `"decay"`. */
  readonly decayName?: string;
  /** Corrects the average for its start at 0. Default false. */
  readonly debiased?: boolean;
  /** Value of the average before the first step, at least 0. Default 0. */
  readonly initialAccumulator?: number;
}

interface RmsBuffers {
  readonly [name: string]: TensorTree;
  readonly secondMoment: TensorTree;
  /** Only if centered. */
  readonly firstMoment: TensorTree;
}

/**
 * Divides by the root of the average of squared gradients: g / (√v + epsilon).
 *
 * @see Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5, 2012
 */
export function scaleByRms(options: RmsScalingOptions): GradientTransformation {
  const {
    decay,
    epsilon,
    epsilonInRoot = false,
    centered = false,
    debiased = false,
    decayName = "decay",
    initialAccumulator = 0,
  } = options;
  const owner = "scaleByRms";
  // Only the initial state depends on it, so that it is none of the numbers in the state.
  const { value: start } = constant(owner, "initialAccumulator", initialAccumulator, nonNegative);
  return transformation<RmsBuffers>({
    name: owner,
    constants: [decayConstant(owner, decayName, decay), constant(owner, "epsilon", epsilon, nonNegative)],
    init: (params) => ({ secondMoment: treeFull(params, start), firstMoment: centered ? treeZeros(params) : null }),
    update: (gradients, buffers, { step, constant: numbers }) => {
      const average = numbers(decayName);
      const [eps] = numbers("epsilon") as [Tensor];
      const secondMoment = updateAverage(
        average,
        buffers.secondMoment,
        mapTensors((g) => g.square(), gradients),
      );
      const firstMoment = centered ? updateAverage(average, buffers.firstMoment, gradients) : null;
      // Rounding can make the difference negative where the gradient hardly varies.
      const variance = centered
        ? mapTensors((v, m) => v.sub(m.square()).maximum(0), secondMoment, firstMoment)
        : secondMoment;
      const unbias = debiased ? biasCorrection(average, step).reciprocal() : undefined;
      const divisor = (v: Tensor) => {
        const own = unbias === undefined ? v : v.mul(unbias);
        return awayFromZero(epsilonInRoot ? own.add(eps).sqrt() : own.sqrt().add(eps));
      };
      return [mapTensors((g, v) => g.div(divisor(v)), gradients, variance), { secondMoment, firstMoment }];
    },
  });
}
