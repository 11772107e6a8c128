import { formatShape, ShapeError } from "../../errors";
import { invertBlocks } from "../../kernels/triangular-block.wgsl";
import { type Aval, definePrimitive, type Primitive } from "../../primitives/definition";
import { sumTangents, withBatchAxis } from "../../primitives/families";
import { type NdArray, ndarray } from "../../reference/array";
import { sameShape, sizeOf } from "../../shape";
import type { Tensor } from "../../tensor";
import { blocksOf, type LowerMatrix, solveLower, solveLowerTransposed } from "../lower-matrix";
import { bordered, checkSquare, part, stacked, triangle, unstacked } from "../matrix";

export interface TriangularSolveParams {
  /** Which triangle of the matrix is read; the other one counts as zero. */
  readonly lower: boolean;
  /** Solves with the transposed matrix. */
  readonly transpose: boolean;
}

/**
 * X with A X = B, or Aᵀ X = B, for triangular A: `[…, n, n]` and `[…, n, r]` to `[…, n, r]`.
 *
 * Diagonal blocks of at most 64 are inverted, the rest are products. The relative error in norm is at most about
 * n · 2^-23 · condition(A).
 */
export const triangularSolve: Primitive<TriangularSolveParams> = definePrimitive<TriangularSolveParams>({
  name: "triangularSolve",
  shape([a, b]) {
    const [matrix, right] = [a as Aval, b as Aval];
    checkSquare("triangularSolve", matrix);
    const fits = right.shape.length === matrix.shape.length && right.dtype === "f32";
    if (!fits || !sameShape(right.shape.slice(0, -1), matrix.shape.slice(0, -1))) {
      throw new ShapeError(
        `triangularSolve: a right side ${right.dtype} ${formatShape(right.shape)} does not fit matrices ` +
          `${formatShape(matrix.shape)}. It needs the same leading axes and as many rows, in f32.`,
      );
    }
    return { shape: right.shape, dtype: "f32" };
  },
  lowering: {
    kind: "composite",
    expand([a, b], { lower, transpose }) {
      const [matrix, right] = [stacked(a as Tensor), stacked(b as Tensor)];
      if (right.size === 0) return (b as Tensor).zerosLike();
      const [count, extent] = matrix.shape as [number, number];
      const { count: blocks, size } = blocksOf(extent);
      const inverses = matrix.bind(invertBlocks, [matrix], { size, upper: !lower });
      const whole = bordered(lower ? matrix : matrix.transpose(), blocks * size, 0);
      const build = (first: number, end: number): LowerMatrix => {
        if (end - first === 1) {
          const inverse = inverses.slice([0, first], [count, end]).reshape([count, size, size]);
          return { kind: "block", extent: size, inverse };
        }
        const middle = (first + end) / 2;
        const below = part(whole, [middle * size, end * size], [first * size, middle * size]);
        const extent = (end - first) * size;
        return { kind: "halves", extent, top: build(first, middle), below, bottom: build(middle, end) };
      };
      const more = blocks * size - extent;
      const padded = right.pad([
        [0, 0],
        [0, more],
        [0, 0],
      ]);
      // The upper triangle is the lower one of the transposed matrix.
      const solve = lower !== transpose ? solveLower : solveLowerTransposed;
      const solution = solve(build(0, blocks), padded);
      const columns = right.shape[2] as number;
      return unstacked(part(solution, [0, extent], [0, columns]), (b as Tensor).shape.slice(0, -2));
    },
  },
  reference([a, b], { lower, transpose }, output) {
    const [matrix, right] = [a as NdArray, b as NdArray];
    const [n, columns] = [output.shape.at(-2) as number, output.shape.at(-1) as number];
    const result = ndarray(output.shape, output.dtype, () => 0);
    const forward = lower !== transpose;
    for (let index = 0; index < sizeOf(output.shape.slice(0, -2)); index++) {
      const element = (i: number, j: number) =>
        matrix.values[index * n * n + (transpose ? j * n + i : i * n + j)] as number;
      for (let column = 0; column < columns; column++) {
        const at = (i: number) => (index * n + i) * columns + column;
        for (let step = 0; step < n; step++) {
          const i = forward ? step : n - 1 - step;
          let total = right.values[at(i)] as number;
          for (let k = forward ? 0 : i + 1; k < (forward ? i : n); k++) {
            total -= element(i, k) * (result.values[at(k)] as number);
          }
          result.values[at(i)] = total / element(i, i);
        }
      }
    }
    return result;
  },
  vjp(cotangent, { inputs, params, output }) {
    const [a] = inputs as [Tensor, Tensor];
    const right = a.bind(triangularSolve, [a, cotangent], { ...params, transpose: !params.transpose });
    const outer = params.transpose ? output.matmul(right.transpose()) : right.matmul(output.transpose());
    return [triangle(outer.neg(), params.lower), right];
  },
  jvp([ta, tb], { inputs, params, output }) {
    const [a] = inputs as [Tensor, Tensor];
    const own = ta && triangle(ta, params.lower);
    const moved = own && (params.transpose ? own.transpose() : own).matmul(output).neg();
    const right = sumTangents([tb, moved]);
    return right && a.bind(triangularSolve, [a, right], params);
  },
  batch: (inputs, { batched, params, size, bind }) =>
    bind(
      inputs.map((input, index) => withBatchAxis(input, batched[index] as boolean, size)),
      params,
    ),
  sample(draw) {
    const leading = draw.shape({ rank: [0, 2], extent: [1, 3] });
    const n = draw.integer(1, 6);
    return {
      inputs: [
        { shape: [...leading, n, n], dtype: "f32", structure: "triangular" },
        { shape: [...leading, n, draw.integer(1, 4)], dtype: "f32" },
      ],
      params: { lower: draw.integer(0, 1) === 1, transpose: draw.integer(0, 1) === 1 },
    };
  },
});
