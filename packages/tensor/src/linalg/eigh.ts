import type { Tensor } from "../tensor";
import { offDiagonal } from "./jacobi";
import { part, symmetrized } from "./matrix";
import { eigh as eighRecord } from "./primitives/eigh";

export interface Eigen {
  /** `[…, n]`, ascending. */
  readonly values: Tensor;
  /** `[…, n, n]`, orthonormal, in columns; the largest component of each is positive. */
  readonly vectors: Tensor;
  /** `[…]`: the largest element off the diagonal of Vᵀ A V over the largest of all; about 1e-6 if all is well. */
  readonly residual: Tensor;
}

/**
 * Eigenvalues and eigenvectors of symmetric matrices `[…, n, n]`, by Jacobi rotations on the device; A is replaced by
 * (A + Aᵀ) / 2.
 *
 * Errors against float64, with |A| the largest |eigenvalue|: eigenvalues n · 2^-24 · |A| at most, |VᵀV - I| n · 2^-23 at
 * most, |V Λ Vᵀ - A| n · 2^-22 · |A| at most. So eigenvalues below about 1e-6 · |A| have no digits in f32: floor them
 * before taking their inverse.
 *
 * Up to 64 rows it is one dispatch; above, two per round of a tournament of blocks of 32: about 180 for 256 rows, 240 · n /
 * 512 in general. Derivatives of eigenvectors grow with one over the distance of eigenvalues, and do not exist where
 * two are equal. There they are taken as 0 in the space of these vectors: right for symmetric functions of the values, and
 * for the space itself; wrong for functions of the matrix, V f(Λ) Vᵀ, which lose the part of f′ in that space.
 */
export function eigh(a: Tensor): Eigen {
  const packed = a.bind(eighRecord, [a], undefined);
  const n = a.shape.at(-1) as number;
  const vectors = part(packed, [1, n + 1], [0, n]);
  const values = part(packed, [0, 1], [0, n]).reshape([...a.shape.slice(0, -2), n]);
  return { values, vectors, residual: offDiagonal(symmetrized(a), vectors) };
}
