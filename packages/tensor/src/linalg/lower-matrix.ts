/**
 * Lower triangular matrices by halves, so that nearly all work of solving is in large products: a diagonal block with its
 * inverse, or two halves and the square block below the first one.
 */
import { largestBlock } from "../kernels/triangular-block.wgsl";
import { concat } from "../primitives/concat";
import type { Tensor } from "../tensor";
import { part } from "./matrix";

export type LowerMatrix =
  | { readonly kind: "block"; readonly extent: number; readonly factor?: Tensor; readonly inverse: Tensor }
  | {
      readonly kind: "halves";
      readonly extent: number;
      readonly top: LowerMatrix;
      readonly below: Tensor;
      readonly bottom: LowerMatrix;
    };

/** How a matrix is cut: a power of two of blocks of one extent, so that the halves on a level have equal kernels. */
export function blocksOf(extent: number): { readonly count: number; readonly size: number } {
  const count = 2 ** Math.ceil(Math.log2(Math.max(1, extent / largestBlock)));
  return { count, size: Math.ceil(extent / count) };
}

export const joined = (parts: readonly Tensor[], axis: number): Tensor =>
  (parts[0] as Tensor).bind(concat, parts, { axis: axis + (parts[0] as Tensor).rank });

/**
 * X with L X = B; `[n, m, m]` and `[n, m, r]`.
 *
 * @param limit `[n, 1, r]`: elements of X are clamped to this magnitude.
 */
export function solveLower(l: LowerMatrix, b: Tensor, limit?: Tensor): Tensor {
  if (l.kind === "block") {
    const x = l.inverse.matmul(b);
    return limit === undefined ? x : x.minimum(limit).maximum(limit.neg());
  }
  const columns = [0, b.shape.at(-1) as number] as const;
  const half = l.top.extent;
  const top = solveLower(l.top, part(b, [0, half], columns), limit);
  const rest = part(b, [half, l.extent], columns).sub(l.below.matmul(top));
  return joined([top, solveLower(l.bottom, rest, limit)], -2);
}

/** X with Lᵀ X = B. */
export function solveLowerTransposed(l: LowerMatrix, b: Tensor): Tensor {
  if (l.kind === "block") return l.inverse.transpose().matmul(b);
  const columns = [0, b.shape.at(-1) as number] as const;
  const half = l.top.extent;
  const bottom = solveLowerTransposed(l.bottom, part(b, [half, l.extent], columns));
  const rest = part(b, [0, half], columns).sub(l.below.transpose().matmul(bottom));
  return joined([solveLowerTransposed(l.top, rest), bottom], -2);
}
