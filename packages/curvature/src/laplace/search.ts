/** Chooses prior precision and noise after training, without gradients: by fixed points, or by validation data. */
import {
  ArgumentError,
  compile,
  concat,
  evaluate,
  NonFiniteError,
  scalar,
  type Tensor,
  treeFlatten,
} from "@thalweg/tensor";
import { atLeast, largest } from "../clipping";
import type { Batch } from "../problem";
import type { Laplace, LaplaceHyperparameters } from "./laplace";
import { logPredictiveDensity } from "./predictive";

export interface FixedPointOptions {
  /** At most so many updates. Default 100. */
  readonly steps?: number;
  /** It ends when no logarithm changes by more. Default 1e-4. */
  readonly tolerance?: number;
}

export interface FixedPoint {
  readonly hyperparameters: LaplaceHyperparameters;
  /** Has it ended by itself? */
  readonly isConverged: boolean;
  readonly steps: number;
  /** γ of each uncertain tensor at the last update. */
  readonly effectiveParameters: readonly number[];
}

/** log δ stays within this: where the data determine nothing, or θ is 0, the fixed point is at infinity. */
const largestLog = 30;
const bounded = (log: Tensor): Tensor => atLeast(atLeast(log.neg(), -largestLog).neg(), -largestLog);

const least = 1e-30;
const logOf = (x: Tensor): Tensor => atLeast(x, least).log();

/**
 * MacKay's re-estimation at fixed parameters: δ ← γ / ‖θ‖², for a scalar, or for each tensor with its own γ. With
 * `logNoise`, σ² ← Σ (f - y)² / (numbers - γ).
 *
 * @param start Its δ is a scalar, or one for each parameter tensor; numbers of fixed tensors stay.
 * @throws ArgumentError for another δ; NonFiniteError for data that are not finite.
 * @see MacKay, Bayesian interpolation (1992)
 */
export async function fixedPointHyperparameters<P, X>(
  posterior: Laplace<P, X>,
  start: LaplaceHyperparameters,
  { steps = 100, tolerance = 1e-4 }: FixedPointOptions = {},
): Promise<FixedPoint> {
  const { logPriorPrecision } = start;
  const names = treeFlatten<Tensor>(posterior.params).paths.map((path) => path.join("."));
  const places = posterior.uncertain.map((name) => names.indexOf(name));
  const tensors = names.length;
  if (logPriorPrecision.rank > 0 && logPriorPrecision.size !== tensors) {
    throw new ArgumentError(
      `fixedPointHyperparameters: ${logPriorPrecision.size} prior precisions. Give a scalar, or one for each of ${tensors} ` +
        "parameter tensors.",
    );
  }
  if (!Number.isInteger(steps) || steps < 1) {
    throw new ArgumentError(`fixedPointHyperparameters: ${steps} steps. Give an integer of at least 1.`);
  }
  await posterior.realize();
  /** For weight and bias of a joint block, both of them, the sum. */
  const together = (values: Tensor): Tensor => {
    const at = (position: number): Tensor => values.slice([position], [position + 1]);
    return posterior.joint.reduce((all, { weight, bias }) => {
      const place = all.iotaLike(0);
      const sum = at(weight).add(at(bias)).expand(all.shape);
      return place.equal(weight).or(place.equal(bias)).where(sum, all);
    }, values);
  };
  const update = compile((at: LaplaceHyperparameters) => {
    const gamma = posterior.effectiveParametersByTensor(at);
    const logDelta = (determined: Tensor, norm: Tensor): Tensor => bounded(logOf(determined).sub(logOf(norm)));
    const next =
      at.logPriorPrecision.rank === 0
        ? logDelta(gamma.sum(), posterior.squaredNorms.sum())
        : withAt(at.logPriorPrecision, places, logDelta(together(gamma), together(posterior.squaredNorms)));
    const { loss, numbers } = posterior.data;
    const noise =
      at.logNoise === undefined
        ? {}
        : {
            logNoise: logOf(loss.mul(2))
              .sub(logOf(numbers.sub(gamma.sum())))
              .mul(0.5),
          };
    const hyperparameters: LaplaceHyperparameters = { logPriorPrecision: next, ...noise };
    const changes = [
      next.sub(at.logPriorPrecision).abs().flatten(),
      ...(at.logNoise === undefined ? [] : [(hyperparameters.logNoise as Tensor).sub(at.logNoise).abs().reshape([1])]),
    ];
    return { hyperparameters, gamma, change: largest(concat(changes)) };
  });
  let found = update(start);
  let count = 1;
  let change = await found.change.item();
  for (; count < steps && change > tolerance; count++) {
    found = update(found.hyperparameters);
    change = await found.change.item();
  }
  const effectiveParameters = Array.from(await found.gamma.data());
  update.dispose();
  if (!Number.isFinite(change)) {
    throw new NonFiniteError(
      `fixedPointHyperparameters: update ${count} is not finite. Start with other hyperparameters.`,
    );
  }
  return {
    hyperparameters: found.hyperparameters,
    isConverged: change <= tolerance,
    steps: count,
    effectiveParameters,
  };
}

/** A vector with other numbers at some positions. */
function withAt(vector: Tensor, positions: readonly number[], values: Tensor): Tensor {
  const parts = positions.map((position, index) => {
    const isHere = vector.iotaLike(0).equal(position);
    return { isHere, value: values.slice([index], [index + 1]).expand(vector.shape) };
  });
  return parts.reduce((all, { isHere, value }) => isHere.where(value, all), vector);
}

export interface GridOptions<P, X> {
  /** Values of δ to try. Default: 21 from 1e-4 to 1e4, equally far apart in their logarithms. */
  readonly grid?: readonly number[];
  /** log σ of a regression, which stays as it is. */
  readonly logNoise?: Tensor;
  /** What is largest for the best δ: scalar. Default: the mean of {@link logPredictiveDensity} over the validation data. */
  readonly score?: (posterior: Laplace<P, X>, batch: Batch<X>, hyperparameters: LaplaceHyperparameters) => Tensor;
}

export interface GridSearch {
  readonly hyperparameters: LaplaceHyperparameters;
  /** Of every δ of the grid. */
  readonly scores: readonly number[];
}

/**
 * The scalar prior precision under which validation data are the most probable. The parameters stay as they are.
 *
 * @throws ArgumentError for δ that are not positive; NonFiniteError for data that are not finite.
 */
export async function gridSearchPriorPrecision<P, X>(
  posterior: Laplace<P, X>,
  validation: Batch<X>,
  {
    grid = Array.from({ length: 21 }, (_, index) => 10 ** ((index - 10) * 0.4)),
    logNoise,
    score = (own, batch, at) => logPredictiveDensity(own, batch, at).mean(),
  }: GridOptions<P, X> = {},
): Promise<GridSearch> {
  const wrong = grid.find((delta) => !(delta > 0 && Number.isFinite(delta)));
  if (wrong !== undefined || grid.length === 0) {
    throw new ArgumentError(`gridSearchPriorPrecision: δ ${wrong ?? "of an empty grid"}. Give positive numbers.`);
  }
  await posterior.realize();
  const at = (logPriorPrecision: Tensor): LaplaceHyperparameters => ({
    logPriorPrecision,
    ...(logNoise !== undefined && { logNoise }),
  });
  const program = compile((log: Tensor) => score(posterior, validation, at(log)));
  const values = grid.map((delta) => program(scalar(Math.log(delta))));
  await evaluate(values);
  const scores = await Promise.all(values.map((value) => value.item()));
  program.dispose();
  const notFinite = scores.findIndex((value) => !Number.isFinite(value));
  if (notFinite >= 0) {
    throw new NonFiniteError(
      `gridSearchPriorPrecision: the score of δ = ${grid[notFinite]} is ${scores[notFinite]}. Look at the validation data.`,
    );
  }
  const best = scores.indexOf(Math.max(...scores));
  return { hyperparameters: at(scalar(Math.log(grid[best] as number))), scores };
}

/**
 * Single parameters with the largest posterior variances, for a posterior over these alone: where they lie in each tensor.
 *
 * @param posterior Any that has the variances; `"diagonal"` is the cheapest.
 * @param count How many, over all uncertain tensors.
 * @example
 * const wide = await largestVariances(laplace(problem, params, batches, { structure: "diagonal" }), start, 100);
 * const posterior = laplace(problem, params, batches, { structure: "full", parameters: wide });
 * @see Daxberger et al., Bayesian deep learning via subnetwork inference (2021)
 */
export async function largestVariances<P, X>(
  posterior: Laplace<P, X>,
  hyperparameters: LaplaceHyperparameters,
  count: number,
): Promise<Readonly<Record<string, readonly number[]>>> {
  await posterior.realize();
  const { leaves, paths } = treeFlatten<Tensor>(posterior.variances(hyperparameters));
  await evaluate(leaves);
  const all = await Promise.all(
    leaves.map(async (leaf, index) => {
      const name = (paths[index] as readonly string[]).join(".");
      return Array.from(await leaf.data(), (value, at) => ({ name, at, value }));
    }),
  );
  const flat = all.flat().filter(({ value }) => value > 0);
  if (!Number.isInteger(count) || count < 1 || count > flat.length) {
    throw new ArgumentError(
      `largestVariances: ${count} of ${flat.length} uncertain parameters. Give an integer from 1 to that.`,
    );
  }
  flat.sort((a, b) => b.value - a.value);
  const found: Record<string, number[]> = {};
  for (const { name, at } of flat.slice(0, count)) {
    found[name] ??= [];
    found[name].push(at);
  }
  return Object.fromEntries(Object.entries(found).map(([name, positions]) => [name, positions.sort((a, b) => a - b)]));
}
