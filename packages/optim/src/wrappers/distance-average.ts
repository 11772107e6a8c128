import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface PolynomialAverageOptions {
  /** The larger, the shorter the part of training that counts. Default 8. */
  readonly gamma?: number | Schedule;
}

/**
 * Keeps an average of the points of training in which later ones count more, at which the model is to be evaluated: after
 * step t, a ← a + (γ + 1) / (t + γ) (x - a). It stands last in a chain.
 *
 * @see Shamir & Zhang, Stochastic Gradient Descent for Non-smooth Optimization, 2013
 */
export function polynomialAverage({ gamma = 8 }: PolynomialAverageOptions = {}): GradientTransformation {
  const name = "polynomialAverage";
  return transformation<{ readonly average: TensorTree }>({
    name,
    constants: [constant(name, "gamma", gamma, nonNegative)],
    init: (params) => ({ average: copyOf(params) }),
    update(updates, { average }, { params, step, constant: numbers }) {
      const [power] = numbers("gamma") as [Tensor];
      const share = power.add(1).div(step.add(1).cast("f32").add(power));
      const moved = mapTensors((a, x, u) => a.add(x.add(u).sub(a).mul(share)), average, params, updates);
      return [updates, { average: moved }];
    },
    evalParams: ({ average }) => average,
  });
}
