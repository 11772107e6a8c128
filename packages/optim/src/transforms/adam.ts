import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { awayFromZero, type MomentOptions, type Moments, momentConstants, updateMoments, zeroMoments } from "./moments";

export interface AdamScalingOptions extends MomentOptions {
  /** Added under the root, after the bias correction, at least 0. Default 0, which leaves it out. */
  readonly epsilonRoot?: number | Schedule;
  /** Adds `epsilon` to the root before the bias correction, as TensorFlow 1 does. Default false. */
  readonly epsilonHat?: boolean;
  /**
   * Divides by the largest second moment so far: of those before (`"raw"`) or after the bias correction (`"corrected"`).
   * Default `"off"`.
   *
   * @see Reddi, Kale & Kumar, On the Convergence of Adam and Beyond, 2018
   */
  readonly amsgrad?: "off" | "raw" | "corrected";
}

interface AdamBuffers extends Moments {
  readonly [name: string]: TensorTree;
  /** Only with `amsgrad`. */
  readonly largest: TensorTree;
}

/**
 * Divides the average of the gradient by the root of the average of its square, both corrected for their start at 0:
 * (m / c1) / (√(v / c2 + epsilonRoot) + epsilon), with c = 1 - beta^t.
 *
 * @see Kingma & Ba, Adam, 2015, algorithm 1; `epsilonHat` is the end of its section 2
 */
export function scaleByAdam(options: AdamScalingOptions): GradientTransformation {
  const { epsilonRoot = 0, epsilonHat = false, amsgrad = "off" } = options;
  const owner = "scaleByAdam";
  const hasRoot = epsilonRoot !== 0;
  return transformation<AdamBuffers>({
    name: owner,
    constants: [
      ...momentConstants(owner, options),
      ...(hasRoot ? [constant(owner, "epsilonRoot", epsilonRoot, nonNegative)] : []),
    ],
    init: (params) => ({ ...zeroMoments(params), largest: amsgrad === "off" ? null : treeZeros(params) }),
    update: (gradients, buffers, context) => {
      const moments = updateMoments(gradients, buffers, context);
      const { firstMoment, secondMoment, unbias1, unbias2, epsilon } = moments;
      const [root] = hasRoot ? context.constant("epsilonRoot") : [];
      const isCorrected = amsgrad === "corrected";
      const largest =
        amsgrad === "off"
          ? null
          : mapTensors((old, v) => old.maximum(isCorrected ? v.mul(unbias2) : v), buffers.largest, secondMoment);
      // Scalars are combined first, so that each element sees as few operations as possible.
      const direction = (m: Tensor, v: Tensor): Tensor => {
        if (epsilonHat) {
          const uncorrected = isCorrected ? v.div(unbias2) : v;
          const divisor = (root ? uncorrected.add(root) : uncorrected).sqrt().add(epsilon);
          return m.mul(unbias1.div(unbias2.sqrt())).div(awayFromZero(divisor));
        }
        const unbiased = isCorrected ? v : v.mul(unbias2);
        return m.mul(unbias1).div(awayFromZero((root ? unbiased.add(root) : unbiased).sqrt().add(epsilon)));
      };
      const updates = mapTensors(direction, firstMoment, largest ?? secondMoment);
      return [updates, { firstMoment, secondMoment, largest }];
    },
  });
}
