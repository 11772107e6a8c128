/** Precisions of Laplace posteriors in the structures that they come in: what evidence and prediction ask of them. */
import { concat, eye, linalg, type Tensor } from "@thalweg/tensor";
import type { Block, EmbeddingBlock, KroneckerBlock } from "../kronecker/blocks";
import { blockMatrix, fromBlockMatrix } from "../kronecker/damping";
import type { BlockFactors, DiagonalFactors, MatrixFactors, UnitwiseFactors } from "../kronecker/factors";

/**
 * H + diag(δ) over some of the parameters. Vectors are lists of leaves, one per parameter; what belongs to other
 * parameters passes through unchanged. δ has a leaf for every parameter, of its shape or a scalar.
 */
export interface Precision {
  /** log det (s H + diag(δ)) for a factor s of the curvature. */
  logDeterminant(delta: readonly Tensor[], factor: Tensor): Tensor;
  /** (s H + diag(δ))⁻¹ v. */
  solve(vector: readonly Tensor[], delta: readonly Tensor[], factor: Tensor): Tensor[];
  /** Something of covariance (s H + diag(δ))⁻¹, from standard normals. */
  sample(normals: readonly Tensor[], delta: readonly Tensor[], factor: Tensor): Tensor[];
  /** Σ over eigenvalues of H (s H + δ)⁻¹ s: the effective number of parameters, for a scalar δ. */
  effectiveParameters(delta: readonly Tensor[], factor: Tensor): Tensor;
  /** Positions of the parameters that it is about. */
  readonly parameters: readonly number[];
  /** Everything that does not depend on prior and noise. */
  readonly tensors: readonly Tensor[];
}

const total = (terms: readonly Tensor[]): Tensor => terms.reduce((sum, term) => sum.add(term));

/** Replaces the leaves at some positions. */
function replaced(leaves: readonly Tensor[], positions: readonly number[], by: (position: number) => Tensor): Tensor[] {
  return leaves.map((leaf, index) => (positions.includes(index) ? by(index) : leaf));
}

/** H as one matrix `[n, n]` over the parameters at `positions`, each flattened. */
export function densePrecision(
  h: Tensor,
  shapes: readonly (readonly number[])[],
  positions: readonly number[],
): Precision {
  const sizes = positions.map((position) =>
    (shapes[position] as readonly number[]).reduce((size, extent) => size * extent, 1),
  );
  const starts = sizes.map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + size, 0));
  const flat = (leaves: readonly Tensor[]): Tensor =>
    concat(
      positions.map((position) => (leaves[position] as Tensor).flatten()),
      { axis: 0 },
    );
  const unflat = (vector: Tensor, leaves: readonly Tensor[]): Tensor[] =>
    replaced(leaves, positions, (position) => {
      const index = positions.indexOf(position);
      const start = starts[index] as number;
      return vector.slice([start], [start + (sizes[index] as number)]).reshape(shapes[position] as readonly number[]);
    });
  const matrix = (delta: readonly Tensor[], factor: Tensor): Tensor => {
    const own = replaced(delta, positions, (position) =>
      (delta[position] as Tensor).expand(shapes[position] as readonly number[]),
    );
    return h.mul(factor).add(eye(h.shape[0] as number).mul(flat(own)));
  };
  return {
    parameters: positions,
    tensors: [h],
    logDeterminant: (delta, factor) => linalg.logDeterminant(matrix(delta, factor)),
    solve: (vector, delta, factor) =>
      unflat(linalg.solvePositiveDefinite(matrix(delta, factor), flat(vector).expandDims(1)).flatten(), vector),
    sample: (normals, delta, factor) => {
      const lower = linalg.cholesky(matrix(delta, factor));
      return unflat(linalg.triangularSolve(lower, flat(normals).expandDims(1), { transpose: true }).flatten(), normals);
    },
    effectiveParameters: (delta, factor) =>
      linalg
        .solvePositiveDefinite(matrix(delta, factor), h.mul(factor))
        .mul(eye(h.shape[0] as number))
        .sum(),
  };
}

/** H as its diagonal: one leaf per parameter. */
export function diagonalPrecision(h: readonly Tensor[], positions: readonly number[]): Precision {
  const at = (position: number, delta: readonly Tensor[], factor: Tensor): Tensor =>
    (h[position] as Tensor).mul(factor).add(delta[position] as Tensor);
  return {
    parameters: positions,
    tensors: positions.map((position) => h[position] as Tensor),
    logDeterminant: (delta, factor) => total(positions.map((position) => at(position, delta, factor).log().sum())),
    solve: (vector, delta, factor) =>
      replaced(vector, positions, (position) => (vector[position] as Tensor).div(at(position, delta, factor))),
    sample: (normals, delta, factor) =>
      replaced(normals, positions, (position) =>
        (normals[position] as Tensor).mul(at(position, delta, factor).rsqrt()),
      ),
    effectiveParameters: (delta, factor) =>
      total(
        positions.map((position) =>
          (h[position] as Tensor)
            .mul(factor)
            .div(at(position, delta, factor))
            .sum(),
        ),
      ),
  };
}

/** A matrix of parameters with the eigenvectors and eigenvalues of its block. */
interface EigenPart {
  /** `[groups, in, in]`; null for a diagonal A. */
  readonly qa: Tensor | null;
  readonly qb: Tensor;
  /** `[groups, out, in]`. */
  readonly values: Tensor;
  /** δ of its parameters, a scalar. */
  readonly delta: (delta: readonly Tensor[]) => Tensor;
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
  const valuesB = right.values.maximum(0).expandDims(2);
  const part = (factor: Tensor, own: Pick<EigenPart, "take" | "put" | "delta">): EigenPart => {
    if (factor.rank === 1) return { ...own, qa: null, qb: right.vectors, values: valuesB.mul(factor.maximum(0)) };
    const left = linalg.eigh(batched(factor));
    return { ...own, qa: left.vectors, qb: right.vectors, values: valuesB.mul(left.values.maximum(0).expandDims(1)) };
  };
  const { weight, layout } = block;
  const deltaOf = (index: number) => (delta: readonly Tensor[]) => delta[index] as Tensor;
  if (block.kind === "embedding" || block.bias === undefined || bias === "joint") {
    return [
      part(a, {
        delta: deltaOf(weight.index),
        take: (leaves) => blockMatrix(block, leaves),
        put: (matrix, leaves) => fromBlockMatrix(block, matrix, leaves),
      }),
    ];
  }
  const inputs = batched(a).slice([0, 0, 0], [layout.groups, layout.ins, layout.ins]);
  const { index, rows } = block.bias;
  return [
    part(inputs, {
      delta: deltaOf(weight.index),
      take: (leaves) => layout.toMatrix(leaves[weight.index] as Tensor),
      put: (matrix, leaves) => {
        leaves[weight.index] = layout.fromMatrix(matrix);
      },
    }),
    {
      qa: null,
      qb: right.vectors,
      values: valuesB,
      delta: deltaOf(index),
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

const turnBack = ({ qa, qb }: EigenPart, matrix: Tensor): Tensor => {
  const turned = qb.matmul(matrix);
  return qa === null ? turned : turned.matmul(qa.transpose());
};

/**
 * H as Kronecker products, by their eigenvalues, which are found once: every other prior or noise is elementwise after
 * that. δ has to be one number for each parameter tensor, and one for weight and bias of a joint block.
 */
export function kroneckerPrecision(
  blocks: readonly Block[],
  factors: Readonly<Record<string, BlockFactors>>,
  bias: "joint" | "separate",
): Precision {
  const parts: EigenPart[] = [];
  const diagonal = new Map<number, Tensor>();
  const pairs: { readonly scale: number; readonly shift: number; readonly h: UnitwiseFactors }[] = [];
  for (const block of blocks) {
    const own = factors[block.name] as BlockFactors;
    if (block.kind === "kronecker" || block.kind === "embedding")
      parts.push(...layerParts(block, own as MatrixFactors, bias));
    else if (block.kind === "unitwise")
      pairs.push({ scale: block.scale.index, shift: block.shift.index, h: own as UnitwiseFactors });
    else diagonal.set(block.parameter.index, (own as DiagonalFactors).diagonal);
  }
  const pairAt = ({ scale, shift, h }: (typeof pairs)[number], delta: readonly Tensor[], factor: Tensor) => {
    const p = h.scale.mul(factor).add(delta[scale] as Tensor);
    const q = h.shift.mul(factor).add(delta[shift] as Tensor);
    const c = h.cross.mul(factor);
    return { p, q, c, determinant: p.mul(q).sub(c.square()) };
  };
  const diagonalAt = (index: number, h: Tensor, delta: readonly Tensor[], factor: Tensor) =>
    h.mul(factor).add(delta[index] as Tensor);
  const valuesAt = (part: EigenPart, delta: readonly Tensor[], factor: Tensor) =>
    part.values.mul(factor).add(part.delta(delta));
  return {
    tensors: [
      ...parts.flatMap(({ qa, qb, values }) => [...(qa === null ? [] : [qa]), qb, values]),
      ...pairs.flatMap(({ h }) => [h.scale, h.cross, h.shift]),
      ...diagonal.values(),
    ],
    parameters: blocks.flatMap((block) => {
      if (block.kind === "unitwise") return [block.scale.index, block.shift.index];
      if (block.kind === "diagonal") return [block.parameter.index];
      return block.kind === "embedding" || block.bias === undefined
        ? [block.weight.index]
        : [block.weight.index, block.bias.index];
    }),
    logDeterminant: (delta, factor) =>
      total([
        ...parts.map((part) => valuesAt(part, delta, factor).log().sum()),
        ...pairs.map((pair) => pairAt(pair, delta, factor).determinant.log().sum()),
        ...[...diagonal].map(([index, h]) => diagonalAt(index, h, delta, factor).log().sum()),
      ]),
    solve(vector, delta, factor) {
      const result = [...vector];
      for (const part of parts) {
        part.put(turnBack(part, turn(part, part.take(vector)).div(valuesAt(part, delta, factor))), result);
      }
      for (const pair of pairs) {
        const { p, q, c, determinant } = pairAt(pair, delta, factor);
        const [g, h] = [vector[pair.scale], vector[pair.shift]] as [Tensor, Tensor];
        result[pair.scale] = q.mul(g).sub(c.mul(h)).div(determinant);
        result[pair.shift] = p.mul(h).sub(c.mul(g)).div(determinant);
      }
      for (const [index, h] of diagonal) {
        result[index] = (vector[index] as Tensor).div(diagonalAt(index, h, delta, factor));
      }
      return result;
    },
    sample(normals, delta, factor) {
      const result = [...normals];
      for (const part of parts) {
        part.put(turnBack(part, part.take(normals).mul(valuesAt(part, delta, factor).rsqrt())), result);
      }
      for (const pair of pairs) {
        // The inverse transpose of the Cholesky factor of a 2 × 2 matrix.
        const { p, c, determinant } = pairAt(pair, delta, factor);
        const root = determinant.div(p).rsqrt();
        const [y, z] = [normals[pair.scale], normals[pair.shift]] as [Tensor, Tensor];
        result[pair.shift] = z.mul(root);
        result[pair.scale] = y.mul(p.rsqrt()).sub(c.div(p).mul(z.mul(root)));
      }
      for (const [index, h] of diagonal) {
        result[index] = (normals[index] as Tensor).mul(diagonalAt(index, h, delta, factor).rsqrt());
      }
      return result;
    },
    effectiveParameters: (delta, factor) =>
      total([
        ...parts.map((part) =>
          part.values
            .mul(factor)
            .div(valuesAt(part, delta, factor))
            .sum(),
        ),
        ...pairs.map((pair) => {
          const { p, q, c, determinant } = pairAt(pair, delta, factor);
          const { scale, shift, cross } = pair.h;
          return q.mul(scale).add(p.mul(shift)).sub(c.mul(cross).mul(2)).mul(factor).div(determinant).sum();
        }),
        ...[...diagonal].map(([index, h]) =>
          h
            .mul(factor)
            .div(diagonalAt(index, h, delta, factor))
            .sum(),
        ),
      ]),
  };
}
