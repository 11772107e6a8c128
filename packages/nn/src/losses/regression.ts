import { ArgumentError, type Tensor } from "@thalweg/tensor";
import { checkTargets, type ElementOptions, joinElements } from "./elements";

/**
 * (prediction - target)², by default the mean over the elements of each example: `[N, …]` to `[N]`.
 *
 * There is no factor 1/2, as in PyTorch's MSELoss.
 */
export function meanSquaredError(predictions: Tensor, targets: Tensor, options: ElementOptions = {}): Tensor {
  checkTargets("meanSquaredError", predictions, targets);
  return joinElements(predictions.sub(targets).square(), options);
}

/** |prediction - target|, by default the mean over the elements of each example: `[N, …]` to `[N]`. */
export function l1(predictions: Tensor, targets: Tensor, options: ElementOptions = {}): Tensor {
  checkTargets("l1", predictions, targets);
  return joinElements(predictions.sub(targets).abs(), options);
}

export interface HuberOptions extends ElementOptions {
  /** Where the square turns into a line; above 0. Default 1. */
  readonly delta?: number;
}

/**
 * d²/2 for |d| ≤ delta, else delta · (|d| - delta/2), with d = prediction - target; by default the mean over the
 * elements of each example: `[N, …]` to `[N]`.
 *
 * @see Huber, Robust estimation of a location parameter (1964)
 */
export function huber(predictions: Tensor, targets: Tensor, { delta = 1, ...options }: HuberOptions = {}): Tensor {
  checkTargets("huber", predictions, targets);
  if (!(delta > 0)) throw new ArgumentError(`huber: delta ${delta} is not above 0. Use l1 for its limit.`);
  return joinElements(bentSquare(predictions.sub(targets), delta), options);
}

export interface SmoothL1Options extends ElementOptions {
  /** Where the square turns into a line; 0 gives the absolute error. Default 1. */
  readonly beta?: number;
}

/**
 * d²/(2 beta) for |d| < beta, else |d| - beta/2, with d = prediction - target: {@link huber} with delta = beta, divided
 * by beta. By default the mean over the elements of each example: `[N, …]` to `[N]`.
 *
 * @see Girshick, Fast R-CNN (ICCV 2015)
 */
export function smoothL1(predictions: Tensor, targets: Tensor, { beta = 1, ...options }: SmoothL1Options = {}): Tensor {
  checkTargets("smoothL1", predictions, targets);
  if (!(beta >= 0)) throw new ArgumentError(`smoothL1: beta ${beta} is below 0. Give 0 or more.`);
  const difference = predictions.sub(targets);
  return joinElements(beta === 0 ? difference.abs() : bentSquare(difference, beta).div(beta), options);
}

/** d²/2 up to delta, then its tangent. */
function bentSquare(difference: Tensor, delta: number): Tensor {
  const size = difference.abs();
  return size.lessEqual(delta).where(difference.square().mul(0.5), size.sub(delta / 2).mul(delta));
}
