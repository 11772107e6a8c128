/** Curvature as linear operators: products with matrices that are never formed. */
import { hvp, jvp, linearize, vjp, vmap } from "@thalweg/autograd";
import { ArgumentError, eye, type Key, sizeOf, splitKeys, type Tensor, treeLeaves, treeMap } from "@thalweg/tensor";
import type { ExampleLoss } from "../per-sample/per-sample";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs } from "../problem";
import { type LinearOperator, symmetricOperator } from "./linear-operator";

/** One batch, or several whose examples are counted together. */
export type Batches<X> = Batch<X> | readonly Batch<X>[];

const listOf = <X>(batches: Batches<X>): readonly Batch<X>[] => {
  const list: readonly Batch<X>[] = "inputs" in batches ? [batches] : batches;
  if (list.length === 0) throw new ArgumentError("An operator needs at least one batch.");
  return list;
};

/** All loss terms of a batch in rows: `[N · M, C]`. */
const rowsOf = (outputs: Tensor): Tensor => outputs.reshape([-1, outputs.shape.at(-1) as number]);

/** Targets of the rows. */
function targetRows<P, X>({ loss }: CurvatureProblem<P, X>, rows: Tensor, targets: Tensor): Tensor {
  const [terms, features] = rows.shape as [number, number];
  return targets.reshape(loss.target === "scalar" ? [terms] : [terms, features]);
}

/** ρ for all batches together. The last one may be short: terms are counted, not batches. */
function scaleOf<P, X>(
  { model, reduction = "mean" }: CurvatureProblem<P, X>,
  params: P,
  batches: readonly Batch<X>[],
): number {
  if (reduction === "sum") return 1;
  const terms = batches.reduce((sum, batch) => {
    batchSize("operator", batch);
    return sum + sizeOf(model(params, batch.inputs).shape.slice(0, -1));
  }, 0);
  return 1 / terms;
}

const add = <T>(a: T, b: T): T => treeMap((x: Tensor, y: Tensor) => x.add(y), a, b) as T;
const total = <T>(trees: readonly T[]): T => trees.reduce(add);
const times = <T>(tree: T, factor: number): T => treeMap((x: Tensor) => x.mul(factor), tree) as T;

/**
 * The Hessian of L, by forward over reverse mode. The model runs on whole batches, so examples may depend on each other.
 */
export function hessianOperator<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batches: Batches<X>,
): LinearOperator<P> {
  const list = listOf(batches);
  const scale = scaleOf(problem, params, list);
  const lossOf =
    (batch: Batch<X>) =>
    (at: P): Tensor => {
      const rows = rowsOf(problem.model(at, batch.inputs));
      return problem.loss.value(rows, targetRows(problem, rows, batch.targets)).sum();
    };
  return symmetricOperator("Hessian", params, (v) =>
    times(total(list.map((batch) => hvp(lossOf(batch), params, v))), scale),
  );
}

/** ρ Σ Jᵀ Λ J for a map Λ of the outputs' rows. */
function outputOperator<P, X>(
  name: string,
  problem: CurvatureProblem<P, X>,
  params: P,
  batches: Batches<X>,
  middle: (rows: Tensor, direction: Tensor, batch: Batch<X>, index: number) => Tensor,
): LinearOperator<P> {
  const list = listOf(batches);
  const scale = scaleOf(problem, params, list);
  return symmetricOperator(name, params, (v) => {
    const parts = list.map((batch, index) => {
      const run = (at: P): Tensor => rowsOf(problem.model(at, batch.inputs));
      const [rows, direction] = jvp(run, [params], [v]);
      const [, pull] = vjp(run, params);
      return pull(middle(rows, direction, batch, index))[0];
    });
    return times(total(parts), scale);
  });
}

/** The generalised Gauss-Newton matrix of L; for likelihoods of exponential families it is the Fisher matrix (type 2). */
export const ggnOperator = <P, X>(problem: CurvatureProblem<P, X>, params: P, batches: Batches<X>): LinearOperator<P> =>
  outputOperator("GGN", problem, params, batches, (rows, direction) => problem.loss.hessianProduct(rows, direction));

export interface FisherOperatorOptions {
  /** Gradients at targets that the model draws, or at those of the data. */
  readonly kind: "mc" | "empirical";
  /** Targets drawn for every loss term. Default 1. */
  readonly draws?: number;
  /** For `"mc"`: the same key gives the same operator. */
  readonly key?: Key;
  /** For `"mc"`, instead of a key: targets that were drawn before, one tensor `[draws, N, …]` for each batch. */
  readonly targets?: readonly Tensor[];
}

/**
 * ρ Σ g gᵀ over loss terms, g the gradient of one term: the Fisher matrix from drawn targets, or the uncentred covariance
 * of gradients (`"empirical"`), which is no Fisher matrix at all. Type 2 is {@link ggnOperator}.
 *
 * @throws ArgumentError for `"mc"` without key and targets.
 */
export function fisherOperator<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batches: Batches<X>,
  { kind, draws = 1, key, targets }: FisherOperatorOptions,
): LinearOperator<P> {
  const list = listOf(batches);
  if (kind === "mc" && key === undefined && targets === undefined) {
    throw new ArgumentError('fisherOperator: kind "mc" draws targets. Pass a key, or the targets.');
  }
  const keys = key === undefined ? undefined : splitKeys(key, list.length);
  const gradientsOf = (rows: Tensor, batch: Batch<X>, index: number): Tensor => {
    if (kind === "empirical")
      return problem.loss.gradient(rows, targetRows(problem, rows, batch.targets)).expandDims(0);
    const given = targets?.[index];
    const count = given?.shape[0] ?? draws;
    const many = rows.expand([count, ...rows.shape]);
    const [terms, features] = rows.shape as [number, number];
    const shape = problem.loss.target === "scalar" ? [count, terms] : [count, terms, features];
    const drawn = given?.reshape(shape) ?? problem.loss.drawTargets(many, keys?.[index] as Key);
    return problem.loss.gradient(many, drawn).mul(1 / Math.sqrt(count));
  };
  return outputOperator(`${kind} Fisher`, problem, params, list, (rows, direction, batch, index) => {
    const gradients = gradientsOf(rows, batch, index);
    const along = gradients.mul(direction).sum({ axis: -1, keepDims: true });
    return gradients.mul(along).sum({ axis: 0 });
  });
}

/** The Jacobian of all outputs of a batch, from trees like the parameters to a tensor like the outputs. */
export function jacobianOperator<P, X>(
  { model }: Pick<CurvatureProblem<P, X>, "model">,
  params: P,
  inputs: X,
): LinearOperator<P, Tensor> {
  const run = (at: P): Tensor => model(at, inputs);
  return {
    name: "Jacobian",
    domain: params,
    range: run(params),
    apply: (v) => linearize(run, params)[1](v),
    applyTranspose: (u) => vjp(run, params)[1](u)[0],
  };
}

/** The neural tangent kernel J Jᵀ on tensors like the outputs: two products, no Jacobian. */
export function ntkOperator<P, X>(
  problem: Pick<CurvatureProblem<P, X>, "model">,
  params: P,
  inputs: X,
): LinearOperator<Tensor> {
  const jacobian = jacobianOperator(problem, params, inputs);
  return symmetricOperator("NTK", jacobian.range, (u) => jacobian.apply(jacobian.applyTranspose(u)));
}

/**
 * The kernel J Jᵀ itself, `[N, O, N, O]` for the O outputs of each of N examples, from inner products of their rows of J:
 * those of dense layers need no row. With `others` between the two sets of inputs, `[N, O, N', O]`.
 */
export function ntkMatrix<P, X>(
  problem: Pick<CurvatureProblem<P, X>, "model">,
  params: P,
  inputs: X,
  { others }: { readonly others?: X } = {},
): Tensor {
  const rowsOf = (examples: X): Tensor[] =>
    treeLeaves<Tensor>(
      vmap((example: X): P => {
        const [outputs, pull] = vjp((at: P) => exampleOutputs(problem, at, example).flatten(), params);
        return vmap((unit: Tensor) => pull(unit)[0])(eye(outputs.size));
      })(examples),
    );
  const rows = rowsOf(inputs);
  const columns = others === undefined ? rows : rowsOf(others);
  const products = rows.map((own, leaf) => {
    const rest = own.shape.slice(2).map((_, axis) => axis + 2);
    return own.dot(columns[leaf] as Tensor, { contract: [rest, rest] });
  });
  return total(products);
}

export interface CovarianceOptions {
  /** Subtract the mean gradient? Default false. */
  readonly centred?: boolean;
}

/**
 * (1/N) Σ g gᵀ of the gradients of whole examples: the uncentred covariance, or the covariance. Where an example has
 * several loss terms it keeps their cross terms, which the empirical Fisher of {@link fisherOperator} leaves out.
 *
 * A product is one forward derivative of all losses and one backward pass: no gradient of an example is stored.
 */
export function gradientCovarianceOperator<P, E>(
  loss: ExampleLoss<P, E>,
  params: P,
  examples: E,
  { centred = false }: CovarianceOptions = {},
): LinearOperator<P> {
  const losses = (at: P): Tensor => vmap((own: P, example: E) => loss(own, example), { in: [null, 0] })(at, examples);
  return symmetricOperator("gradient covariance", params, (v) => {
    const [values, slopes] = jvp(losses, [params], [v]);
    const [, pull] = vjp(losses, params);
    return pull((centred ? slopes.sub(slopes.mean()) : slopes).div(values.size))[0];
  });
}
