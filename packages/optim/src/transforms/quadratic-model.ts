/** Damping and step lengths from the quadratic model of the loss, on the device. */
import type { Tensor } from "@thalweg/tensor";

export interface AdaptedDampingOptions {
  /** The factor by which λ falls, and one over which it rises: ω^T₁. */
  readonly factor: number;
  /** Ratios below the first one are bad, above the second one good. */
  readonly thresholds: readonly [lower: number, upper: number];
  readonly bounds: readonly [least: number, largest: number];
}

/**
 * Levenberg-Marquardt damping: λ falls where the quadratic model predicts the loss well and rises where it does not. A ratio
 * that is not a number is bad. Where the model itself predicts no decrease, as momentum may have it, λ stays.
 *
 * @param change of the loss.
 * @param predicted the change that the model predicted, without λ in it.
 * @see Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature (2015), section 6.5
 */
export function adaptedDamping(
  damping: Tensor,
  change: Tensor,
  predicted: Tensor,
  { factor, thresholds: [lower, upper], bounds: [least, largest] }: AdaptedDampingOptions,
): Tensor {
  const isDown = predicted.less(0);
  const ratio = change.div(isDown.where(predicted, -1));
  const isSound = ratio.isFinite().and(predicted.isFinite());
  const moved = isSound
    .and(ratio.greater(upper))
    .where(damping.mul(factor), isSound.and(ratio.greaterEqual(lower)).where(damping, damping.mul(1 / factor)));
  return isSound.and(isDown.not()).where(damping, moved.maximum(least).minimum(largest));
}

/** Lengths along a direction and along the update before. */
export interface ModelSteps {
  readonly rate: Tensor;
  readonly momentum: Tensor;
}

/**
 * The lengths α, μ that minimise the quadratic model over α d + μ p.
 *
 * @param products dᵀ M d, dᵀ M p and pᵀ M p, M the damped curvature.
 * @param slopes gᵀ d and gᵀ p. While p is zero, or along d, μ is 0; without curvature along d nothing moves.
 */
export function modelSteps(
  [dd, dp, pp]: readonly [Tensor, Tensor, Tensor],
  [gd, gp]: readonly [Tensor, Tensor],
): ModelSteps {
  const isCurved = dd.greater(0);
  const hasPast = isCurved.and(pp.greater(0));
  // In units of the lengths of d and p, since these differ by orders of magnitude.
  const [x, y] = [isCurved.where(dd, 1).sqrt(), hasPast.where(pp, 1).sqrt()];
  const cosine = hasPast.where(dp.div(x.mul(y)), 0);
  const [u, v] = [gd.div(x), hasPast.where(gp.div(y), 0)];
  const determinant = cosine.square().neg().add(1);
  const isPlane = hasPast.and(determinant.greater(parallel));
  const divisor = isPlane.where(determinant, 1);
  const along = isPlane.where(cosine.mul(v).sub(u).div(divisor), u.neg());
  const back = isPlane.where(cosine.mul(u).sub(v).div(divisor), 0);
  return { rate: isCurved.where(along.div(x), 0), momentum: isPlane.where(back.div(y), 0) };
}

/** 1 - cos² below which d and p count as one direction: rounding of f32 products. */
const parallel = 1e-5;
