import type { MapLeaves, Tensor } from "@thalweg/tensor";
import { differentiate } from "./grad";
import { derivativeBlocks } from "./jacobian";

/** Options of {@link hessian}. */
export interface HessianOptions<N extends number = number> {
  /** Position of the argument that is differentiated twice; default 0. */
  readonly argnums?: N;
}

/**
 * All second derivatives of a scalar function: a tree like the argument in which every leaf `[…i]` is again a tree like
 * the argument, with leaves `[…i, …j]`. Quadratic in the number of elements; see {@link hvp} for products.
 *
 * @throws ShapeError if the function does not return a scalar.
 * @example hessian(rosenbrock)({ u, v }) // { u: { u, v }, v: { u, v } }
 */
export function hessian<A extends readonly unknown[], const N extends number = 0>(
  f: (...args: A) => Tensor,
  { argnums }: HessianOptions<N> = {},
): (...args: A) => MapLeaves<A[N], Tensor, A[N]> {
  const position = (argnums ?? 0) as N;
  const gradient = (...args: A): A[N] => differentiate("hessian", f, { argnums: position }, args).gradients as A[N];
  return derivativeBlocks("hessian", gradient, { argnums: position, mode: "forward" });
}
