import { foldIn, key, normal, splitKeys, type Tensor, treeLeaves } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { type TensorTree, updateEach } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface AddNoiseOptions {
  /** Variance of the noise in the first step, at least 0. */
  readonly eta: number | Schedule;
  /** The variance of step t = 0, 1, … is eta / (1 + t)^gamma. Default 0.55. */
  readonly gamma?: number | Schedule;
  /** Of the random numbers, which depend on it and on the step alone. */
  readonly seed: number;
}

/**
 * Adds Gaussian noise that fades to the gradients. The same seed gives the same noise in every step, so that a resumed run
 * goes on as it would have.
 *
 * @see Neelakantan et al., Adding Gradient Noise Improves Learning for Very Deep Networks, 2015
 */
export function addNoise({ eta, gamma = 0.55, seed }: AddNoiseOptions): GradientTransformation {
  const name = "addNoise";
  return transformation({
    name,
    constants: [constant(name, "eta", eta, nonNegative), constant(name, "gamma", gamma, nonNegative)],
    update(gradients, buffers, { params, step, constant: numbers }) {
      const [[variance], [power]] = ["eta", "gamma"].map((own) => numbers(own)) as [[Tensor], [Tensor]];
      const t = step.add(1).cast("f32");
      const deviation = variance.mul(t.log().mul(power).neg().exp()).sqrt();
      const count = treeLeaves<Tensor>(gradients).length;
      const keys = splitKeys(foldIn(key(seed), step), count);
      const [noisy] = updateEach(gradients, keys, params, (g, own) => [
        g.add(normal(own, g.shape).mul(deviation)),
        own,
      ]);
      return [noisy as TensorTree, buffers];
    },
  });
}
