import { applyPairs, largestPair, rotatePairs } from "../kernels/jacobi.wgsl";
import { scan } from "../loops/scan";
import { concat } from "../primitives/concat";
import type { Tensor } from "../tensor";
import { bordered, diagonal, identityLike, nanUnlessFinite, part } from "./matrix";

/** Rounds through all rotations, at most, of a matrix that one workgroup diagonalises: 7 to 13 are needed. */
const mostSweeps = 16;
/** The same of the diagonal blocks of larger matrices, which the next sweep goes on with. */
const innerSweeps = 4;

const multipleOf = (count: number, unit: number): number => Math.ceil(count / unit) * unit;

/** Rounds through all pairs of blocks: convergence is quadratic in the end, and more blocks take a little longer. */
const sweepsOf = (blocks: number): number => 6 + Math.ceil(Math.log2(blocks) / 2);

/**
 * Eigenvalues `[n, m]`, in no order, and orthonormal eigenvectors `[n, m, m]`, in columns, of symmetric matrices.
 *
 * Matrices of up to 64 rows take one dispatch. Larger ones are cut into blocks of up to 32; in every round of a tournament
 * disjoint pairs of blocks are diagonalised, and the rotations are applied in a second dispatch.
 */
export function diagonalized(symmetric: Tensor): { readonly values: Tensor; readonly vectors: Tensor } {
  const extent = symmetric.shape.at(-1) as number;
  const largest = symmetric.abs().max({ axis: [-2, -1], keepDims: true });
  const scale = largest.greater(0).where(largest, 1);
  const scaled = symmetric.div(scale);
  const rotated = extent <= largestPair ? rotateWhole(scaled) : rotateBlocks(scaled);
  const turned = part(rotated, [0, extent], [0, extent]);
  // One step of Newton and Schulz takes the rounding of thousands of rotations out of the vectors, and quotients of
  // Rayleigh, whose error is quadratic in that of the vectors, take it out of the values.
  const vectors = turned.mul(1.5).sub(turned.matmul(turned.transpose().matmul(turned)).mul(0.5));
  const values = scaled
    .matmul(vectors)
    .mul(vectors)
    .sum({ axis: -2 })
    .div(vectors.square().sum({ axis: -2 }));
  return { values: values.mul(scale.reshape([-1, 1])), vectors };
}

function rotateWhole(scaled: Tensor): Tensor {
  const padded = bordered(scaled, multipleOf(scaled.shape[1] as number, 4), 0);
  const [count, extent] = padded.shape as [number, number];
  const params = { extent, sweeps: mostSweeps };
  const turns = scaled.bind(rotatePairs, [padded.expandDims(1)], params);
  return turns.reshape([count, extent, extent]).transpose();
}

function rotateBlocks(scaled: Tensor): Tensor {
  const own = scaled.shape[1] as number;
  const blocks = 2 * Math.ceil(own / largestPair);
  const width = multipleOf(Math.ceil(own / blocks), 4);
  // What fills the last block up meets zeros only, and is not rotated.
  const padded = bordered(scaled, blocks * width, 0);
  const start = padded.bind(concat, [padded.expandDims(1), identityLike(padded).expandDims(1)], { axis: 1 });
  const params = { extent: 2 * width, sweeps: innerSweeps };
  const round = (state: Tensor): [Tensor, null] => [
    state.bind(applyPairs, [state, state.bind(rotatePairs, [state], params)], {}),
    null,
  ];
  // After a sweep of blocks - 1 rounds every block is where it was.
  const [state] = scan(round, start, null, { length: sweepsOf(blocks) * (blocks - 1) });
  return state.slice([0, 1]).reshape(padded.shape);
}

/** How far the matrices are from being diagonal in these vectors, relative to the largest element: `[n]`. */
export function offDiagonal(symmetric: Tensor, vectors: Tensor): Tensor {
  const turned = vectors.transpose().matmul(symmetric.matmul(vectors));
  const values = diagonal(turned);
  const rest = turned.sub(identityLike(turned).mul(values.expandDims(-1)));
  const largest = (x: Tensor): Tensor => x.abs().max({ axis: [-2, -1], keepDims: true });
  const relative = largest(rest).div(largest(turned).maximum(2 ** -120));
  return nanUnlessFinite(turned, relative).reshape(symmetric.shape.slice(0, -2));
}
