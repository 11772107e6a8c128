import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative, positive } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, treeNorm } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface TrustRatioOptions {
  /** Factor of the ratio, above 0. Default 1. */
  readonly coefficient?: number | Schedule;
  /** Added to the norm of the update, at least 0. Default 0. */
  readonly epsilon?: number | Schedule;
  /** The largest ratio. Default: no limit. */
  readonly limit?: number | Schedule | undefined;
}

/**
 * Gives each tensor's update the norm of the tensor: u ‖x‖ / ‖u‖, times the coefficient. Where one of the norms is 0, the
 * update stays as it is.
 *
 * @see You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, 2017
 */
export function scaleByTrustRatio({
  coefficient = 1,
  epsilon = 0,
  limit,
}: TrustRatioOptions = {}): GradientTransformation {
  const owner = "scaleByTrustRatio";
  return transformation({
    name: owner,
    constants: [
      constant(owner, "coefficient", coefficient, positive),
      constant(owner, "epsilon", epsilon, nonNegative),
      ...(limit === undefined ? [] : [constant(owner, "limit", limit, positive)]),
    ],
    update: (gradients, buffers, { params, constant: numbers }) => {
      const [[factor], [eps]] = ["coefficient", "epsilon"].map((name) => numbers(name)) as [[Tensor], [Tensor]];
      const [most] = limit === undefined ? [] : numbers("limit");
      const scale = (u: Tensor, x: Tensor) => {
        const [own, target] = [treeNorm(u), treeNorm(x)];
        const isUsable = own.greater(0).and(target.greater(0));
        const ratio = isUsable.where(target.mul(factor).div(isUsable.where(own.add(eps), 1)), 1);
        return u.mul(most === undefined ? ratio : ratio.minimum(most));
      };
      return [mapTensors(scale, gradients, params), buffers];
    },
  });
}
