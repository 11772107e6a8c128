/**
 * Laplace approximations: a normal distribution over parameters around a maximum a posteriori, its evidence (the marginal
 * likelihood, which chooses hyperparameters without validation data), and predictions.
 */
import { vjp, vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  concat,
  evaluate,
  full,
  type Key,
  normal,
  scalar,
  softmax,
  splitKeys,
  type Tensor,
  treeFlatten,
  treeUnflatten,
  UnsupportedError,
} from "@thalweg/tensor";
import { kroneckerCurvature } from "../kronecker/kronecker-curvature";
import { squaredError } from "../output-loss";
import { type Batch, type CurvatureProblem, exampleLosses, exampleOutputs } from "../problem";
import { ggnDiagonal, ggnSquareRoot } from "../square-root";
import { densePrecision, diagonalPrecision, kroneckerPrecision, type Precision } from "./posterior";

/** What the curvature is kept as. `"subset"` is the full matrix of some parameters, such as those of the last layer. */
export type LaplaceStructure = "full" | "diagonal" | "kronecker" | "subset";

export interface LaplaceOptions {
  /** Default `"kronecker"`. */
  readonly structure?: LaplaceStructure;
  /** For `"subset"`: which parameters are uncertain, by their paths joined with dots. All others are fixed. */
  readonly parameters?: readonly string[];
  /**
   * Whether weight and bias of a layer share a Kronecker block, and so one prior precision, or have one each. Default
   * `"separate"`.
   */
  readonly bias?: "joint" | "separate";
}

/** Positive hyperparameters by their logarithms. */
export type LaplaceHyperparameters = {
  /**
   * log δ, the prior N(0, 1/δ): a scalar, or a vector with one number for each parameter tensor in their order. For the
   * full and diagonal structures also a vector with one number for every single parameter.
   */
  readonly logPriorPrecision: Tensor;
  /** log σ, the noise of a regression with {@link squaredError}: scalar. Leave it out for all other losses. */
  readonly logNoise?: Tensor;
};

/** The evidence and its terms: scalars. */
export interface Evidence {
  /** log Z = logLikelihood - ½ (logDeterminantRatio + scatter). */
  readonly logEvidence: Tensor;
  /** log p(D | θ). */
  readonly logLikelihood: Tensor;
  /** log det (H + diag δ) - Σ log δ. */
  readonly logDeterminantRatio: Tensor;
  /** θᵀ diag(δ) θ. */
  readonly scatter: Tensor;
}

export interface Laplace<P, X> {
  /** The mean: the parameters that it was fitted at. */
  readonly params: P;
  /** Computes the curvature, once: what follows reads it. Without it, it is computed with whatever asks for it. */
  realize(): Promise<void>;
  /** Lazy and differentiable in the hyperparameters: compile what calls it, take `grad` of it. */
  evidence(hyperparameters: LaplaceHyperparameters): Evidence;
  /** γ = Σ λ/(λ + δ), how many parameters the data determine. For a scalar prior δ ← γ / ‖θ‖² is MacKay's fixed point. */
  effectiveParameters(hyperparameters: LaplaceHyperparameters): Tensor;
  /** Parameters drawn from the posterior. */
  sample(key: Key, hyperparameters: LaplaceHyperparameters): P;
  /** The outputs of the linearised model: mean `[N, C]` and covariance `[N, C, C]` of each example. */
  predict(inputs: X, hyperparameters: LaplaceHyperparameters): { readonly mean: Tensor; readonly covariance: Tensor };
}

/** More outputs than this make Jacobians too large. */
const mostOutputs = 100;

/**
 * Fits the posterior at `params`, which should maximise the posterior: H is the Gauss-Newton matrix of the summed losses
 * there. Lazy: compile or evaluate what is made of it.
 *
 * The problem's `reduction` plays no part; losses are summed. Evidence is that of all data if `batches` hold all data.
 *
 * @throws ArgumentError for an unknown parameter; UnsupportedError for more than 100 outputs in `predict`.
 * @see MacKay, A practical Bayesian framework for backpropagation networks (1992)
 * @see Immer et al., Scalable marginal likelihood estimation for model selection in deep learning (2021)
 */
export function laplace<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batches: Batch<X> | readonly Batch<X>[],
  { structure = "kronecker", parameters = [], bias = "separate" }: LaplaceOptions = {},
): Laplace<P, X> {
  const parts: readonly Batch<X>[] = "inputs" in batches ? [batches] : batches;
  if (parts.length === 0) throw new ArgumentError("laplace: no batch. Give at least one.");
  const summed: CurvatureProblem<P, X> = { ...problem, reduction: "sum" };
  const { leaves, paths, structure: tree } = treeFlatten<Tensor>(params);
  const names = paths.map((path) => path.join("."));
  const everything = leaves.map((_, index) => index);
  const chosen = structure === "subset" ? positionsOf(parameters, names) : everything;
  const precision = precisionOf(summed, params, parts, { structure, bias, chosen });

  const losses = parts.map((part) => exampleLosses(summed, params, part).sum()).reduce((sum, own) => sum.add(own));
  const numbers = parts.reduce((sum, { targets }) => sum + targets.size, 0);
  const isRegression = problem.loss === squaredError;

  const factorOf = ({ logNoise }: LaplaceHyperparameters): Tensor => {
    if (logNoise === undefined) return scalar(1);
    if (!isRegression) {
      throw new ArgumentError(
        `laplace: logNoise goes with squaredError, the loss is ${problem.loss.name}. Leave it out.`,
      );
    }
    return logNoise.mul(-2).exp();
  };
  const logLikelihood = (hyperparameters: LaplaceHyperparameters): Tensor => {
    const scaled = losses.mul(factorOf(hyperparameters)).neg();
    const { logNoise } = hyperparameters;
    return logNoise === undefined ? scaled : scaled.sub(logNoise.add(0.5 * Math.log(2 * Math.PI)).mul(numbers));
  };
  const logDeltas = ({ logPriorPrecision }: LaplaceHyperparameters): Tensor[] => {
    const shapes = leaves.map(({ shape }) => shape);
    if (structure === "kronecker" && bias === "joint" && logPriorPrecision.rank > 0) {
      throw new ArgumentError(
        'laplace: weight and bias of a joint block have one prior precision. Give a scalar, or set bias: "separate".',
      );
    }
    return priorLeaves(logPriorPrecision, shapes, structure === "kronecker");
  };
  const deltas = (hyperparameters: LaplaceHyperparameters): Tensor[] =>
    logDeltas(hyperparameters).map((own) => own.exp());

  return {
    params,
    realize: () => evaluate([losses, ...precision.tensors]),
    evidence(hyperparameters) {
      const [logs, delta, factor] = [logDeltas(hyperparameters), deltas(hyperparameters), factorOf(hyperparameters)];
      const sum = (of: (index: number) => Tensor): Tensor =>
        precision.parameters.map(of).reduce((one, other) => one.add(other));
      const logPrior = sum((index) => (logs[index] as Tensor).expand((leaves[index] as Tensor).shape).sum());
      const ratio = precision.logDeterminant(delta, factor).sub(logPrior);
      const scatter = sum((index) =>
        (leaves[index] as Tensor)
          .square()
          .mul(delta[index] as Tensor)
          .sum(),
      );
      const likelihood = logLikelihood(hyperparameters);
      return {
        logEvidence: likelihood.sub(ratio.add(scatter).mul(0.5)),
        logLikelihood: likelihood,
        logDeterminantRatio: ratio,
        scatter,
      };
    },
    effectiveParameters: (hyperparameters) =>
      precision.effectiveParameters(deltas(hyperparameters), factorOf(hyperparameters)),
    sample(key, hyperparameters) {
      const keys = splitKeys(key, leaves.length);
      const normals = leaves.map((leaf, index) => normal(keys[index] as Key, leaf.shape));
      const drawn = precision.sample(normals, deltas(hyperparameters), factorOf(hyperparameters));
      const moved = leaves.map((leaf, index) =>
        precision.parameters.includes(index) ? leaf.add(drawn[index] as Tensor) : leaf,
      );
      return treeUnflatten(tree, moved) as P;
    },
    predict(inputs, hyperparameters) {
      const [delta, factor] = [deltas(hyperparameters), factorOf(hyperparameters)];
      const one = (example: X): { mean: Tensor; covariance: Tensor } => {
        const [outputs, pull] = vjp((at: P) => exampleOutputs(summed, at, example).flatten(), params);
        const { size } = outputs;
        if (size > mostOutputs) {
          throw new UnsupportedError(
            `laplace: ${size} outputs of an example need Jacobians of that many rows. Predict with samples instead.`,
          );
        }
        const rowsOf = (vector: Tensor): Tensor[] => treeFlatten<Tensor>(pull(vector)[0]).leaves;
        const units = full([size, size], 0)
          .iotaLike(0)
          .equal(full([size, size], 0).iotaLike(1))
          .cast("f32");
        const jacobian = vmap(rowsOf)(units);
        const solved = vmap((vector: Tensor) => precision.solve(rowsOf(vector), delta, factor))(units);
        const products = precision.parameters.map((index) => {
          const [left, right] = [jacobian[index], solved[index]].map((x) => (x as Tensor).reshape([size, -1]));
          return (left as Tensor).matmul((right as Tensor).transpose());
        });
        return { mean: outputs, covariance: products.reduce((sum, own) => sum.add(own)) };
      };
      return vmap(one)(inputs);
    },
  };
}

/**
 * Class probabilities from normally distributed logits, by the probit approximation: softmax(f / √(1 + π/8 σ²)).
 *
 * @param mean `[N, C]`.
 * @param covariance `[N, C, C]`, of which the diagonal counts.
 * @see MacKay, The evidence framework applied to classification networks (1992)
 */
export function probit(mean: Tensor, covariance: Tensor): Tensor {
  const isDiagonal = covariance.iotaLike(1).equal(covariance.iotaLike(2));
  const variance = isDiagonal.where(covariance, 0).sum({ axis: 2 });
  return softmax(
    mean.mul(
      variance
        .mul(Math.PI / 8)
        .add(1)
        .rsqrt(),
    ),
  );
}

function positionsOf(parameters: readonly string[], names: readonly string[]): number[] {
  if (parameters.length === 0) throw new ArgumentError('laplace: structure "subset" needs names of parameters.');
  return parameters.map((name) => {
    const position = names.indexOf(name);
    if (position >= 0) return position;
    throw new ArgumentError(`laplace: no parameter "${name}". Known: ${names.join(", ")}.`);
  });
}

/** log δ for every parameter: a scalar each, or a tensor of its shape. */
export function priorLeaves(log: Tensor, shapes: readonly (readonly number[])[], onlyTensors = false): Tensor[] {
  if (log.rank === 0) return shapes.map(() => log);
  const at = (start: number, count: number) => log.slice([start], [start + count]);
  if (log.size === shapes.length) return shapes.map((_, index) => at(index, 1).reshape([]));
  const sizes = shapes.map((shape) => shape.reduce((size, extent) => size * extent, 1));
  const count = sizes.reduce((sum, size) => sum + size, 0);
  if (log.rank !== 1 || log.size !== count || onlyTensors) {
    const single = onlyTensors ? "" : `, or one of each of ${count} parameters`;
    throw new ArgumentError(
      `laplace: ${log.size} prior precisions. Give a scalar, one for each of ${shapes.length} parameter tensors${single}.`,
    );
  }
  let start = 0;
  return shapes.map((shape, index) => {
    start += sizes[index] as number;
    return at(start - (sizes[index] as number), sizes[index] as number).reshape([...shape]);
  });
}

function precisionOf<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batches: readonly Batch<X>[],
  { structure, bias, chosen }: { structure: LaplaceStructure; bias: "joint" | "separate"; chosen: readonly number[] },
): Precision {
  const { leaves } = treeFlatten<Tensor>(params);
  const add = (lists: readonly (readonly Tensor[])[]): Tensor[] =>
    (lists[0] as readonly Tensor[]).map((_, index) =>
      lists.map((list) => list[index] as Tensor).reduce((one, other) => one.add(other)),
    );
  switch (structure) {
    case "diagonal": {
      const diagonals = batches.map((batch) => treeFlatten<Tensor>(ggnDiagonal(problem, params, batch)).leaves);
      return diagonalPrecision(add(diagonals), chosen);
    }
    case "kronecker": {
      const curvature = kroneckerCurvature(problem, params, batches[0] as Batch<X>, { fisher: "type2" });
      const parts = batches.map((batch) => curvature.evaluate(params, batch).factors);
      // A is an average over the batch, B a sum: examples weigh the one, and the other adds up.
      const counts = batches.map(({ targets }) => targets.shape[0] as number);
      const all = counts.reduce((sum, count) => sum + count, 0);
      const flat = parts.map((part, index) => {
        const weight = (counts[index] as number) / all;
        const { leaves: own, paths, structure: tree } = treeFlatten<Tensor>(part);
        return { tree, own: own.map((x, at) => (paths[at]?.at(-1) === "a" ? x.mul(weight) : x)) };
      });
      const factors = treeUnflatten((flat[0] as (typeof flat)[number]).tree, add(flat.map(({ own }) => own)));
      return kroneckerPrecision(curvature.blocks, factors as (typeof parts)[number], bias);
    }
    case "full":
    case "subset": {
      const matrices = batches.map((batch) => {
        const roots = treeFlatten<Tensor>(ggnSquareRoot(problem, params, batch)).leaves;
        const rows = chosen.map((position) => {
          const root = roots[position] as Tensor;
          return root.reshape([(root.shape[0] as number) * (root.shape[1] as number), -1]);
        });
        const all = concat(rows, { axis: 1 });
        return [all.transpose().matmul(all)];
      });
      const shapes = leaves.map(({ shape }) => shape);
      return densePrecision(add(matrices)[0] as Tensor, shapes, chosen);
    }
  }
}
