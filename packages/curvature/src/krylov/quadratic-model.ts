/** Damping and step lengths from the quadratic model of the loss. */
import { ArgumentError } from "@thalweg/tensor";

export interface AdaptDampingOptions {
  /** By how much λ changes in one step. Default 19/20. */
  readonly omega?: number;
  /** Steps since the last change. Default 5. */
  readonly interval?: number;
  /** Least and largest λ. Default [1e-8, 1e8]. */
  readonly bounds?: readonly [least: number, largest: number];
}

/**
 * Levenberg-Marquardt damping: λ falls where the quadratic model predicts the loss well and rises where it does not. A
 * ratio that is not a number counts as bad.
 *
 * @param ratio the change of the loss over the change that the model predicted, without λ in it.
 * @see Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature (2015), section 6.5
 */
export function adaptDamping(damping: number, ratio: number, options: AdaptDampingOptions = {}): number {
  const { omega = 0.95, interval = 5, bounds = [1e-8, 1e8] } = options;
  if (!(omega > 0 && omega < 1))
    throw new ArgumentError(`adaptDamping: omega ${omega}. Give a number between 0 and 1.`);
  const factor = omega ** interval;
  const next = ratio > 0.75 ? damping * factor : ratio >= 0.25 ? damping : damping / factor;
  return Math.min(bounds[1], Math.max(bounds[0], next));
}

export interface QuadraticModelStep {
  readonly learningRate: number;
  readonly momentum: number;
  /** What the model promises: ½ uᵀ (C + λ) u + gᵀ u at the best u = learningRate · d + momentum · p. */
  readonly modelChange: number;
}

/**
 * The learning rate and momentum that minimise the quadratic model over the direction d and the update before, p.
 *
 * @param matrix the products of d and p with (C + λ) d and (C + λ) p.
 * @param slopes gᵀ d and gᵀ p. While p is zero its row drops out.
 */
export function quadraticModelStep(
  matrix: readonly [readonly [number, number], readonly [number, number]],
  slopes: readonly [number, number],
): QuadraticModelStep {
  const [[a, b], [, c]] = matrix;
  const [gd, gp] = slopes;
  if (!(a > 0)) throw new ArgumentError(`quadraticModelStep: curvature ${a} along the direction. Raise the damping.`);
  const determinant = a * c - b * b;
  const isAlone = c <= 0 || determinant <= 1e-12 * a * c;
  const learningRate = isAlone ? -gd / a : (-gd * c + gp * b) / determinant;
  const momentum = isAlone ? 0 : (-gp * a + gd * b) / determinant;
  return { learningRate, momentum, modelChange: 0.5 * (gd * learningRate + gp * momentum) };
}
