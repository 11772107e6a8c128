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

/** The least that is added to the diagonal of a factor. */
const leastDamping = 1e-8;

/** Factors inverted with their damping. */
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

/** What every step needs of the curvature: the expensive part, for as long as factors and λ stay. @param damping λ, a scalar. */
export function invertFactors(
  blocks: readonly Block[],
  factors: Factors,
  damping: Tensor,
  rule: DampingRule,
): Inverses {
  if (!dampingRules.includes(rule)) {
    const nearest = nearestName(rule, dampingRules);
    throw new ArgumentError(
      `invertFactors: unknown damping rule "${rule}".${nearest === undefined ? "" : ` Did you mean "${nearest}"?`} Known: ` +
        `${dampingRules.join(", ")}.`,
    );
  }
  return Object.fromEntries(
    blocks.map((block) => {
      const own = factors[block.name] as BlockFactors;
      if (!("a" in own)) return [block.name, own];
      return [block.name, rule === "exactKronecker" ? eigenbasis(own) : factoredInverse(own, damping, rule)];
    }),
  );
}

function factoredInverse({ a, b }: MatrixFactors, damping: Tensor, rule: DampingRule): FactoredInverse {
  const isDiagonal = a.rank === 1;
  const [left, right] = [isDiagonal ? a : grouped(a, 3), grouped(b, 3)];
  const meanA = isDiagonal ? left.mean().reshape([1, 1, 1]) : meanDiagonal(left);
  const meanB = meanDiagonal(right);
  // Nothing is known where a factor is zero: the product of the damped factors is λ I then.
  const isZero = meanA.lessEqual(0).or(meanB.lessEqual(0));
  const root = damping.sqrt().reshape([1, 1, 1]);
  const pi = rule === "heuristicPi" ? isZero.where(1, meanA.div(isZero.where(1, meanB))).sqrt() : full([1, 1, 1], 1);
  const added = rule === "addToEachFactor" ? damping.reshape([1, 1, 1]) : root;
  const ridge = (factor: Tensor): Tensor => isZero.where(root, factor).maximum(leastDamping);
  const [ridgeA, ridgeB] = [ridge(added.mul(pi)), ridge(added.div(pi))];
  const invert = (matrix: Tensor, own: Tensor): Tensor => {
    const known = isZero.where(0, matrix);
    return linalg.inversePositiveDefinite(known.add(own.mul(eye(matrix.shape.at(-1) as number))));
  };
  return {
    aInverse: isDiagonal
      ? isZero.reshape([]).where(0, left).add(ridgeA.reshape([])).reciprocal()
      : invert(left, ridgeA),
    bInverse: invert(right, ridgeB),
  };
}

/** The eigenvectors of both factors, with the products of their eigenvalues; what rounding made negative counts as 0. */
export function eigenbasis({ a, b }: MatrixFactors): Eigenbasis {
  const right = linalg.eigh(grouped(b, 3));
  const rows = right.values.maximum(0).expandDims(2);
  if (a.rank === 1) return { qa: null, qb: right.vectors, values: rows.mul(a.maximum(0)) };
  const left = linalg.eigh(grouped(a, 3));
  return { qa: left.vectors, qb: right.vectors, values: rows.mul(left.values.maximum(0).expandDims(1)) };
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
 */
export function precondition<P>(blocks: readonly Block[], inverses: Inverses, gradients: P, damping: Tensor): P {
  const { leaves, structure } = treeFlatten<Tensor>(gradients);
  const results = [...leaves];
  for (const block of blocks) {
    const inverse = inverses[block.name] as BlockInverse;
    if (block.kind === "kronecker" || block.kind === "embedding") {
      fromBlockMatrix(
        block,
        solveMatrix(inverse as FactoredInverse | Eigenbasis, blockMatrix(block, leaves), damping),
        results,
      );
    } else if (block.kind === "unitwise") {
      const { scale, cross, shift } = inverse as UnitwiseFactors;
      const [p, q] = [scale.add(damping), shift.add(damping)];
      const [g, h] = [block.scale, block.shift].map(({ index }) => leaves[index] as Tensor) as [Tensor, Tensor];
      const determinant = p.mul(q).sub(cross.square());
      results[block.scale.index] = q.mul(g).sub(cross.mul(h)).div(determinant);
      results[block.shift.index] = p.mul(h).sub(cross.mul(g)).div(determinant);
    } else {
      const { diagonal } = inverse as DiagonalFactors;
      const { index } = block.parameter;
      results[index] = (leaves[index] as Tensor).div(diagonal.add(damping));
    }
  }
  return treeUnflatten(structure, results) as P;
}

function solveMatrix(inverse: FactoredInverse | Eigenbasis, gradient: Tensor, damping: Tensor): Tensor {
  if ("values" in inverse) {
    return outOfBasis(inverse, intoBasis(inverse, gradient).div(inverse.values.add(damping)));
  }
  const { aInverse, bInverse } = inverse;
  const turned = bInverse.matmul(gradient);
  return aInverse.rank === 1 ? turned.mul(aInverse) : turned.matmul(aInverse);
}
