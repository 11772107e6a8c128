import { factorBlocks } from "../../kernels/triangular-block.wgsl";
import { type Aval, definePrimitive } from "../../primitives/definition";
import { type NdArray, ndarray } from "../../reference/array";
import { sizeOf } from "../../shape";
import type { Tensor } from "../../tensor";
import { blocksOf, joined, type LowerMatrix, solveLower } from "../lower-matrix";
import {
  bordered,
  checkSquare,
  diagonal,
  nanUnlessFinite,
  onDiagonal,
  part,
  stacked,
  symmetrized,
  triangle,
  unstacked,
} from "../matrix";
import { triangularSolve } from "./triangular-solve";

/** The least pivot, relative to the largest element on the diagonal: what rounding leaves of a pivot that is zero. */
const leastRelativePivot = (extent: number): number => Math.sqrt(extent) * 2 ** -22;

/**
 * The least pivots `[…]` of the factorizations of `a: […, n, n]`: below, f32 knows nothing of a pivot but its sign.
 * Without a positive element on the diagonal there is no scale, and it is 1.
 */
export function leastPivot(a: Tensor): Tensor {
  const largest = diagonal(a).max({ axis: -1 });
  const n = a.shape.at(-1) as number;
  return largest.greater(0).where(largest.mul(leastRelativePivot(n)).maximum(2 ** -120), 1);
}

/**
 * The lower triangular L with L Lᵀ = A for the symmetric positive definite (A + Aᵀ) / 2: `[…, n, n]` to `[…, n, n]`.
 *
 * A pivot that is not above √n · 2^-22 · max diag(A) is replaced by that value, and |L_ij| is kept below 2 √A_ii, which
 * holds by itself for every positive definite A: the result is finite for every finite A, and it is the factor of A exactly
 * if no pivot was replaced. Elements that are not finite make the whole factor NaN. |L Lᵀ - A| is at most about n · 2^-24 · max diag(A).
 *
 * @see Golub and Van Loan, Matrix Computations (2013), section 4.2; Murray, Differentiation of the Cholesky
 *   decomposition (2016), for the derivatives
 */
export const cholesky = definePrimitive<undefined>({
  name: "cholesky",
  shape([a]) {
    checkSquare("cholesky", a as Aval);
    return a as Aval;
  },
  lowering: {
    kind: "composite",
    expand([a]) {
      const input = a as Tensor;
      if (input.size === 0) return input.zerosLike();
      const matrix = symmetrized(stacked(input));
      const [matrices, extent] = matrix.shape as [number, number];
      const { count, size } = blocksOf(extent);
      const least = leastPivot(matrix);
      const limits = diagonal(bordered(matrix, count * size, 1))
        .maximum(0)
        .sqrt()
        .mul(2);
      const limitsOf = (first: number, end: number): Tensor => limits.slice([0, first], [matrices, end]);
      const factor = (symmetric: Tensor, first: number): LowerMatrix => {
        const extent = symmetric.shape[1] as number;
        if (extent === size) {
          const pair = input.bind(factorBlocks, [symmetric, least, limitsOf(first, first + size)], {});
          const [own, inverse] = [0, 1].map((index) => pair.slice([index], [index + 1]).reshape(symmetric.shape));
          return { kind: "block", extent, factor: own as Tensor, inverse: inverse as Tensor };
        }
        const half = extent / 2;
        const [upper, lower] = [[0, half] as const, [half, extent] as const];
        const top = factor(part(symmetric, upper, upper), first);
        const limit = limitsOf(first + half, first + extent).expandDims(1);
        const right = solveLower(top, part(symmetric, upper, lower), limit);
        const below = right.transpose();
        const rest = part(symmetric, lower, lower).sub(below.matmul(right));
        return { kind: "halves", extent, top, below, bottom: factor(rest, first + half) };
      };
      const whole = assembled(factor(bordered(matrix, count * size, 1), 0));
      return unstacked(nanUnlessFinite(matrix, part(whole, [0, extent], [0, extent])), input.shape.slice(0, -2));
    },
  },
  reference([a], _params, output) {
    const { values } = a as NdArray;
    const n = output.shape.at(-1) as number;
    const result = ndarray(output.shape, output.dtype, () => 0);
    for (let index = 0; index < sizeOf(output.shape.slice(0, -2)); index++) {
      const start = index * n * n;
      const symmetric = (i: number, j: number) =>
        ((values[start + i * n + j] as number) + (values[start + j * n + i] as number)) / 2;
      const l = (i: number, j: number) => result.values[start + i * n + j] as number;
      const largest = Math.max(...Array.from({ length: n }, (_, i) => symmetric(i, i)));
      const least = largest > 0 ? Math.max(leastRelativePivot(n) * largest, 2 ** -120) : 1;
      for (let j = 0; j < n; j++) {
        for (let i = j; i < n; i++) {
          let total = symmetric(i, j);
          for (let k = 0; k < j; k++) total -= l(i, k) * l(j, k);
          const limit = 2 * Math.sqrt(Math.max(0, symmetric(i, i)));
          result.values[start + i * n + j] =
            i === j ? Math.sqrt(Math.max(total, least)) : Math.max(-limit, Math.min(limit, total / l(j, j)));
        }
      }
    }
    return result;
  },
  vjp(cotangent, { output: l }) {
    // Ā = sym(L⁻ᵀ Φ(Lᵀ L̄) L⁻¹), where Φ takes the lower triangle with half the diagonal.
    const inner = halfLower(l.transpose().matmul(triangle(cotangent, true)));
    const left = solveTransposed(l, inner);
    return [symmetrized(solveTransposed(l, left.transpose()))];
  },
  jvp([tangent], { output: l }) {
    if (!tangent) return null;
    // L̇ = L Φ(L⁻¹ Ȧ L⁻ᵀ).
    const left = solve(l, symmetrized(tangent));
    return l.matmul(halfLower(solve(l, left.transpose())));
  },
  batch: ([a], { params, bind }) => bind([a as Tensor], params),
  sample(draw) {
    const n = draw.integer(1, 6);
    const shape = [...draw.shape({ rank: [0, 2], extent: [1, 3] }), n, n];
    return { inputs: [{ shape, dtype: "f32", structure: "positiveDefinite" }], params: undefined };
  },
});

const solve = (l: Tensor, b: Tensor): Tensor => l.bind(triangularSolve, [l, b], { lower: true, transpose: false });
const solveTransposed = (l: Tensor, b: Tensor): Tensor =>
  l.bind(triangularSolve, [l, b], { lower: true, transpose: true });

/** The lower triangle with half of the diagonal. */
const halfLower = (x: Tensor): Tensor => onDiagonal(x).where(x.mul(0.5), triangle(x, true));

/** The whole factor from its blocks. */
function assembled(l: LowerMatrix): Tensor {
  if (l.kind === "block") return l.factor as Tensor;
  const right = l.below.zerosLike().transpose();
  return joined([joined([assembled(l.top), right], -1), joined([l.below, assembled(l.bottom)], -1)], -2);
}
