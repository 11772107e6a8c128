import type { Tensor } from "../tensor";
import { part } from "./matrix";
import { inverseRoot as inverseRootRecord } from "./primitives/inverse-root";

export interface InverseRootOptions {
  /** Added to the diagonal, relative to (a bound of) the largest eigenvalue. Default 1e-6, which Shampoo uses. */
  readonly ridge?: number;
  /**
   * Iterations of Newton's method. A matrix that has converged, or would get worse, keeps what it has from then on.
   * Default 25: what p = 1 needs with the default ridge; larger p need fewer.
   */
  readonly iterations?: number;
}

/**
 * A^(-1/p) for symmetric positive semidefinite A, `[…, n, n]`, with a ridge; A is replaced by (A + Aᵀ) / 2.
 *
 * By Newton's method on products alone, as Shampoo does. Relative error in norm against float64 with n = 64: at most 1e-6
 * at condition 1e2, 3e-5 at 1e4, 2e-3 at 1e6 for p = 1, and a fifth of that for p = 4; above, the ridge bounds the condition. `residual`, `[…]`, is
 * max |M - I| at the end, M → I: above 0.1 the root is not to be used, keep the one before. Singular matrices have the
 * root of the ridge; a matrix of zeros counts as one whose ridge is absolute.
 */
export function inverseRoot(
  a: Tensor,
  p: number,
  { ridge = 1e-6, iterations = 25 }: InverseRootOptions = {},
): { readonly root: Tensor; readonly residual: Tensor } {
  const packed = a.bind(inverseRootRecord, [a], { root: p, ridge, iterations });
  const n = a.shape.at(-1) as number;
  const residual = part(packed, [n, n + 1], [0, 1]).reshape(a.shape.slice(0, -2));
  return { root: part(packed, [0, n], [0, n]), residual };
}
