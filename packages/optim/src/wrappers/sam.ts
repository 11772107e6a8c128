import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, treeNorm } from "../tensors";
import type { GradientTransformation } from "../transform";
import { wrap } from "./wrap";

export interface SamOptions {
  /** Radius of the neighbourhood, at least 0. Default 0.05. */
  readonly rho?: number | Schedule;
  /** Measures the neighbourhood in units of each weight (ASAM). Default false. */
  readonly adaptive?: boolean;
  /** Added to the norm. Default 1e-12. */
  readonly epsilon?: number | Schedule;
}

/**
 * Takes the gradient at the worst point of a neighbourhood, and then a step of the inner optimizer from where it was: with
 * e = ρ g / ‖g‖ the gradient at x + e; if adaptive, e = ρ x² g / ‖x g‖. It needs `valueAndGrad` of the same batch, and costs
 * two gradients a step.
 *
 * @see Foret et al., Sharpness-Aware Minimization for Efficiently Improving Generalization, 2021
 * @see Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning, 2021
 */
export function sam(
  { rule }: GradientTransformation,
  { rho = 0.05, adaptive = false, epsilon = 1e-12 }: SamOptions = {},
): GradientTransformation {
  const name = "sam";
  return wrap<null>(rule, {
    name,
    needs: ["valueAndGrad"],
    constants: [constant(name, "rho", rho, nonNegative), constant(name, "samEpsilon", epsilon, nonNegative)],
    init: () => null,
    update(gradients, { inner }, contexts) {
      const { params, constant: numbers, extra } = contexts.own;
      const [[radius], [eps]] = ["rho", "samEpsilon"].map((key) => numbers(key)) as [[Tensor], [Tensor]];
      const scaled = adaptive ? mapTensors((g, x) => g.mul(x), gradients, params) : gradients;
      const norm = treeNorm(scaled).add(eps);
      const length = radius.div(norm.equal(0).where(1, norm));
      const ascent = adaptive ? mapTensors((g, x) => g.mul(x), scaled, params) : gradients;
      const worst = mapTensors((x, e) => x.add(e.mul(length)), params, ascent);
      const [, there] = extra.valueAndGrad?.(worst) ?? [];
      const [updates, next] = rule.update(there ?? gradients, inner, contexts.inner);
      return [updates, { own: null, inner: next }];
    },
  });
}
