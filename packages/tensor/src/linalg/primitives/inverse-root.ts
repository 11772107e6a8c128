import { ArgumentError } from "../../errors";
import { scan } from "../../loops/scan";
import { concat } from "../../primitives/concat";
import { type Aval, definePrimitive } from "../../primitives/definition";
import { type NdArray, ndarray } from "../../reference/array";
import { jacobi } from "../../reference/jacobi";
import { sizeOf } from "../../shape";
import type { Tensor } from "../../tensor";
import {
  checkSquare,
  identityLike,
  nanUnlessFinite,
  onDiagonal,
  part,
  stacked,
  symmetrized,
  unstacked,
} from "../matrix";
import { eigh } from "./eigh";

export interface InverseRootParams {
  /** p of A^(-1/p). */
  readonly root: number;
  /** Added to the diagonal, relative to {@link largestEigenvalue}. */
  readonly ridge: number;
  readonly iterations: number;
}

/** Where the iteration stops: what is left is rounding. */
const smallEnough = 1e-6;
/** Growth of the error beyond which the last step is taken back. */
const mostGrowth = 1.2;

/**
 * A bound of the largest eigenvalue of positive semidefinite matrices `[n, m, m]`, `[n, 1, 1]`, that is at most m^(1/8)
 * times too large: the eighth root of the sum of the eighth powers of the eigenvalues, by two products.
 */
export function largestEigenvalue(a: Tensor): Tensor {
  const size = a.abs().max({ axis: [-2, -1], keepDims: true });
  const scale = size.greater(0).where(size, 1);
  const square = a.div(scale);
  const fourth = square.matmul(square);
  const eighth = fourth
    .matmul(fourth)
    .square()
    .sum({ axis: [-2, -1], keepDims: true });
  return eighth.sqrt().sqrt().sqrt().mul(scale);
}

/**
 * (A + ridge · λ · I)^(-1/p) of the positive semidefinite (A + Aᵀ) / 2, `[…, n, n]`, with λ of {@link largestEigenvalue}:
 * `[…, n + 1, n]`, the root over a row whose first element is the residual max |M - I| of the iteration.
 *
 * All NaN where an element of A is not finite. The ridge counts as a constant in derivatives; the residual has none.
 *
 * @see Guo and Higham, A Schur-Newton method for the matrix pth root and its inverse (2006), the coupled iteration (3.4);
 *   Anil et al., Scalable second order optimization for deep learning (2020), for its use
 */
export const inverseRoot = definePrimitive<InverseRootParams>({
  name: "inverseRoot",
  shape([a], { root, ridge, iterations }) {
    const { shape } = a as Aval;
    checkSquare("inverseRoot", a as Aval);
    if (!Number.isInteger(root) || root < 1) {
      throw new ArgumentError(`inverseRoot: the root is ${root}. Give an integer of at least 1.`);
    }
    if (!(ridge >= 0) || !Number.isInteger(iterations) || iterations < 1) {
      throw new ArgumentError(
        `inverseRoot: ridge is ${ridge}, iterations is ${iterations}. Give a ridge of at least 0 and 1 or more iterations.`,
      );
    }
    const n = shape.at(-1) as number;
    return { shape: [...shape.slice(0, -2), n + 1, n], dtype: "f32" };
  },
  lowering: {
    kind: "composite",
    expand([a], params) {
      const input = a as Tensor;
      const n = input.shape.at(-1) as number;
      if (input.size === 0) return input.bind(concat, [input, rowLike(input)], { axis: input.rank - 2 }).mul(0);
      const matrix = symmetrized(stacked(input));
      const { root, residual } = iterate(matrix, params);
      const row = residual.pad([
        [0, 0],
        [0, 0],
        [0, n - 1],
      ]);
      const result = root.bind(concat, [root, row], { axis: 1 });
      return unstacked(nanUnlessFinite(matrix, result), input.shape.slice(0, -2));
    },
  },
  reference([a], { root, ridge }, output) {
    const { values } = a as NdArray;
    const n = output.shape.at(-1) as number;
    const result = ndarray(output.shape, output.dtype, () => 0);
    for (let index = 0; index < sizeOf(output.shape.slice(0, -2)); index++) {
      const eigen = jacobi(values.subarray(index * n * n, (index + 1) * n * n), n);
      const bound = eigen.subarray(0, n).reduce((sum, x) => sum + x ** 8, 0) ** (1 / 8);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          let total = 0;
          for (let k = 0; k < n; k++) {
            const value = (eigen[k] as number) + ridge * bound;
            total += (eigen[(i + 1) * n + k] as number) * (eigen[(j + 1) * n + k] as number) * value ** (-1 / root);
          }
          result.values[index * n * (n + 1) + i * n + j] = total;
        }
      }
    }
    return result;
  },
  vjp: (cotangent, { inputs, params }) => [derivative(inputs[0] as Tensor, withoutLast(cotangent), params)],
  jvp([tangent], { inputs, params }) {
    if (!tangent) return null;
    const result = derivative(inputs[0] as Tensor, tangent, params);
    return result.bind(concat, [result, rowLike(result)], { axis: result.rank - 2 });
  },
  batch: ([a], { params, bind }) => bind([a as Tensor], params),
  sample(draw) {
    const n = draw.integer(1, 5);
    const shape = [...draw.shape({ rank: [0, 2], extent: [1, 3] }), n, n];
    return {
      inputs: [{ shape, dtype: "f32", structure: "positiveDefinite" }],
      params: { root: draw.integer(1, 4), ridge: 0, iterations: 20 },
    };
  },
});

/** A row of zeros for matrices like these. */
const rowLike = (x: Tensor): Tensor => x.sum({ axis: -2, keepDims: true }).zerosLike();

/** All rows but the last. */
const withoutLast = (x: Tensor): Tensor => {
  const n = x.shape.at(-1) as number;
  return part(x, [0, n], [0, n]);
};

/** Iterates, `[n, m, m]` and `[n, 1, 1]`, and whether they still change. */
type Iterate = Readonly<Record<"m" | "h" | "error" | "active", Tensor>>;

/**
 * T = ((p + 1) I - M) / p; M ← Tᵖ M, H ← H T from M = z A, H = z^(1/p) I with z = (1 + p) / (2 λ). M goes to I, and H to
 * A^(-1/p). A matrix whose error is small, or grows, is left as it is in all further iterations.
 */
function iterate(matrix: Tensor, { root, ridge, iterations }: InverseRootParams): { root: Tensor; residual: Tensor } {
  const bound = largestEigenvalue(matrix);
  // A matrix of zeros counts as one with eigenvalues of the ridge.
  const scale = bound.greater(0).where(bound, 1);
  const unit = identityLike(matrix);
  const z = scale.mul(2 / (1 + root)).reciprocal();
  const start = matrix.add(unit.mul(scale.mul(ridge))).mul(z);
  const errorOf = (x: Tensor): Tensor =>
    x
      .sub(identityLike(x))
      .abs()
      .max({ axis: [-2, -1], keepDims: true });
  const first = errorOf(start);
  const carry: Iterate = {
    m: start,
    h: unit.mul(
      z
        .log()
        .mul(1 / root)
        .exp(),
    ),
    error: first,
    active: first.greater(smallEnough),
  };
  const [last] = scan(
    ({ m, h, error, active }: Iterate) => {
      const t = identityLike(m)
        .mul(1 + 1 / root)
        .sub(m.mul(1 / root));
      const nextM = symmetrized(power(t, root).matmul(m));
      const nextError = errorOf(nextM);
      // The first steps may enlarge the error of what is still far from converged.
      const accepted = active.and(nextError.lessEqual(error.mul(mostGrowth)).or(nextError.lessEqual(1)));
      const next: Iterate = {
        m: accepted.where(nextM, m),
        h: accepted.where(h.matmul(t), h),
        error: accepted.where(nextError, error),
        active: accepted.and(nextError.greater(smallEnough)),
      };
      return [next, null];
    },
    carry,
    null,
    { length: iterations },
  );
  return { root: symmetrized(last.h), residual: last.error };
}

/** tᵖ by squaring. */
function power(t: Tensor, exponent: number): Tensor {
  if (exponent === 1) return t;
  const half = power(t, Math.floor(exponent / 2));
  const square = half.matmul(half);
  return exponent % 2 === 0 ? square : square.matmul(t);
}

/**
 * The derivative of X = B^(-1/p) along the symmetric part of E: V (F ∘ (Vᵀ E V)) Vᵀ for the eigenvectors V of B. With the
 * eigenvalues x of X, F_ij = -x_i x_j / Σ_k x_i^-(p-1-k) x_j^-k, without differences: equal eigenvalues are no exception.
 * It is its own transpose.
 */
function derivative(input: Tensor, along: Tensor, { root, ridge }: InverseRootParams): Tensor {
  const n = input.shape.at(-1) as number;
  const matrix = symmetrized(input);
  const bound = largestEigenvalue(stacked(matrix))
    .mul(ridge)
    .stopGradient()
    .reshape([...input.shape.slice(0, -2), 1, 1]);
  const shifted = onDiagonal(matrix).where(matrix.add(bound), matrix);
  const eigen = input.bind(eigh, [shifted], undefined);
  const vectors = part(eigen, [1, n + 1], [0, n]);
  const row = part(eigen, [0, 1], [0, n])
    .log()
    .mul(-1 / root)
    .exp();
  const column = row.transpose();
  let sum = row.mul(column).zerosLike();
  for (let k = 0; k < root; k++) sum = sum.add(column.pow(k + 1 - root).mul(row.pow(-k)));
  const factors = row.mul(column).div(sum).neg();
  const turned = vectors.transpose().matmul(symmetrized(along)).matmul(vectors);
  return vectors.matmul(factors.mul(turned)).matmul(vectors.transpose());
}
