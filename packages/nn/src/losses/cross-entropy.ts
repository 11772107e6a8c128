import { ArgumentError, formatShape, isFloat, logSoftmax, ShapeError, sameShape, type Tensor } from "@thalweg/tensor";
import { checkTargets, type ElementOptions, joinElements } from "./elements";

export interface LabelWeightOptions {
  /** One weight per class, `[classes]`. Default: all 1. */
  readonly weights?: Tensor;
  /** Examples with this label count nothing, in value and in derivative (PyTorch's `ignore_index`). Default: none. */
  readonly ignoredLabel?: number;
}

export interface CrossEntropyOptions extends LabelWeightOptions {
  /** Share of the target that is spread evenly over all classes, from 0 to 1. Default 0. */
  readonly labelSmoothing?: number;
}

/**
 * The cross entropy of softmax(logits) to labels, one value per example: PyTorch's CrossEntropyLoss with
 * `reduction="none"`.
 *
 * With integer labels y, smoothing ε, class weights w and log-probabilities ℓ over C classes:
 * `-(1 - ε) w[y] ℓ[y] - (ε / C) Σ_c w[c] ℓ[c]`. With distributions t: `-Σ_c w[c] t'[c] ℓ[c]`, `t' = (1 - ε) t + ε / C`.
 *
 * @param logits - `[…, classes]`.
 * @param labels - Integers `[…]`, or distributions `[…, classes]` of floats.
 * @returns `[…]`. PyTorch's default mean divides by the sum of the labels' weights: {@link meanOverLabels}.
 */
export function softmaxCrossEntropy(
  logits: Tensor,
  labels: Tensor,
  { labelSmoothing = 0, weights, ignoredLabel }: CrossEntropyOptions = {},
): Tensor {
  const operation = "softmaxCrossEntropy";
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new ArgumentError(`${operation}: labelSmoothing ${labelSmoothing} is outside of [0, 1].`);
  }
  checkWeights(operation, logits, weights);
  const logProbabilities = logSoftmax(logits);
  if (isFloat(labels.dtype)) {
    if (ignoredLabel !== undefined) {
      throw new ArgumentError(`${operation}: ignoredLabel goes with integer labels, not with distributions.`);
    }
    return withDistributions(operation, logProbabilities, labels, labelSmoothing, weights);
  }
  const exact = pickedLoss(operation, logProbabilities, labels, { weights, ignoredLabel });
  if (labelSmoothing === 0) return exact;
  const weighted = weights === undefined ? logProbabilities : logProbabilities.mul(weights);
  const even = weighted.mean({ axis: -1 }).neg();
  const counted = ignoredLabel === undefined ? even : labels.notEqual(ignoredLabel).where(even, 0);
  return exact.mul(1 - labelSmoothing).add(counted.mul(labelSmoothing));
}

/**
 * The negative log-likelihood `-w[y] ℓ[y]`, one value per example: PyTorch's NLLLoss with `reduction="none"`.
 *
 * @param logProbabilities - `[…, classes]`, such as logSoftmax gives.
 * @param labels - Integers `[…]`.
 * @returns `[…]`
 */
export function nll(logProbabilities: Tensor, labels: Tensor, options: LabelWeightOptions = {}): Tensor {
  checkWeights("nll", logProbabilities, options.weights);
  return pickedLoss("nll", logProbabilities, labels, options);
}

/**
 * PyTorch's `reduction="mean"` of a cross entropy with weights or an ignored label: Σ losses / Σ weights of the labels.
 * Without either it is the plain mean. The result is 0 / 0 if no example counts.
 *
 * @param losses - `[…]`, from {@link softmaxCrossEntropy} or {@link nll} with the same options.
 * @param labels - Integers `[…]`.
 */
export function meanOverLabels(losses: Tensor, labels: Tensor, options: LabelWeightOptions = {}): Tensor {
  if (options.weights === undefined && options.ignoredLabel === undefined) return losses.mean();
  return losses.sum().div(labelWeights(labels, options).cast(losses.dtype).sum());
}

/** The weight with which each example counts: `w[y]`, and 0 for the ignored label. f32 unless the weights are f16. */
export function labelWeights(labels: Tensor, { weights, ignoredLabel }: LabelWeightOptions): Tensor {
  const own = weights === undefined ? labels.fullLike(1).cast("f32") : weights.gather(labels, { axis: 0 });
  return ignoredLabel === undefined ? own : labels.notEqual(ignoredLabel).where(own, 0);
}

/** 1 where the largest logit is that of the label, else 0: `[…, classes]` and `[…]` to f32 `[…]`. */
export function accuracy(logits: Tensor, labels: Tensor): Tensor {
  checkLabels("accuracy", logits, labels);
  return logits.argmax({ axis: -1 }).equal(labels.cast("i32")).cast("f32");
}

function pickedLoss(operation: string, logProbabilities: Tensor, labels: Tensor, options: LabelWeightOptions): Tensor {
  checkLabels(operation, logProbabilities, labels);
  // Chosen and not multiplied by 0 and 1, so that an infinite log-probability elsewhere does no harm.
  const spread = labels.expandDims(-1).expand(logProbabilities.shape);
  const picked = spread.iotaLike(labels.rank).equal(spread).where(logProbabilities, 0).sum({ axis: -1 });
  const { weights, ignoredLabel } = options;
  const weighted = weights === undefined ? picked.neg() : picked.neg().mul(weights.gather(labels, { axis: 0 }));
  return ignoredLabel === undefined ? weighted : labels.notEqual(ignoredLabel).where(weighted, 0);
}

function withDistributions(
  operation: string,
  logProbabilities: Tensor,
  targets: Tensor,
  labelSmoothing: number,
  weights: Tensor | undefined,
): Tensor {
  checkTargets(operation, logProbabilities, targets);
  const classes = targets.shape.at(-1) as number;
  const smooth = labelSmoothing === 0 ? targets : targets.mul(1 - labelSmoothing).add(labelSmoothing / classes);
  const weighted = weights === undefined ? smooth : smooth.mul(weights);
  return weighted.mul(logProbabilities).sum({ axis: -1 }).neg();
}

function checkLabels(operation: string, logits: Tensor, labels: Tensor): void {
  if (isFloat(labels.dtype) || labels.dtype === "bool") {
    throw new ArgumentError(`${operation}: labels are ${labels.dtype}. Give integers, one per example.`);
  }
  if (logits.rank < 1 || !sameShape(labels.shape, logits.shape.slice(0, -1))) {
    throw new ShapeError(
      `${operation}: labels ${formatShape(labels.shape)} do not fit logits ${formatShape(logits.shape)}. ` +
        "Logits are […, classes], integer labels […], distributions […, classes].",
    );
  }
}

function checkWeights(operation: string, logits: Tensor, weights: Tensor | undefined): void {
  if (weights === undefined || sameShape(weights.shape, logits.shape.slice(-1))) return;
  throw new ShapeError(
    `${operation}: weights ${formatShape(weights.shape)} do not fit logits ${formatShape(logits.shape)}. ` +
      `Give one weight per class, ${formatShape(logits.shape.slice(-1))}.`,
  );
}

export interface BinaryCrossEntropyOptions extends ElementOptions {
  /** Weight of the positive class; broadcasts against the logits, so that every output may have its own. Default 1. */
  readonly posWeight?: number | Tensor;
}

/**
 * `-(posWeight · t · log σ(x) + (1 - t) · log(1 - σ(x)))`, computed without overflow; by default the mean over the
 * elements of each example: `[N, …]` to `[N]`. PyTorch's BCEWithLogitsLoss.
 *
 * @param logits - `[N, …]`.
 * @param targets - The same shape and dtype, from 0 to 1.
 */
export function binaryCrossEntropyWithLogits(
  logits: Tensor,
  targets: Tensor,
  { posWeight, ...options }: BinaryCrossEntropyOptions = {},
): Tensor {
  checkTargets("binaryCrossEntropyWithLogits", logits, targets);
  // -log σ(x) = softplus(-x) and -log(1 - σ(x)) = softplus(x). Both are kept apart: written with one softplus and a
  // product x · t the difference cancels where the prediction is good.
  const positive = logits.neg().softplus().mul(targets);
  const negative = logits.softplus().mul(targets.neg().add(1));
  const losses = (posWeight === undefined ? positive : positive.mul(posWeight)).add(negative);
  return joinElements(losses, options);
}

export interface KlDivergenceOptions {
  /** Whether the targets are log-probabilities. Default false. */
  readonly logTargets?: boolean;
}

/**
 * KL(targets ‖ predictions) = Σ t (log t - ℓ) over the last axis, one value per example: `[…, classes]` to `[…]`. Its mean
 * is PyTorch's KLDivLoss with `reduction="batchmean"`. Classes with t = 0 count nothing.
 *
 * @param logProbabilities - `[…, classes]`, such as logSoftmax gives.
 * @param targets - Probabilities of the same shape.
 */
export function klDivergence(
  logProbabilities: Tensor,
  targets: Tensor,
  { logTargets = false }: KlDivergenceOptions = {},
): Tensor {
  checkTargets("klDivergence", logProbabilities, targets);
  if (logTargets) return targets.exp().mul(targets.sub(logProbabilities)).sum({ axis: -1 });
  const positive = targets.greater(0);
  const logs = positive.where(targets, 1).log();
  return positive.where(targets.mul(logs.sub(logProbabilities)), 0).sum({ axis: -1 });
}
