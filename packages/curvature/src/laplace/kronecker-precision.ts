/** Precisions of Laplace posteriors as Kronecker products. */
import { vmap } from "@thalweg/autograd";
import { type Key, linalg, type Tensor } from "@thalweg/tensor";
import { nonNegative } from "../clipping";
import type { Block, EmbeddingBlock, KroneckerBlock } from "../kronecker/blocks";
import { blockMatrix, fromBlockMatrix } from "../kronecker/damping";
import type { BlockFactors, DiagonalFactors, MatrixFactors, UnitwiseFactors } from "../kronecker/factors";
import type { HeadLayer } from "./head";
import { type HeadCovariance, logOf, logRatio, normals, type Precision, type Prior, total, withOne } from "./precision";

/** A matrix of parameters with the eigenvectors and eigenvalues of its block. */
interface EigenPart {
  /** `[groups, in, in]`; null for a diagonal A. */
  readonly qa: Tensor | null;
  readonly qb: Tensor;
  /** `[groups, out, in]`. */
  readonly values: Tensor;
  /** Those of A and B, `[…, 1, in]` and `[…, out, 1]`, whose product they are; undefined without an A. */
  readonly sides?: readonly [a: Tensor, b: Tensor];
  /** Position of the tensor whose δ it has. */
  readonly index: number;
  readonly take: (leaves: readonly Tensor[]) => Tensor;
  readonly put: (matrix: Tensor, leaves: Tensor[]) => void;
}

/** All Kronecker blocks of one layer's weight, and with it or apart from it the bias. */
function layerParts(
  block: KroneckerBlock | EmbeddingBlock,
  { a, b }: MatrixFactors,
  bias: "joint" | "separate",
): EigenPart[] {
  const batched = (x: Tensor) => (x.rank === 3 ? x : x.expandDims(0));
  const right = linalg.eigh(batched(b));
  const valuesB = nonNegative(right.values).expandDims(2);
  const part = (factor: Tensor, own: Pick<EigenPart, "take" | "put" | "index">): EigenPart => {
    const left = factor.rank === 1 ? null : linalg.eigh(batched(factor));
    const valuesA = left === null ? nonNegative(factor).reshape([1, 1, -1]) : nonNegative(left.values).expandDims(1);
    return {
      ...own,
      qa: left?.vectors ?? null,
      qb: right.vectors,
      values: valuesB.mul(valuesA),
      sides: [valuesA, valuesB],
    };
  };
  const { weight, layout } = block;
  if (block.kind === "embedding" || block.bias === undefined || bias === "joint") {
    return [
      part(a, {
        index: weight.index,
        take: (leaves) => blockMatrix(block, leaves),
        put: (matrix, leaves) => fromBlockMatrix(block, matrix, leaves),
      }),
    ];
  }
  const inputs = batched(a).slice([0, 0, 0], [layout.groups, layout.ins, layout.ins]);
  const { index, rows } = block.bias;
  return [
    part(inputs, {
      index: weight.index,
      take: (leaves) => layout.toMatrix(leaves[weight.index] as Tensor),
      put: (matrix, leaves) => {
        leaves[weight.index] = layout.fromMatrix(matrix);
      },
    }),
    {
      qa: null,
      qb: right.vectors,
      values: valuesB,
      index,
      take: (leaves) => rows.toRows(leaves[index] as Tensor).expandDims(2),
      put: (matrix, leaves) => {
        leaves[index] = rows.fromRows(matrix.reshape(matrix.shape.slice(0, 2)));
      },
    },
  ];
}

const turn = ({ qa, qb }: EigenPart, matrix: Tensor): Tensor => {
  const turned = qb.transpose().matmul(matrix);
  return qa === null ? turned : turned.matmul(qa);
};

const turnBack = ({ qa, qb }: Pick<EigenPart, "qa" | "qb">, matrix: Tensor): Tensor => {
  const turned = qb.matmul(matrix);
  return qa === null ? turned : turned.matmul(qa.transpose());
};

/** The diagonal of Q diag(values) Qᵀ, Q the product of the eigenvectors. */
const onDiagonal = ({ qa, qb }: EigenPart, values: Tensor): Tensor =>
  turnBack({ qa: qa?.square() ?? null, qb: qb.square() }, values);

interface Pair {
  readonly scale: number;
  readonly shift: number;
  readonly h: UnitwiseFactors;
}

/**
 * How δ meets a Kronecker product s B ⊗ A: as s B ⊗ A + δ I, or √δ on each factor, (√s B + √δ I) ⊗ (√s A + √δ I), which is
 * damped by √(s δ) (B ⊗ I + I ⊗ A) more.
 */
export type LaplaceDampingRule = "exactKronecker" | "sqrtBoth";

/**
 * H as Kronecker products, by their eigenvalues, which are found once: every other prior or noise is elementwise after
 * that. δ has to be one number for each tensor, and one for weight and bias of a joint block.
 */
export function kroneckerPrecision(
  blocks: readonly Block[],
  factors: Readonly<Record<string, BlockFactors>>,
  bias: "joint" | "separate",
  rule: LaplaceDampingRule,
): Precision {
  const parts: EigenPart[] = [];
  const diagonal = new Map<number, Tensor>();
  const pairs: Pair[] = [];
  const shapes: (readonly number[])[] = [];
  for (const block of blocks) {
    const own = factors[block.name] as BlockFactors;
    if (block.kind === "kronecker" || block.kind === "embedding") {
      parts.push(...layerParts(block, own as MatrixFactors, bias));
      shapes[block.weight.index] = block.weight.shape;
      if (block.kind === "kronecker" && block.bias !== undefined) shapes[block.bias.index] = block.bias.shape;
    } else if (block.kind === "unitwise") {
      pairs.push({ scale: block.scale.index, shift: block.shift.index, h: own as UnitwiseFactors });
      shapes[block.scale.index] = block.scale.shape;
      shapes[block.shift.index] = block.shift.shape;
    } else {
      diagonal.set(block.parameter.index, (own as DiagonalFactors).diagonal);
      shapes[block.parameter.index] = block.parameter.shape;
    }
  }
  const pairAt = ({ scale, shift, h }: Pair, { delta, factor }: Prior) => {
    const p = h.scale.mul(factor).add(delta[scale] as Tensor);
    const q = h.shift.mul(factor).add(delta[shift] as Tensor);
    const c = h.cross.mul(factor);
    return { p, q, c, determinant: p.mul(q).sub(c.square()) };
  };
  /** What the determinant of a pair has beyond that of the prior, relative to it. */
  const pairExcess = ({ scale, shift, h }: Pair, { delta, factor }: Prior): Tensor => {
    const [first, second] = [delta[scale] as Tensor, delta[shift] as Tensor];
    const [a, b] = [h.scale.mul(factor).div(first), h.shift.mul(factor).div(second)];
    const cross = h.cross.square().mul(factor.square()).div(first).div(second);
    return a.add(b).add(nonNegative(a.mul(b).sub(cross)));
  };
  const diagonalAt = (index: number, h: Tensor, { delta, factor }: Prior) => h.mul(factor).add(delta[index] as Tensor);
  const sidesOf = ({ sides }: EigenPart) => (rule === "sqrtBoth" ? sides : undefined);
  /** Eigenvalues of the factors with their √δ. */
  const sidesAt = (sides: readonly [Tensor, Tensor], index: number, { delta, factor }: Prior) =>
    sides.map((side) => side.mul(factor.sqrt()).add((delta[index] as Tensor).sqrt())) as [Tensor, Tensor];
  const valuesAt = (part: EigenPart, prior: Prior): Tensor => {
    const sides = sidesOf(part);
    if (sides === undefined) return part.values.mul(prior.factor).add(prior.delta[part.index] as Tensor);
    const [a, b] = sidesAt(sides, part.index, prior);
    return b.mul(a);
  };
  const logRatioOf = (part: EigenPart, { log, logFactor }: Prior): Tensor => {
    const [own, sides] = [log[part.index] as Tensor, sidesOf(part)];
    if (sides === undefined) return logRatio(part.values, logFactor, own);
    const [a, b] = sides.map((side) => logRatio(side, logFactor.mul(0.5), own.mul(0.5))) as [Tensor, Tensor];
    return b.add(a);
  };
  /** How the logarithm of P grows with that of s: s H / P, where δ stands on the product. */
  const determinedOf = (part: EigenPart, prior: Prior): Tensor => {
    const sides = sidesOf(part);
    if (sides === undefined) return part.values.mul(prior.factor).div(valuesAt(part, prior));
    const damped = sidesAt(sides, part.index, prior);
    const [a, b] = sides.map((side, index) => side.mul(prior.factor.sqrt()).div(damped[index] as Tensor)) as [
      Tensor,
      Tensor,
    ];
    return b.add(a).mul(0.5);
  };

  const solveOne = (vector: readonly Tensor[], prior: Prior): Tensor[] => {
    const result = [...vector];
    for (const part of parts) {
      part.put(turnBack(part, turn(part, part.take(vector)).div(valuesAt(part, prior))), result);
    }
    for (const pair of pairs) {
      const { p, q, c, determinant } = pairAt(pair, prior);
      const [g, h] = [vector[pair.scale], vector[pair.shift]] as [Tensor, Tensor];
      result[pair.scale] = q.mul(g).sub(c.mul(h)).div(determinant);
      result[pair.shift] = p.mul(h).sub(c.mul(g)).div(determinant);
    }
    for (const [index, h] of diagonal) result[index] = (vector[index] as Tensor).div(diagonalAt(index, h, prior));
    return result;
  };

  return {
    tensors: [
      ...parts.flatMap((part) => [
        ...(part.qa === null ? [] : [part.qa]),
        part.qb,
        ...(sidesOf(part) ?? [part.values]),
      ]),
      ...pairs.flatMap(({ h }) => [h.scale, h.cross, h.shift]),
      ...diagonal.values(),
    ],
    logDeterminantRatio: (prior) =>
      total([
        ...parts.map((part) => logRatioOf(part, prior).sum()),
        ...pairs.map((pair) => logOf(pairExcess(pair, prior)).softplus().sum()),
        ...[...diagonal].map(([index, h]) => logRatio(h, prior.logFactor, prior.log[index] as Tensor).sum()),
      ]),
    solve: (vectors, prior) => vmap((own: readonly Tensor[]) => solveOne(own, prior))([...vectors]),
    sample(key: Key, prior) {
      const z = normals(key, shapes);
      const result = [...z];
      for (const part of parts) {
        part.put(turnBack(part, part.take(z).mul(valuesAt(part, prior).rsqrt())), result);
      }
      for (const pair of pairs) {
        // The inverse transpose of the Cholesky factor of a 2 × 2 matrix.
        const { p, c, determinant } = pairAt(pair, prior);
        const root = determinant.div(p).rsqrt();
        const [y, w] = [z[pair.scale], z[pair.shift]] as [Tensor, Tensor];
        result[pair.shift] = w.mul(root);
        result[pair.scale] = y.mul(p.rsqrt()).sub(c.div(p).mul(w.mul(root)));
      }
      for (const [index, h] of diagonal) {
        result[index] = (z[index] as Tensor).mul(diagonalAt(index, h, prior).rsqrt());
      }
      return result;
    },
    variances(prior) {
      const result: Tensor[] = [];
      for (const part of parts) part.put(onDiagonal(part, valuesAt(part, prior).reciprocal()), result);
      for (const pair of pairs) {
        const { p, q, determinant } = pairAt(pair, prior);
        result[pair.scale] = q.div(determinant);
        result[pair.shift] = p.div(determinant);
      }
      for (const [index, h] of diagonal) result[index] = diagonalAt(index, h, prior).reciprocal();
      return result;
    },
    determined(prior) {
      const result: Tensor[] = [];
      for (const part of parts) {
        part.put(onDiagonal(part, determinedOf(part, prior)), result);
      }
      for (const pair of pairs) {
        const { p, q, c, determinant } = pairAt(pair, prior);
        const { scale, shift, cross } = pair.h;
        result[pair.scale] = q.mul(scale).sub(c.mul(cross)).mul(prior.factor).div(determinant);
        result[pair.shift] = p.mul(shift).sub(c.mul(cross)).mul(prior.factor).div(determinant);
      }
      for (const [index, h] of diagonal) result[index] = h.mul(prior.factor).div(diagonalAt(index, h, prior));
      return result;
    },
    condition: (prior) =>
      parts
        .map((part) =>
          valuesAt(part, prior)
            .div(prior.delta[part.index] as Tensor)
            .max(),
        )
        .reduce((most, own) => most.maximum(own), prior.factor.onesLike()),
    head: (layer) => kroneckerHead(layer, parts, valuesAt),
  };
}

/** Outputs W x + b: the covariance is Q_B diag(Σ_j x̃_j ỹ_j / (b_i a_j + δ)) Q_Bᵀ, x̃ = Q_Aᵀ x. */
function kroneckerHead(
  { weight, bias }: HeadLayer,
  parts: readonly EigenPart[],
  valuesAt: (part: EigenPart, prior: Prior) => Tensor,
): HeadCovariance | undefined {
  const own = parts.find(({ index }) => index === weight);
  const apart = parts.find(({ index }) => index === bias);
  if (own === undefined || own.values.shape[0] !== 1 || own.qa === null) return undefined;
  const [ofInputs, ofOutputs] = [own.qa, own.qb].map((q) => q.reshape(q.shape.slice(1))) as [Tensor, Tensor];
  const matrix = (x: Tensor): Tensor => x.reshape(x.shape.slice(1));
  const isJoint = bias !== undefined && apart === undefined;
  const turned = (x: Tensor): Tensor => (isJoint ? withOne(x) : x).matmul(ofInputs);
  // [out, in], and for a bias apart [out].
  const inverses = (prior: Prior) => matrix(valuesAt(own, prior)).reciprocal();
  const constant = (prior: Prior): Tensor | undefined =>
    apart === undefined ? undefined : matrix(valuesAt(apart, prior)).reciprocal().flatten();
  const plus = (x: Tensor, y: Tensor | undefined): Tensor => (y === undefined ? x : x.add(y));
  return {
    variance: (x, prior) =>
      plus(turned(x).square().matmul(inverses(prior).transpose()), constant(prior)).matmul(
        ofOutputs.square().transpose(),
      ),
    covariance(x, y, prior) {
      const [left, right] = [turned(x), turned(y)];
      const [n, m] = [left.shape[0] as number, right.shape[0] as number];
      // For every output's eigenvector i: Σ_j x̃_nj ỹ_mj / v_ij, as [n, m, i].
      const scaled = left.expandDims(1).mul(inverses(prior)); // [n, i, j]
      const along = scaled.dot(right, { contract: [[2], [1]] }).permute([0, 2, 1]);
      const sums = plus(along, constant(prior));
      const outs = ofOutputs.shape[0] as number;
      const back = sums
        .reshape([n * m, 1, outs])
        .mul(ofOutputs)
        .matmul(ofOutputs.transpose());
      return back.reshape([n, m, outs, outs]).permute([0, 2, 1, 3]);
    },
  };
}
