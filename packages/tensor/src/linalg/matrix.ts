/** Views and parts of matrices in the last two axes, and the checks that linear algebra shares. */
import { DTypeError, formatShape, ShapeError } from "../errors";
import type { Aval } from "../primitives/definition";
import { type Shape, sizeOf } from "../shape";
import type { Tensor } from "../tensor";

/** Throws unless the operand is f32 with square matrices in its last two axes. */
export function checkSquare(operation: string, { shape, dtype }: Aval): void {
  if (dtype !== "f32") {
    throw new DTypeError(`${operation}: takes f32, got ${dtype}. Cast first: x.cast("f32").`);
  }
  if (shape.length < 2 || shape.at(-1) !== shape.at(-2)) {
    throw new ShapeError(`${operation}: ${formatShape(shape)} holds no square matrices in its last two axes.`);
  }
}

/** Matrices in the last two axes, under one leading axis. */
export const stacked = (x: Tensor): Tensor => x.reshape([sizeOf(x.shape.slice(0, -2)), ...x.shape.slice(-2)]);

export const unstacked = (x: Tensor, leading: Shape): Tensor => x.reshape([...leading, ...x.shape.slice(-2)]);

/** (x + xᵀ) / 2: what functions of symmetric matrices make of any matrix, so that they have derivatives. */
export const symmetrized = (x: Tensor): Tensor => x.add(x.transpose()).mul(0.5);

/** `[…, n, n]` to its diagonals `[…, n]`: a view. */
export function diagonal(x: Tensor): Tensor {
  const leading = x.shape.slice(0, -2);
  const n = x.shape.at(-1) as number;
  const flat = x.reshape([...leading, n * n]).pad([...leading.map(() => [0, 0] as const), [0, n]]);
  return flat
    .reshape([...leading, n, n + 1])
    .slice([], [...leading, n, 1])
    .reshape([...leading, n]);
}

const compareCoordinates = (x: Tensor) => [x.iotaLike(x.rank - 2, "i32"), x.iotaLike(x.rank - 1, "i32")] as const;

/** The lower triangle with the diagonal, or the upper one; zeros elsewhere. */
export function triangle(x: Tensor, lower: boolean): Tensor {
  const [row, column] = compareCoordinates(x);
  return (lower ? row.greaterEqual(column) : row.lessEqual(column)).where(x, 0);
}

/** True on the diagonals of matrices of the shape of `x`. */
export function onDiagonal(x: Tensor): Tensor {
  const [row, column] = compareCoordinates(x);
  return row.equal(column);
}

/** Identity matrices of the shape of `x`. */
export const identityLike = (x: Tensor): Tensor => onDiagonal(x).cast(x.dtype);

/** Larger matrices with `x` in the upper left corner and `fill` on the rest of the diagonal. */
export function bordered(x: Tensor, extent: number, fill: number): Tensor {
  const own = x.shape.at(-1) as number;
  if (own === extent) return x;
  const more = [0, extent - own] as const;
  const padded = x.pad([...x.shape.slice(0, -2).map(() => [0, 0] as const), more, more]);
  if (fill === 0) return padded;
  const [row, column] = compareCoordinates(padded);
  return row.equal(column).and(row.greaterEqual(own)).where(fill, padded);
}

/**
 * `result: […, r, c]`, all NaN for each matrix of `x: […, n, n]` with an element that is infinite or NaN. Told from the
 * bits: comparisons and maxima of NaN may give anything.
 */
export function nanUnlessFinite(x: Tensor, result: Tensor): Tensor {
  const magnitude = x
    .bitcast("u32")
    .bitAnd(0x7fffffff)
    .max({ axis: [-2, -1], keepDims: true });
  return magnitude.less(0x7f800000).where(result, Number.NaN);
}

/** A part of the last two axes. */
export const part = (x: Tensor, rows: readonly [number, number], columns: readonly [number, number]): Tensor => {
  const leading = x.shape.slice(0, -2);
  return x.slice([...leading.map(() => 0), rows[0], columns[0]], [...leading, rows[1], columns[1]]);
};
