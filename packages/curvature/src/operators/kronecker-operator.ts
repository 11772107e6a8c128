/** Kronecker-factored curvature as operators, with what factors and eigenbases give without products. */
import { vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  type Key,
  linalg,
  normal,
  splitKeys,
  type Tensor,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
} from "@thalweg/tensor";
import { nonNegative } from "../clipping";
import type { Block } from "../kronecker/blocks";
import {
  blockMatrix,
  type Eigenbasis,
  eigenbasis,
  fromBlockMatrix,
  type Inverses,
  intoBasis,
  outOfBasis,
  precondition,
} from "../kronecker/damping";
import type { DiagonalFactors, Factors, MatrixFactors, UnitwiseFactors } from "../kronecker/factors";
import { type LinearOperator, symmetricOperator } from "./linear-operator";

/** The block-diagonal curvature C of Kronecker blocks, 2 × 2 blocks and diagonals. */
export interface KroneckerOperator<P> extends LinearOperator<P> {
  /** Scalar. */
  readonly trace: Tensor;
  /** Of all blocks together: scalar. */
  readonly frobenius: Tensor;
  /** log det (C + λ I): scalar, by eigenvalues. */
  logDeterminant(lambda: Tensor | number): Tensor;
  /**
   * (C + λ I)^p, by eigenvalues: the inverse for p = -1, square roots for ½ and -½. Negative eigenvalues, which are rounding,
   * count as 0. @param lambda Default 0.
   */
  power(exponent: number, lambda?: Tensor | number): LinearOperator<P>;
  /** Draws of N(0, (C + λ I)⁻¹), a tree of `[count, …parameter]`. */
  sample(key: Key, options: { readonly lambda: Tensor | number; readonly count?: number }): P;
}

/** The curvature of Kronecker factors: B G A for layers. */
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
  const own = partsOf(blocks, factors);
  const bases = (): Inverses =>
    Object.fromEntries(own.map(({ block, of }) => [block.name, "a" in of ? eigenbasis(of) : of]));
  return {
    ...symmetricOperator("K-FAC", params, (v: P) =>
      onBlocks(
        own,
        v,
        (matrix, { a, b }) => {
          const turned = grouped(b).matmul(matrix);
          return a.rank === 1 ? turned.mul(dense(a)) : turned.matmul(dense(a));
        },
        (pair) => pair,
        (diagonal) => diagonal,
      ),
    ),
    trace: sumOver(
      own,
      ({ a, b }) => traceOf(a).mul(traceOf(b)).sum(),
      ({ scale, shift }) => scale.add(shift).sum(),
      (diagonal) => diagonal.sum(),
    ),
    frobenius: sumOver(
      own,
      ({ a, b }) => squares(a).mul(squares(b)).sum(),
      ({ scale, cross, shift }) => scale.square().add(cross.square().mul(2)).add(shift.square()).sum(),
      (diagonal) => diagonal.square().sum(),
    ).sqrt(),
    logDeterminant: (lambda) =>
      sumOver(
        own,
        ({ a, b }) =>
          nonNegative(eigenvalues(b))
            .expandDims(2)
            .mul(nonNegative(eigenvalues(a)).expandDims(1))
            .add(lambda)
            .log()
            .sum(),
        ({ scale, cross, shift }) => scale.add(lambda).mul(shift.add(lambda)).sub(cross.square()).log().sum(),
        (diagonal) => diagonal.add(lambda).log().sum(),
      ),
    power: (exponent, lambda = 0) => powerOf("K-FAC", blocks, bases(), params, exponent, lambda),
    sample: (key, options) => sampleOf("K-FAC", blocks, bases(), params, key, options),
  };
}

/**
 * The curvature in given eigenbases: that of `Evaluation.correct` is EKFAC.
 *
 * @param bases Of `invertFactors` with the rule `"exactKronecker"`, or corrected ones.
 * @throws ArgumentError for inverses by another rule.
 */
export function eigenbasisOperator<P>(blocks: readonly Block[], bases: Inverses, params: P): KroneckerOperator<P> {
  const own = partsOf(blocks, asBases(bases));
  const logs = (x: Tensor, lambda: Tensor | number): Tensor => nonNegative(x).add(lambda).log().sum();
  return {
    ...symmetricOperator("EKFAC", params, (v: P) =>
      onBlocks(
        own,
        v,
        (matrix, basis) => outOfBasis(basis, intoBasis(basis, matrix).mul(basis.values)),
        (pair) => pair,
        (diagonal) => diagonal,
      ),
    ),
    trace: sumOver(
      own,
      ({ values }) => values.sum(),
      ({ scale, shift }) => scale.add(shift).sum(),
      (diagonal) => diagonal.sum(),
    ),
    frobenius: sumOver(
      own,
      ({ values }) => values.square().sum(),
      ({ scale, cross, shift }) => scale.square().add(cross.square().mul(2)).add(shift.square()).sum(),
      (diagonal) => diagonal.square().sum(),
    ).sqrt(),
    logDeterminant: (lambda) =>
      sumOver(
        own,
        ({ values }) => logs(values, lambda),
        ({ scale, cross, shift }) => scale.add(lambda).mul(shift.add(lambda)).sub(cross.square()).log().sum(),
        (diagonal) => logs(diagonal, lambda),
      ),
    power: (exponent, lambda = 0) => powerOf("EKFAC", blocks, bases, params, exponent, lambda),
    sample: (key, options) => sampleOf("EKFAC", blocks, bases, params, key, options),
  };
}

/**
 * The inverse of damped curvature by any damping rule: `precondition` as an operator, for example to precondition
 * conjugate gradients with.
 *
 * @param damping λ, as for `precondition`.
 */
export const inverseKroneckerOperator = <P>(
  blocks: readonly Block[],
  inverses: Inverses,
  params: P,
  damping: Tensor,
): LinearOperator<P> => symmetricOperator("inverse K-FAC", params, (v) => precondition(blocks, inverses, v, damping));

interface Part<M> {
  readonly block: Block;
  readonly of: M | UnitwiseFactors | DiagonalFactors;
}

function partsOf<M>(
  blocks: readonly Block[],
  all: Readonly<Record<string, M | UnitwiseFactors | DiagonalFactors>>,
): readonly Part<M>[] {
  return blocks.map((block) => {
    const of = all[block.name];
    if (of === undefined) throw new ArgumentError(`kroneckerOperator: the factors lack the block ${block.name}.`);
    return { block, of };
  });
}

function asBases(inverses: Inverses): Readonly<Record<string, Eigenbasis | UnitwiseFactors | DiagonalFactors>> {
  return Object.fromEntries(
    Object.entries(inverses).map(([name, own]) => {
      if (!("aInverse" in own)) return [name, own];
      throw new ArgumentError(
        `eigenbasisOperator: ${name} has inverted factors and no eigenbasis. Invert with the rule "exactKronecker".`,
      );
    }),
  );
}

function sumOver<M extends MatrixFactors | Eigenbasis>(
  parts: readonly Part<M>[],
  layer: (of: M) => Tensor,
  pair: (of: UnitwiseFactors) => Tensor,
  single: (diagonal: Tensor) => Tensor,
): Tensor {
  return parts
    .map(({ of }) => {
      if ("diagonal" in of) return single(of.diagonal);
      return "scale" in of ? pair(of) : layer(of);
    })
    .reduce((one, other) => one.add(other));
}

/** A product with every block: matrices of layers by a function, pairs and diagonals by what stands in their place. */
function onBlocks<P, M extends MatrixFactors | Eigenbasis>(
  parts: readonly Part<M>[],
  v: P,
  layer: (matrix: Tensor, of: M) => Tensor,
  pair: (of: UnitwiseFactors) => UnitwiseFactors,
  single: (diagonal: Tensor) => Tensor,
): P {
  const { leaves, structure } = treeFlatten<Tensor>(v);
  const results = [...leaves];
  for (const { block, of } of parts) {
    if (block.kind === "kronecker" || block.kind === "embedding") {
      fromBlockMatrix(block, layer(blockMatrix(block, leaves), of as M), results);
    } else if (block.kind === "unitwise") {
      const { scale, cross, shift } = pair(of as UnitwiseFactors);
      const [g, h] = [leaves[block.scale.index], leaves[block.shift.index]] as [Tensor, Tensor];
      results[block.scale.index] = scale.mul(g).add(cross.mul(h));
      results[block.shift.index] = cross.mul(g).add(shift.mul(h));
    } else {
      const { index } = block.parameter;
      results[index] = (leaves[index] as Tensor).mul(single((of as DiagonalFactors).diagonal));
    }
  }
  return treeUnflatten(structure, results) as P;
}

function powerOf<P>(
  name: string,
  blocks: readonly Block[],
  bases: Inverses,
  params: P,
  exponent: number,
  lambda: Tensor | number,
): LinearOperator<P> {
  const parts = partsOf(blocks, asBases(bases));
  const raised = (values: Tensor): Tensor => nonNegative(values).add(lambda).pow(exponent);
  return symmetricOperator(`(${name} + λ)^${exponent}`, params, (v) =>
    onBlocks(
      parts,
      v,
      (matrix, basis) => outOfBasis(basis, intoBasis(basis, matrix).mul(raised(basis.values))),
      (pair) => ofPair(pair, raised),
      raised,
    ),
  );
}

/** A function of symmetric 2 × 2 matrices by their eigenvalues m ± r. */
function ofPair({ scale, cross, shift }: UnitwiseFactors, f: (values: Tensor) => Tensor): UnitwiseFactors {
  const mean = scale.add(shift).mul(0.5);
  const half = scale.sub(shift).mul(0.5);
  const radius = half.square().add(cross.square()).sqrt();
  const safe = radius.equal(0).where(1, radius);
  const [high, low] = [f(mean.add(radius)), f(mean.sub(radius))];
  const [middle, spread] = [high.add(low).mul(0.5), high.sub(low).mul(0.5)];
  const along = spread.mul(half.div(safe));
  return { scale: middle.add(along), cross: spread.mul(cross.div(safe)), shift: middle.sub(along) };
}

function sampleOf<P>(
  name: string,
  blocks: readonly Block[],
  bases: Inverses,
  params: P,
  key: Key,
  { lambda, count = 1 }: { readonly lambda: Tensor | number; readonly count?: number },
): P {
  const root = powerOf(name, blocks, bases, params, -0.5, lambda);
  const { structure } = treeFlatten<Tensor>(params);
  const leaves = treeLeaves<Tensor>(params);
  const keys = splitKeys(key, leaves.length);
  const normals = leaves.map(({ shape }, index) => normal(keys[index] as Key, [count, ...shape]));
  return vmap((z: P) => root.apply(z))(treeUnflatten(structure, normals) as P);
}

/** The diagonals of matrices in the last two axes. */
function onDiagonal(x: Tensor): Tensor {
  return x
    .iotaLike(x.rank - 1)
    .equal(x.iotaLike(x.rank - 2))
    .where(x, 0)
    .sum({ axis: -1 });
}
