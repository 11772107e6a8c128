/** Curvature as linear operators: products with matrices that are never formed. */
import { hvp, jvp, linearize, vjp } from "@thalweg/autograd";
import {
  ArgumentError,
  type Key,
  linalg,
  type Shape,
  sizeOf,
  splitKeys,
  type Tensor,
  treeFlatten,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";
import type { Block } from "../kronecker/blocks";
import { blockMatrix, fromBlockMatrix } from "../kronecker/damping";
import type { DiagonalFactors, Factors, MatrixFactors, UnitwiseFactors } from "../kronecker/factors";
import { type Batch, batchSize, type CurvatureProblem } from "../problem";
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

/** Kronecker-factored curvature as an operator, with what its factors give for free. */
export interface KroneckerOperator<P> extends LinearOperator<P> {
  /** tr A · tr B, summed over blocks: scalar. */
  readonly trace: Tensor;
  /** Of all blocks together: scalar. */
  readonly frobenius: Tensor;
  /** log det (C + λ I): scalar, by eigenvalues. */
  logDeterminant(lambda: Tensor | number): Tensor;
}

/** The block-diagonal curvature of factors: B G A for layers. */
export function kroneckerOperator<P>(blocks: readonly Block[], factors: Factors, params: P): KroneckerOperator<P> {
  const grouped = (x: Tensor) => (x.rank === 3 ? x : x.expandDims(0));
  const dense = (x: Tensor): Tensor => (x.rank === 1 ? x.reshape([1, 1, x.size]) : grouped(x));
  const traceOf = (x: Tensor): Tensor => (x.rank === 1 ? x.sum() : onDiagonal(grouped(x)).sum({ axis: -1 }));
  const squares = (x: Tensor): Tensor =>
    x.rank === 1
      ? x.square().sum()
      : grouped(x)
          .square()
          .sum({ axis: [1, 2] });
  const eigenvalues = (x: Tensor): Tensor => (x.rank === 1 ? x.reshape([1, x.size]) : linalg.eigh(grouped(x)).values);
  const own = blocks.map((block) => ({ block, of: factors[block.name] }));
  const sumOver = (
    layer: (f: MatrixFactors) => Tensor,
    pair: (f: UnitwiseFactors) => Tensor,
    single: (f: DiagonalFactors) => Tensor,
  ) =>
    own
      .map(({ of }) => {
        if (of === undefined) throw new ArgumentError("kroneckerOperator: the factors lack a block.");
        return "a" in of ? layer(of) : "scale" in of ? pair(of) : single(of);
      })
      .reduce((one, other) => one.add(other));
  return {
    ...symmetricOperator("K-FAC", params, (v: P) => {
      const { leaves, structure } = treeFlatten<Tensor>(v);
      const results = [...leaves];
      for (const { block, of } of own) {
        if (block.kind === "kronecker" || block.kind === "embedding") {
          const { a, b } = of as MatrixFactors;
          const turned = grouped(b).matmul(blockMatrix(block, leaves));
          fromBlockMatrix(block, a.rank === 1 ? turned.mul(dense(a)) : turned.matmul(dense(a)), results);
        } else if (block.kind === "unitwise") {
          const { scale, cross, shift } = of as UnitwiseFactors;
          const [g, h] = [leaves[block.scale.index], leaves[block.shift.index]] as [Tensor, Tensor];
          results[block.scale.index] = scale.mul(g).add(cross.mul(h));
          results[block.shift.index] = cross.mul(g).add(shift.mul(h));
        } else {
          const { index } = block.parameter;
          results[index] = (leaves[index] as Tensor).mul((of as DiagonalFactors).diagonal);
        }
      }
      return treeUnflatten(structure, results) as P;
    }),
    trace: sumOver(
      ({ a, b }) => traceOf(a).mul(traceOf(b)).sum(),
      ({ scale, shift }) => scale.add(shift).sum(),
      ({ diagonal }) => diagonal.sum(),
    ),
    frobenius: sumOver(
      ({ a, b }) => squares(a).mul(squares(b)).sum(),
      ({ scale, cross, shift }) => scale.square().add(cross.square().mul(2)).add(shift.square()).sum(),
      ({ diagonal }) => diagonal.square().sum(),
    ).sqrt(),
    logDeterminant: (lambda) =>
      sumOver(
        ({ a, b }) =>
          eigenvalues(b).maximum(0).expandDims(2).mul(eigenvalues(a).maximum(0).expandDims(1)).add(lambda).log().sum(),
        ({ scale, cross, shift }) => scale.add(lambda).mul(shift.add(lambda)).sub(cross.square()).log().sum(),
        ({ diagonal }) => diagonal.add(lambda).log().sum(),
      ),
  };
}

/** The diagonals of matrices in the last two axes. */
function onDiagonal(x: Tensor): Tensor {
  const shape: Shape = x.shape;
  return x
    .iotaLike(shape.length - 1)
    .equal(x.iotaLike(shape.length - 2))
    .where(x, 0)
    .sum({ axis: -1 });
}
