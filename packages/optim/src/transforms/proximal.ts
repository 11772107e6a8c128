import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { type DecayMask, type DecayOptions, decaysOf } from "./decay";

export interface ProximalRateOptions extends DecayOptions {
  readonly learningRate: number | Schedule;
  readonly decayMask: DecayMask;
}

/**
 * The last link of an optimizer whose weight decay is taken at the new point: x ← (x - α u) / (1 + α λ), as an update.
 *
 * @see Zhuang et al., Understanding AdamW through proximal methods and scale-freeness, 2022
 */
export function scaleByProximalRate({
  learningRate,
  weightDecay,
  decayMask,
}: ProximalRateOptions): GradientTransformation {
  const owner = "scaleByProximalRate";
  return transformation({
    name: owner,
    constants: [
      constant(owner, "learningRate", learningRate, nonNegative),
      constant(owner, "weightDecay", weightDecay, nonNegative),
    ],
    update: (gradients, buffers, { params, constant: numbers }) => {
      const [rate] = numbers("learningRate") as [Tensor];
      const [decay] = numbers("weightDecay") as [Tensor];
      const shrinking = rate.neg().div(rate.mul(decay).add(1));
      const decays = decaysOf(decayMask, params);
      let index = 0;
      const move = (u: Tensor, x: Tensor) => (decays[index++] ? u.add(x.mul(decay)).mul(shrinking) : u.mul(rate.neg()));
      return [mapTensors(move, gradients, params), buffers];
    },
  });
}
