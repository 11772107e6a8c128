/** Solves with damped factors: U with (B ⊗ A + λ I) U = G, or what the damping rule puts in its place. */
import {
  ArgumentError,
  concat,
  eye,
  full,
  linalg,
  nearestName,
  type Tensor,
  treeFlatten,
  treeUnflatten,
} from "@thalweg/tensor";
import { atLeast, nonNegative } from "../clipping";
import type { Block, EmbeddingBlock, KroneckerBlock } from "./blocks";
import type { BlockFactors, DiagonalFactors, Factors, MatrixFactors, UnitwiseFactors } from "./factors";

/**
 * How λ meets the factors.
 *
 * - `"heuristicPi"`: π √λ on A and √λ / π on B, π² the ratio of their mean eigenvalues: Martens and Grosse, section 6.3.
 * - `"sqrtBoth"`: √λ on both.
 * - `"addToEachFactor"`: λ on both.
 * - `"exactKronecker"`: λ on the product, by eigendecompositions.
 */
export type DampingRule = "heuristicPi" | "sqrtBoth" | "addToEachFactor" | "exactKronecker";

export const dampingRules: readonly DampingRule[] = ["heuristicPi", "sqrtBoth", "addToEachFactor", "exactKronecker"];

/** Which power of the damped curvature multiplies gradients: -1, or -1/2, which is to natural gradients what Adam is to them. */
export type CurvaturePower = "inverse" | "inverseRoot";

export const curvaturePowers: readonly CurvaturePower[] = ["inverse", "inverseRoot"];

/** The least that is added to the diagonal of a factor. */
const leastDamping = 1e-8;

/**
 * What is added to a factor is at least this part of its largest eigenvalue: beyond a condition of 1e6 an inverse in f32 has
 * no digits.
 */
const leastRelativeDamping = 2 ** -20;

/** The same for products of eigenvalues, of which f32 knows no more than this part of the largest. */
const leastRelativeValue = 2 ** -22;

/** Factors with their damping, to the power -1 (or -1/2). */
export type FactoredInverse = { readonly aInverse: Tensor; readonly bInverse: Tensor };

/** Eigenvectors in columns, and the curvature along their pairs. */
export type Eigenbasis = {
  /** `[groups, in, in]`; null where A is diagonal. */
  readonly qa: Tensor | null;
  /** `[groups, out, out]`. */
  readonly qb: Tensor;
  /** `[groups, out, in]`: products of eigenvalues, or second moments (EKFAC). */
  readonly values: Tensor;
};

export type BlockInverse = FactoredInverse | Eigenbasis | UnitwiseFactors | DiagonalFactors;

export type Inverses = Readonly<Record<string, BlockInverse>>;

const grouped = (matrix: Tensor, rank: number): Tensor => (matrix.rank === rank ? matrix : matrix.expandDims(0));

/** The mean of the diagonals of all groups' matrices, one number per group: `[groups, 1, 1]`. */
function meanDiagonal(matrix: Tensor): Tensor {
  const own = matrix.mul(eye(matrix.shape.at(-1) as number)).sum({ axis: [1, 2], keepDims: true });
  return own.div(matrix.shape.at(-1) as number);
}

/**
 * What every step needs of the curvature: the expensive part, for as long as factors and λ stay.
 *
 * @param damping λ, a scalar.
 * @throws ArgumentError for an unknown rule.
 */
export function invertFactors(
  blocks: readonly Block[],
  factors: Factors,
  damping: Tensor,
  rule: DampingRule,
  power: CurvaturePower = "inverse",
): Inverses {
  const inverted = blocks.map((block) => [block.name, invertBlock(block, factors, damping, rule, power).inverse]);
  return Object.fromEntries(inverted);
}

/** The inverse of a block, and what is worth knowing of it: scalars, computed only where they are read. */
export interface InvertedBlock {
  readonly inverse: BlockInverse;
  /** π of the damping; 1 where the rule has none. Of several groups the mean. */
  readonly pi: Tensor;
  /** An estimate of the condition number of the damped block, the largest of all groups: in the 1-norm for factors, else by eigenvalues. */
  readonly condition: Tensor;
  /**
   * The part of the eigenvalues that are zero, or were negative by rounding and count as zero; of inverted factors, whose
   * eigenvalues nobody knows, the part of the pivots that were too small even with the damping.
   */
  readonly clipped: Tensor;
}

/** {@link invertFactors} for one block, with a report. @throws ArgumentError for an unknown rule. */
export function invertBlock(
  block: Block,
  factors: Factors,
  damping: Tensor,
  rule: DampingRule,
  power: CurvaturePower = "inverse",
): InvertedBlock {
  if (!dampingRules.includes(rule)) {
    const nearest = nearestName(rule, dampingRules);
    throw new ArgumentError(
      `invertFactors: unknown damping rule "${rule}".${nearest === undefined ? "" : ` Did you mean "${nearest}"?`} Known: ` +
        `${dampingRules.join(", ")}.`,
    );
  }
  const own = factors[block.name] as BlockFactors;
  if ("diagonal" in own) return { inverse: own, pi: full([], 1), ...spectrumReport(own.diagonal, damping) };
  if ("cross" in own) return { inverse: own, pi: full([], 1), ...spectrumReport(pairEigenvalues(own), damping) };
  if (rule !== "exactKronecker") return factoredInverse(own, damping, rule, power);
  const inverse = eigenbasis(own);
  return { inverse, pi: full([], 1), ...spectrumReport(inverse.values, damping) };
}

/** Condition and share of zero or negative ones of eigenvalues that meet λ. */
function spectrumReport(values: Tensor, damping: Tensor): Pick<InvertedBlock, "condition" | "clipped"> {
  const [largest, least] = [values.max(), values.min()].map((value) => nonNegative(value).add(damping));
  return {
    condition: (largest as Tensor).div(least as Tensor),
    clipped: values.lessEqual(0).cast("f32").mean(),
  };
}

/** Both eigenvalues of the 2 × 2 matrices. */
function pairEigenvalues({ scale, cross, shift }: UnitwiseFactors): Tensor {
  const middle = scale.add(shift).mul(0.5);
  const radius = scale.sub(shift).mul(0.5).square().add(cross.square()).sqrt();
  return concat([middle.sub(radius), middle.add(radius)].map((x) => x.reshape([-1])));
}

/** The largest absolute row sum of each matrix, no less than its largest eigenvalue: `[groups, 1, 1]`. */
const rowSumNorm = (matrix: Tensor): Tensor =>
  matrix.abs().sum({ axis: 2, keepDims: true }).max({ axis: 1, keepDims: true });

function factoredInverse(
  { a, b }: MatrixFactors,
  damping: Tensor,
  rule: DampingRule,
  power: CurvaturePower,
): InvertedBlock {
  const isDiagonal = a.rank === 1;
  const [left, right] = [isDiagonal ? a : grouped(a, 3), grouped(b, 3)];
  const meanA = isDiagonal ? left.mean().reshape([1, 1, 1]) : meanDiagonal(left);
  const meanB = meanDiagonal(right);
  // Nothing is known where a factor is zero: the product of the damped factors is λ I then.
  const isZero = meanA.lessEqual(0).or(meanB.lessEqual(0));
  const root = damping.sqrt().reshape([1, 1, 1]);
  const pi = rule === "heuristicPi" ? isZero.where(1, meanA.div(isZero.where(1, meanB))).sqrt() : full([1, 1, 1], 1);
  const added = rule === "addToEachFactor" ? damping.reshape([1, 1, 1]) : root;
  const invert = (factor: Tensor, wanted: Tensor) => {
    const known = isZero.where(0, factor);
    const least = rowSumNorm(known).mul(leastRelativeDamping).maximum(leastDamping);
    const ridge = isZero.where(root, wanted).maximum(least);
    const damped = known.add(ridge.mul(eye(factor.shape.at(-1) as number)));
    const count = factor.size / (factor.shape.at(-1) as number);
    if (power === "inverseRoot") {
      const { root: inverse } = linalg.inverseRoot(damped, 2, { ridge: 0 });
      return {
        inverse,
        condition: rowSumNorm(damped).mul(rowSumNorm(inverse.matmul(inverse))),
        replaced: full([], 0),
        count,
      };
    }
    const inverse = linalg.inversePositiveDefinite(damped);
    const { replaced } = linalg.choleskyReport(damped);
    return {
      inverse,
      condition: rowSumNorm(damped).mul(rowSumNorm(inverse)),
      replaced: replaced.cast("f32").sum(),
      count,
    };
  };
  const invertDiagonal = (values: Tensor, wanted: Tensor) => {
    const own = isZero.reshape([]).where(0, values);
    const least = own.max().mul(leastRelativeDamping).maximum(leastDamping).reshape([1, 1, 1]);
    const damped = own.add(isZero.where(root, wanted).maximum(least).reshape([]));
    return {
      inverse: power === "inverse" ? damped.reciprocal() : damped.rsqrt(),
      condition: damped.max().div(damped.min()).reshape([1, 1, 1]),
      replaced: full([], 0),
      count: values.size,
    };
  };
  const ofA = (isDiagonal ? invertDiagonal : invert)(left, added.mul(pi));
  const ofB = invert(right, added.div(pi));
  return {
    inverse: { aInverse: ofA.inverse, bInverse: ofB.inverse },
    pi: pi.mean(),
    condition: ofA.condition.mul(ofB.condition).max(),
    clipped: ofA.replaced.add(ofB.replaced).div(ofA.count + ofB.count),
  };
}

/** The eigenvectors of both factors, with the products of their eigenvalues; what rounding made negative counts as 0. */
export function eigenbasis({ a, b }: MatrixFactors): Eigenbasis {
  const right = linalg.eigh(grouped(b, 3));
  const rows = nonNegative(right.values).expandDims(2);
  if (a.rank === 1) return { qa: null, qb: right.vectors, values: rows.mul(nonNegative(a)) };
  const left = linalg.eigh(grouped(a, 3));
  return { qa: left.vectors, qb: right.vectors, values: rows.mul(nonNegative(left.values).expandDims(1)) };
}

/** `Qbᵀ G Qa`, `[…, groups, out, in]`. */
export const intoBasis = ({ qa, qb }: Pick<Eigenbasis, "qa" | "qb">, matrix: Tensor): Tensor => {
  const turned = qb.transpose().matmul(matrix);
  return qa === null ? turned : turned.matmul(qa);
};

/** The inverse of {@link intoBasis}. */
export const outOfBasis = ({ qa, qb }: Pick<Eigenbasis, "qa" | "qb">, matrix: Tensor): Tensor => {
  const turned = qb.matmul(matrix);
  return qa === null ? turned : turned.matmul(qa.transpose());
};

/** The parameters of a layer's block, or their gradients, as `[groups, out, in]`; a bias is the last input. */
export function blockMatrix(block: KroneckerBlock | EmbeddingBlock, leaves: readonly Tensor[]): Tensor {
  const weight = block.layout.toMatrix(leaves[block.weight.index] as Tensor);
  if (block.kind === "embedding" || block.bias === undefined) return weight;
  const rows = block.bias.rows.toRows(leaves[block.bias.index] as Tensor);
  return concat([weight, rows.expandDims(2)], { axis: 2 });
}

/** Puts a matrix back into the parameters that {@link blockMatrix} took it from. */
export function fromBlockMatrix(block: KroneckerBlock | EmbeddingBlock, matrix: Tensor, leaves: Tensor[]): void {
  const { layout, weight } = block;
  if (block.kind === "embedding" || block.bias === undefined) {
    leaves[weight.index] = layout.fromMatrix(matrix);
    return;
  }
  const [groups, outs] = matrix.shape as [number, number];
  leaves[weight.index] = layout.fromMatrix(matrix.slice([0, 0, 0], [groups, outs, layout.ins]));
  const rows = matrix.slice([0, 0, layout.ins], [groups, outs, layout.ins + 1]).reshape([groups, outs]);
  leaves[block.bias.index] = block.bias.rows.fromRows(rows);
}

/**
 * The gradient (or any tree like the parameters) multiplied by the inverse of the damped curvature, block by block.
 *
 * @param damping λ, a scalar: used here for eigenbases and diagonals; inverses of factors have theirs inside.
 * @param power the one that `inverses` were made for.
 */
export function precondition<P>(
  blocks: readonly Block[],
  inverses: Inverses,
  gradients: P,
  damping: Tensor,
  power: CurvaturePower = "inverse",
): P {
  const { leaves, structure } = treeFlatten<Tensor>(gradients);
  const results = [...leaves];
  for (const block of blocks) {
    const inverse = inverses[block.name] as BlockInverse;
    if (block.kind === "kronecker" || block.kind === "embedding") {
      const solved = solveMatrix(inverse as FactoredInverse | Eigenbasis, blockMatrix(block, leaves), damping, power);
      fromBlockMatrix(block, solved, results);
    } else if (block.kind === "unitwise") {
      const pair = [block.scale, block.shift].map(({ index }) => leaves[index] as Tensor) as [Tensor, Tensor];
      const [g, h] = solvePairs(inverse as UnitwiseFactors, pair, damping, power);
      results[block.scale.index] = g;
      results[block.shift.index] = h;
    } else {
      const { diagonal } = inverse as DiagonalFactors;
      const { index } = block.parameter;
      results[index] = (leaves[index] as Tensor).div(divisor(damped(diagonal, damping), power));
    }
  }
  return treeUnflatten(structure, results) as P;
}

/** Values with λ, or with what f32 can tell from the largest of them. */
const damped = (values: Tensor, damping: Tensor): Tensor =>
  values.add(atLeast(damping, values.max().mul(leastRelativeValue)));

const divisor = (values: Tensor, power: CurvaturePower): Tensor => (power === "inverse" ? values : values.sqrt());

function solveMatrix(
  inverse: FactoredInverse | Eigenbasis,
  gradient: Tensor,
  damping: Tensor,
  power: CurvaturePower,
): Tensor {
  if ("values" in inverse) {
    return outOfBasis(inverse, intoBasis(inverse, gradient).div(divisor(damped(inverse.values, damping), power)));
  }
  const { aInverse, bInverse } = inverse;
  const turned = bInverse.matmul(gradient);
  return aInverse.rank === 1 ? turned.mul(aInverse) : turned.matmul(aInverse);
}

/**
 * The 2 × 2 matrices M = [p c; c q] to the power on pairs (g, h). A root of M is (M + √det M) / √(tr M + 2 √det M), so that
 * M^(-1/2) is a matrix with the same off-diagonal sign as M⁻¹.
 */
function solvePairs(
  { scale, cross, shift }: UnitwiseFactors,
  [g, h]: readonly [Tensor, Tensor],
  damping: Tensor,
  power: CurvaturePower,
): readonly [Tensor, Tensor] {
  const [p, q] = [scale.add(damping), shift.add(damping)];
  // What rounding leaves of the difference must not divide.
  const product = p.mul(q);
  const determinant = atLeast(product.sub(cross.square()), product.mul(leastRelativeDamping));
  const root = determinant.sqrt();
  const [left, right, all] =
    power === "inverse" ? [p, q, determinant] : [p.add(root), q.add(root), root.mul(p.add(q).add(root.mul(2)).sqrt())];
  return [right.mul(g).sub(cross.mul(h)).div(all), left.mul(h).sub(cross.mul(g)).div(all)];
}
