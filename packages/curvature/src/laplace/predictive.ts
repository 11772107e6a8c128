/** Predictive distributions from normally distributed outputs. */
import { linalg, softmax, type Tensor, UnsupportedError } from "@thalweg/tensor";
import { atLeast } from "../clipping";
import { binaryCrossEntropy, crossEntropy, squaredError } from "../output-loss";
import type { Batch } from "../problem";
import type { Laplace, LaplaceHyperparameters } from "./laplace";

/** The variances `[N, C]` of covariances `[N, C, C]`, or themselves. */
function variancesOf(spread: Tensor): Tensor {
  if (spread.rank === 2) return spread;
  return spread.iotaLike(1).equal(spread.iotaLike(2)).where(spread, 0).sum({ axis: 2 });
}

/** f / √(1 + π/8 σ²). */
const moderated = (mean: Tensor, spread: Tensor): Tensor =>
  mean.mul(
    variancesOf(spread)
      .mul(Math.PI / 8)
      .add(1)
      .rsqrt(),
  );

/**
 * Class probabilities from normally distributed logits, by the probit approximation: softmax(f / √(1 + π/8 σ²)).
 *
 * @param mean `[N, C]`.
 * @param spread covariances `[N, C, C]`, of which the diagonal counts, or variances `[N, C]`.
 * @see MacKay, The evidence framework applied to classification networks (1992)
 */
export const probit = (mean: Tensor, spread: Tensor): Tensor => softmax(moderated(mean, spread));

/**
 * The Dirichlet distribution over class probabilities that belongs to normally distributed logits, by the Laplace bridge:
 * its concentrations α, `[N, C]`. Mean probabilities are α / Σ α, and Σ α says how sure they are. The logits are first
 * conditioned to sum to 0, as only their differences matter.
 *
 * @param mean `[N, C]`.
 * @param covariance `[N, C, C]`.
 * @see Hobbhahn, Kristiadi and Hennig, Fast predictive uncertainty for classification with Bayesian deep networks (2022)
 */
export function laplaceBridge(mean: Tensor, covariance: Tensor): Tensor {
  const classes = mean.shape[1] as number;
  const rows = covariance.sum({ axis: 2 });
  const all = rows.sum({ axis: 1, keepDims: true });
  // Logits that sum to 0 already leave rounding to divide by. In this order, so that NaN is not taken for it.
  const isRounding = all.lessEqual(variancesOf(covariance).sum({ axis: 1, keepDims: true }).mul(roundedToZero));
  const share = isRounding.where(1 / classes, rows.div(isRounding.where(1, all)));
  const logits = mean.sub(share.mul(mean.sum({ axis: 1, keepDims: true })));
  const variances = variancesOf(covariance).sub(share.mul(rows));
  const negative = logits.neg().logSumExp({ axis: 1, keepDims: true });
  return logits
    .add(negative)
    .exp()
    .div(classes * classes)
    .add(1 - 2 / classes)
    .div(atLeast(variances, leastVariance));
}

/** A variance of the sum of logits this small, relative to theirs, is rounding. */
const roundedToZero = 1e-5;

/** Logits that are known to this variance make concentrations that no longer change probabilities. */
const leastVariance = 1e-10;

/** Class probabilities as the mean of softmax over samples of logits: `[samples, N, C]` to `[N, C]`. */
export const meanProbabilities = (samples: Tensor): Tensor => softmax(samples).mean({ axis: 0 });

/**
 * log p(y | x, D) of each example: `[N]`. Cross entropies by the probit approximation, squared errors as normal densities
 * with noise σ (1 without `logNoise`).
 *
 * @throws UnsupportedError for other losses.
 */
export function logPredictiveDensity<P, X>(
  posterior: Laplace<P, X>,
  { inputs, targets }: Batch<X>,
  hyperparameters: LaplaceHyperparameters,
): Tensor {
  const { loss } = posterior;
  if (loss.name === squaredError.name) {
    const { mean, covariance } = posterior.predict(inputs, hyperparameters);
    const outputs = mean.shape[1] as number;
    const noise = hyperparameters.logNoise?.mul(2).exp() ?? mean.sum().onesLike();
    const isDiagonal = covariance.iotaLike(1).equal(covariance.iotaLike(2));
    const lower = linalg.cholesky(covariance.add(isDiagonal.where(noise, 0)));
    const errors = targets.reshape(mean.shape).sub(mean).expandDims(2);
    const squares = linalg
      .triangularSolve(lower, errors)
      .square()
      .sum({ axis: [1, 2] });
    const logDeterminant = isDiagonal
      .where(lower, 1)
      .log()
      .sum({ axis: [1, 2] })
      .mul(2);
    return squares
      .add(logDeterminant)
      .add(outputs * Math.log(2 * Math.PI))
      .mul(-0.5);
  }
  const { mean, variance } = posterior.predictVariance(inputs, hyperparameters);
  const logits = moderated(mean, variance);
  if (loss.name === binaryCrossEntropy.name) {
    return loss.value(logits, targets.reshape(mean.shape)).neg();
  }
  if (loss.name === crossEntropy.name) {
    const terms = targets.size / (mean.shape[0] as number);
    const each = logits.reshape([mean.shape[0] as number, terms, -1]);
    return loss
      .value(each, targets.reshape([mean.shape[0] as number, terms]))
      .neg()
      .sum({ axis: 1 });
  }
  throw new UnsupportedError(
    `logPredictiveDensity: it is not known for ${loss.name}. Predict with sampleOutputs, and average the densities.`,
  );
}
