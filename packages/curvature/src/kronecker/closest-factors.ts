/** KFOC: the Kronecker product that is closest to the exact block of a layer. */
import { ArgumentError, concat, scan, type Tensor } from "@thalweg/tensor";
import type { EmbeddingBlock, KroneckerBlock } from "./blocks";
import { layerGradients, rowsOfUses } from "./eigenvalue-correction";
import type { Factors, MatrixFactors } from "./factors";
import type { Collected } from "./statistics";

export interface ClosestOptions {
  /** Rounds of alternating least squares. Default 10. */
  readonly rounds?: number;
}

/**
 * For the exact block G = ρ Σ vec(G_nk) vec(G_nk)ᵀ, G_nk the gradient of a layer for one example and vector, the B and A that
 * minimise ‖G - B ⊗ A‖ in turn: B = ρ Σ G_nk A G_nkᵀ / ‖A‖², and A likewise. This is power iteration for the largest singular
 * pair of the rearranged block. A diagonal A of an embedding stays one.
 *
 * @see Van Loan and Pitsianis, Approximation with Kronecker products (1993)
 * @see Koroko et al., Efficient approximations of the Fisher matrix in neural networks using Kronecker product singular value
 *   decomposition (2022)
 */
export function closestFactors(collected: Collected, start: Factors, { rounds = 10 }: ClosestOptions = {}): Factors {
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new ArgumentError(`closest: ${rounds} rounds. Give an integer of at least 1.`);
  }
  return Object.fromEntries(
    collected.blocks.map((block) => {
      const own = start[block.name];
      if (own === undefined)
        throw new ArgumentError(`closest: the factors to start from lack the block ${block.name}.`);
      return [block.name, "a" in own ? closestPair(block as KroneckerBlock, own, collected, rounds) : own];
    }),
  );
}

const grouped = (matrix: Tensor): Tensor => (matrix.rank === 3 ? matrix : matrix.expandDims(0));

/** ‖x‖² of every group, `[groups, 1, 1]`, and 1 instead of 0. */
function squaredNorm(x: Tensor): Tensor {
  const own = x.rank === 1 ? x.square().sum().reshape([1, 1, 1]) : x.square().sum({ axis: [1, 2], keepDims: true });
  return own.equal(0).where(1, own);
}

function closestPair(
  block: KroneckerBlock | EmbeddingBlock,
  start: MatrixFactors,
  collected: Collected,
  rounds: number,
): MatrixFactors {
  const isDiagonal = start.a.rank === 1;
  const { toB, toA } = productsOf(block, collected, isDiagonal);
  type Pair = { readonly a: Tensor; readonly b: Tensor };
  const first: Pair = { a: isDiagonal ? start.a : grouped(start.a), b: grouped(start.b) };
  const [last] = scan(
    ({ a }: Pair) => {
      const b = toB(a).div(squaredNorm(a));
      const next = toA(b).div(isDiagonal ? squaredNorm(b).reshape([]) : squaredNorm(b));
      return [{ a: next, b }, null] as const;
    },
    first,
    null,
    { length: rounds },
  );
  // One number moves between the factors: A keeps the scale that it had, the mean of squares of inputs.
  const sizeOf = (a: Tensor): Tensor => squaredNorm(a).sqrt();
  const factor = sizeOf(first.a).div(sizeOf(last.a));
  const a = last.a.mul(isDiagonal ? factor.reshape([]) : factor);
  const b = toB(a).div(squaredNorm(a));
  const { rank } = start.b;
  return { a: isDiagonal ? a : a.reshape(start.a.shape), b: rank === 3 ? b : b.reshape(start.b.shape) };
}

interface Products {
  /** ρ Σ G A Gᵀ: `[groups, out, out]`. */
  readonly toB: (a: Tensor) => Tensor;
  /** ρ Σ Gᵀ B G: `[groups, in, in]`, or its diagonal `[in]`. */
  readonly toA: (b: Tensor) => Tensor;
}

/** By positions, or by the gradients of examples where these are smaller than all pairs of positions. */
function productsOf(block: KroneckerBlock | EmbeddingBlock, collected: Collected, isDiagonal: boolean): Products {
  const { scale } = collected;
  const uses = rowsOfUses(block, collected);
  const sent =
    uses.length === 1
      ? (uses[0]?.sent as Tensor)
      : concat(
          uses.map((use) => use.sent),
          { axis: 3 },
        );
  const seen =
    uses.length === 1
      ? (uses[0]?.seen as Tensor)
      : concat(
          uses.map((use) => use.seen),
          { axis: 2 },
        );
  const [, vectors, , positions, outs] = sent.shape as [number, number, number, number, number];
  const ins = seen.shape[3] as number;
  const byA = (x: Tensor, a: Tensor): Tensor => (isDiagonal ? x.mul(a) : x.matmul(a));
  if (positions * positions > vectors * ins * outs) {
    const gradients = layerGradients(block, collected);
    const sumOver = (x: Tensor, y: Tensor, axis: 3 | 4): Tensor =>
      x.dot(y, {
        batch: [[2], [2]],
        contract: [
          [0, 1, axis],
          [0, 1, axis],
        ],
      });
    return {
      toB: (a) => sumOver(byA(gradients, a), gradients, 4).mul(scale),
      toA: (b) => {
        const turned = b.matmul(gradients);
        const a = isDiagonal ? turned.mul(gradients).sum({ axis: [0, 1, 2, 3] }) : sumOver(turned, gradients, 3);
        return a.mul(scale);
      },
    };
  }
  return {
    toB: (a) => {
      const pairs = byA(seen, a).matmul(seen.transpose());
      return sent
        .dot(pairs.expandDims(1).matmul(sent), {
          batch: [[2], [2]],
          contract: [
            [0, 1, 3],
            [0, 1, 3],
          ],
        })
        .mul(scale);
    },
    toA: (b) => {
      const pairs = sent.matmul(b).matmul(sent.transpose()).sum({ axis: 1 });
      const turned = pairs.matmul(seen);
      const a = isDiagonal
        ? turned.mul(seen).sum({ axis: [0, 1, 2] })
        : turned.dot(seen, {
            batch: [[1], [1]],
            contract: [
              [0, 2],
              [0, 2],
            ],
          });
      return a.mul(scale);
    },
  };
}
