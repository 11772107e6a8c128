import type { Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { biasCorrection, updateAverage } from "./average";

export interface AdamScalingOptions {
  /** Retained fraction of the first moment, in [0, 1). */
  readonly beta1: number | Schedule;
  /** Retained fraction of the second moment, in [0, 1). */
  readonly beta2: number | Schedule;
  /** Added to the root of the second moment, at least 0. */
  readonly epsilon: number | Schedule;
  /** Added under the root, after the bias correction, at least 0. Default 0, which leaves it out. */
  readonly epsilonRoot?: number | Schedule;
  /** Adds `epsilon` to the root before the bias correction, as TensorFlow 1 does. Default false. */
  readonly epsilonHat?: boolean;
}

interface AdamBuffers {
  readonly [name: string]: TensorTree;
  readonly firstMoment: TensorTree;
  readonly secondMoment: TensorTree;
}

/**
 * Divides the average of the gradient by the root of the average of its square, both corrected for their start at 0:
 * (m / c1) / (√(v / c2 + epsilonRoot) + epsilon), with c = 1 - beta^t.
 *
 * @see Kingma & Ba, Adam, 2015, algorithm 1; `epsilonHat` is the end of its section 2
 */
export function scaleByAdam(options: AdamScalingOptions): GradientTransformation {
  const { beta1, beta2, epsilon, epsilonRoot = 0, epsilonHat = false } = options;
  const owner = "scaleByAdam";
  const hasRoot = epsilonRoot !== 0;
  return transformation<AdamBuffers>({
    name: owner,
    constants: [
      decayConstant(owner, "beta1", beta1),
      decayConstant(owner, "beta2", beta2),
      constant(owner, "epsilon", epsilon, nonNegative),
      ...(hasRoot ? [constant(owner, "epsilonRoot", epsilonRoot, nonNegative)] : []),
    ],
    init: (params) => ({ firstMoment: treeZeros(params), secondMoment: treeZeros(params) }),
    update: (gradients, buffers, { step, constant: numbers }) => {
      const [first, second] = [numbers("beta1"), numbers("beta2")];
      const [eps] = numbers("epsilon") as [Tensor];
      const [root] = hasRoot ? numbers("epsilonRoot") : [];
      const firstMoment = updateAverage(first, buffers.firstMoment, gradients);
      const secondMoment = updateAverage(
        second,
        buffers.secondMoment,
        mapTensors((g) => g.square(), gradients),
      );
      // Scalars are combined first, so that each element sees as few operations as possible.
      const unbias1 = biasCorrection(first, step).reciprocal();
      const unbias2 = biasCorrection(second, step).reciprocal();
      const direction = (m: Tensor, v: Tensor): Tensor => {
        if (epsilonHat) return m.mul(unbias1.div(unbias2.sqrt())).div((root ? v.add(root) : v).sqrt().add(eps));
        const unbiased = v.mul(unbias2);
        return m.mul(unbias1).div((root ? unbiased.add(root) : unbiased).sqrt().add(eps));
      };
      return [mapTensors(direction, firstMoment, secondMoment), { firstMoment, secondMoment }];
    },
  });
}
