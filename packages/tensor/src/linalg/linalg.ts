/**
 * Linear algebra on matrices in the last two axes, f32, batched over all other ones.
 *
 * Blocked algorithms that put their work into products. What f32 cannot do is regularised as stated, and reported.
 *
 * @module
 */
import { formatShape, ShapeError } from "../errors";
import { broadcastShapes } from "../shape";
import type { Tensor } from "../tensor";
import { checkSquare, diagonal, identityLike, onDiagonal, symmetrized } from "./matrix";
import { cholesky as choleskyRecord, leastPivot } from "./primitives/cholesky";
import { triangularSolve as triangularSolveRecord } from "./primitives/triangular-solve";

export { type Eigen, eigh } from "./eigh";
export { type InverseRootOptions, inverseRoot } from "./inverse-root";
export { type NewtonSchulzOptions, newtonSchulz, type OrthogonalizeOptions, orthogonalize } from "./orthogonalize";

/**
 * The lower triangular L with L Lᵀ = A for symmetric positive definite A, `[…, n, n]`; A is replaced by (A + Aᵀ) / 2.
 *
 * |L Lᵀ - A| is at most about n · 2^-24 · max diag(A). A pivot below √n · 2^-22 · max diag(A) is replaced by that value:
 * the result is finite for every finite A, and NaN for every other one. Use {@link choleskyReport} to know, and add a ridge before if it happens:
 * conditions up to about 1e5 are safe.
 */
export const cholesky = (a: Tensor): Tensor => a.bind(choleskyRecord, [a], undefined);

/** {@link cholesky} with the number of pivots that were replaced, i32 `[…]`: 0 where the factor is that of A, n where it is NaN. */
export function choleskyReport(a: Tensor): { readonly factor: Tensor; readonly replaced: Tensor } {
  const factor = cholesky(a);
  const least = leastPivot(symmetrized(a)).expandDims(-1);
  // A pivot that was replaced is a rounded root of the least one.
  const own = diagonal(factor)
    .square()
    .greater(least.mul(1 + 2 ** -20));
  return { factor, replaced: own.not().sum({ axis: -1 }) };
}

export interface TriangularSolveOptions {
  /** Which triangle of A is read; the other one counts as zero. Default true. */
  readonly lower?: boolean;
  /** Solves with Aᵀ instead of A. Default false. */
  readonly transpose?: boolean;
  /** "left" solves A X = B, "right" X A = B. Default "left". */
  readonly side?: "left" | "right";
}

/**
 * X with A X = B for triangular A, `[…, n, n]` and `[…, n, r]` (or X A = B, `[…, r, n]`); leading axes broadcast.
 *
 * The relative error in norm is at most about n · 2^-23 · condition(A). A zero on the diagonal makes NaN.
 */
export function triangularSolve(
  a: Tensor,
  b: Tensor,
  { lower = true, transpose = false, side = "left" }: TriangularSolveOptions = {},
): Tensor {
  if (side === "right") return triangularSolve(a, b.transpose(), { lower, transpose: !transpose }).transpose();
  const [matrix, right] = sameLeading("triangularSolve", a, b);
  return matrix.bind(triangularSolveRecord, [matrix, right], { lower, transpose });
}

function sameLeading(operation: string, a: Tensor, b: Tensor): [Tensor, Tensor] {
  checkSquare(operation, a);
  if (b.rank < 2) {
    throw new ShapeError(`${operation}: the right side ${formatShape(b.shape)} is no matrix. Use b.expandDims(-1).`);
  }
  const leading = broadcastShapes(operation, [a.shape.slice(0, -2), b.shape.slice(0, -2)]);
  return [a.expand([...leading, ...a.shape.slice(-2)]), b.expand([...leading, ...b.shape.slice(-2)])];
}

/**
 * X with A X = B for symmetric positive definite A, by {@link cholesky}: `[…, n, n]` and `[…, n, r]`.
 *
 * The relative error in norm is at most about n · 2^-23 · condition(A): 1e-5 at condition 1e2, none of the digits at 1e7.
 */
export function solvePositiveDefinite(a: Tensor, b: Tensor): Tensor {
  const factor = cholesky(a);
  return triangularSolve(factor, triangularSolve(factor, b), { transpose: true });
}

/**
 * The inverse of symmetric positive definite matrices, symmetric itself: L⁻ᵀ L⁻¹. Prefer {@link solvePositiveDefinite}
 * where the inverse meets one right side only. Accuracy as there.
 */
export function inversePositiveDefinite(a: Tensor): Tensor {
  const inverse = triangularSolve(cholesky(a), identityLike(a));
  return inverse.transpose().matmul(inverse);
}

/** The logarithm of the determinant, `[…]`, of symmetric positive definite matrices `[…, n, n]`: 2 Σ log L_ii. */
export const logDeterminant = (a: Tensor): Tensor => diagonal(cholesky(a)).log().sum({ axis: -1 }).mul(2);

/** An orthonormal basis and the coordinates in it; see {@link qr}. */
export interface QrFactors {
  /** `[…, m, k]`, k = min(m, n). */
  readonly q: Tensor;
  /** `[…, k, n]`, upper triangular with a positive diagonal. */
  readonly r: Tensor;
  /** i32 `[…]`: columns that f32 cannot tell from combinations of those before; their directions in q have no meaning. */
  readonly deficient: Tensor;
}

/**
 * A = Q R, `[…, m, n]`: Q has orthonormal columns, R is upper triangular.
 *
 * Three passes of Cholesky on the Gram matrix, the first two with a ridge of 2^-22 · trace (shifted CholeskyQR3): all work
 * is in products. Up to condition 1e5, |QᵀQ - I| stays below about n · 2^-22, whatever the condition, and |A - Q R| below
 * n · 2^-22 · |A|. Columns that depend on those before get a direction of rounding errors: `deficient` counts them.
 *
 * @see Fukaya, Kannan, Nakatsukasa, Yamamoto and Yanagisawa, Shifted Cholesky QR for computing the QR factorization of
 *   ill-conditioned matrices (2020)
 */
export function qr(a: Tensor): QrFactors {
  if (a.rank < 2) throw new ShapeError(`qr: ${formatShape(a.shape)} is no matrix.`);
  const [m, n] = a.shape.slice(-2) as [number, number];
  if (m < n) {
    // The first m columns make the basis.
    const first = qr(a.slice([], [...a.shape.slice(0, -1), m]));
    const rest = first.q.transpose().matmul(a.slice([...a.shape.slice(0, -1).map(() => 0), m]));
    return { ...first, r: joinColumns(first.r, rest) };
  }
  // Columns of length about 1 in all: the Gram matrix squares what there is.
  const size = a
    .abs()
    .max({ axis: [-2, -1], keepDims: true })
    .stopGradient();
  const scale = size.greater(0).where(size, 1);
  let q = a.div(scale);
  let r: Tensor | undefined;
  let deficient: Tensor | undefined;
  for (const shift of [2 ** -22, 2 ** -22, 0]) {
    const gram = q.transpose().matmul(q);
    const ridge = diagonal(gram).sum({ axis: -1, keepDims: true }).expandDims(-1).mul(shift).stopGradient();
    const { factor, replaced } = choleskyReport(onDiagonal(gram).where(gram.add(ridge), gram));
    deficient = replaced;
    q = triangularSolve(factor, q, { side: "right", transpose: true });
    r = r === undefined ? factor.transpose() : factor.transpose().matmul(r);
  }
  // A dependent column leaves its rounding errors on the diagonal of R, whatever the passes made of its direction.
  const lengths = diagonal(r as Tensor);
  const least = lengths.max({ axis: -1, keepDims: true }).mul(Math.sqrt(n) * 2 ** -20);
  const short = lengths.lessEqual(least).sum({ axis: -1 });
  return { q, r: (r as Tensor).mul(scale), deficient: short.maximum(deficient as Tensor) };
}

const joinColumns = (left: Tensor, right: Tensor): Tensor => {
  const none = left.shape.slice(0, -1).map(() => [0, 0] as const);
  const widths = [left.shape.at(-1) as number, right.shape.at(-1) as number] as const;
  return left.pad([...none, [0, widths[1]]]).add(right.pad([...none, [widths[0], 0]]));
};

/**
 * X with A X = B for any square A, `[…, n, n]` and `[…, n, r]`, by {@link qr} and one step of refinement.
 *
 * The relative error in norm is at most about n · 2^-22 · condition(A), for conditions up to 1e5.
 */
export function solve(a: Tensor, b: Tensor): Tensor {
  const [matrix, right] = sameLeading("solve", a, b);
  const { q, r } = qr(matrix);
  const once = (side: Tensor): Tensor => triangularSolve(r, q.transpose().matmul(side), { lower: false });
  const x = once(right);
  return x.add(once(right.sub(matrix.matmul(x))));
}

/** The inverse of any square matrix, `[…, n, n]`: {@link solve} with the identity, with its accuracy. */
export const inverse = (a: Tensor): Tensor => solve(a, identityLike(a));

export interface NormOptions {
  /**
   * Of matrices in the last two axes: "fro", the root of the sum of squares; 1, the largest sum of magnitudes in a
   * column; Infinity, that in a row. Default "fro".
   */
  readonly order?: "fro" | 1 | typeof Number.POSITIVE_INFINITY;
}

/** Norms of the matrices in the last two axes, `[…, m, n]` to `[…]`; scaled, so that squares neither over- nor underflow. */
export function norm(a: Tensor, { order = "fro" }: NormOptions = {}): Tensor {
  if (a.rank < 2) throw new ShapeError(`norm: ${formatShape(a.shape)} is no matrix. Use x.square().sum().sqrt().`);
  const magnitude = a.abs();
  if (order !== "fro") return magnitude.sum({ axis: order === 1 ? -2 : -1 }).max({ axis: -1 });
  const largest = magnitude.max({ axis: [-2, -1], keepDims: true }).stopGradient();
  const scale = largest.greater(0).where(largest, 1);
  return a
    .div(scale)
    .square()
    .sum({ axis: [-2, -1] })
    .sqrt()
    .mul(scale.reshape(a.shape.slice(0, -2)));
}
