/**
 * Elementwise functions between layers. Each is a plain function of a tensor and therefore a layer without parameters;
 * give options through a closure: `(x) => leakyRelu(x, { slope: 0.3 })`. Definitions are PyTorch's.
 */
import type { Tensor } from "@thalweg/tensor";

/** max(x, 0), with derivative 0 at 0. */
export const relu = (x: Tensor): Tensor => x.relu();

/** min(max(x, 0), 6). */
export const relu6 = (x: Tensor): Tensor => x.relu().minimum(6);

/** x for x > 0, else slope · x. Default slope 0.01. */
export const leakyRelu = (x: Tensor, { slope = 0.01 }: { readonly slope?: number } = {}): Tensor =>
  x.greater(0).where(x, x.mul(slope));

/** x for x > 0, else alpha · (exp(x) - 1). Default alpha 1. @see Clevert et al. (ICLR 2016) */
export const elu = (x: Tensor, { alpha = 1 }: { readonly alpha?: number } = {}): Tensor =>
  // The branch that is not taken must stay finite, because its derivative is multiplied by 0.
  x.greater(0).where(x, x.minimum(0).expm1().mul(alpha));

/** Scaled ELU with the constants of self-normalizing networks. @see Klambauer et al. (NeurIPS 2017) */
export const selu = (x: Tensor): Tensor => elu(x, { alpha: 1.6732632423543772 }).mul(1.0507009873554805);

/** max(x, 0) + min(alpha · (exp(x / alpha) - 1), 0). Default alpha 1. @see Barron (2017) */
export const celu = (x: Tensor, { alpha = 1 }: { readonly alpha?: number } = {}): Tensor =>
  x.greater(0).where(x, x.minimum(0).div(alpha).expm1().mul(alpha));

export interface GeluOptions {
  /**
   * `"none"`: x Φ(x) with the error function. `"tanh"`: x / 2 · (1 + tanh(sqrt(2 / π) (x + 0.044715 x³))).
   * Default `"none"`.
   */
  readonly approximation?: "none" | "tanh";
}

/** x times the standard normal distribution function at x. @see Hendrycks and Gimpel (2016) */
export function gelu(x: Tensor, { approximation = "none" }: GeluOptions = {}): Tensor {
  const inner =
    approximation === "none"
      ? x.mul(Math.SQRT1_2).erf()
      : x
          .mul(x.square().mul(0.044715).add(1))
          .mul(Math.sqrt(2 / Math.PI))
          .tanh();
  return x.mul(inner.add(1).mul(0.5));
}

/** x · sigmoid(x), also called swish. @see Elfwing et al. (2017) */
export const silu = (x: Tensor): Tensor => x.mul(x.sigmoid());

/** x · tanh(softplus(x)). @see Misra (2019) */
export const mish = (x: Tensor): Tensor => x.mul(x.softplus().tanh());

/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => x.tanh();

/** 1 / (1 + exp(-x)). */
export const sigmoid = (x: Tensor): Tensor => x.sigmoid();

/** log sigmoid(x), accurate for large |x|. */
export const logSigmoid = (x: Tensor): Tensor => x.neg().softplus().neg();

/** log(1 + exp(beta · x)) / beta. Default beta 1. */
export const softplus = (x: Tensor, { beta = 1 }: { readonly beta?: number } = {}): Tensor =>
  beta === 1 ? x.softplus() : x.mul(beta).softplus().div(beta);

/** x / (1 + |x|). */
export const softsign = (x: Tensor): Tensor => x.div(x.abs().add(1));

/** min(max(x, -1), 1). */
export const hardTanh = (x: Tensor): Tensor => x.maximum(-1).minimum(1);

/** min(max(x + 3, 0), 6) / 6. */
export const hardSigmoid = (x: Tensor): Tensor => relu6(x.add(3)).div(6);

/** x · hardSigmoid(x). @see Howard et al. (ICCV 2019) */
export const hardSwish = (x: Tensor): Tensor => x.mul(hardSigmoid(x));
