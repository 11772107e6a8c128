/** Small systems by their matrix. */
import { ArgumentError, evaluate, linalg } from "@thalweg/tensor";
import { flattenTree, type LinearOperator, toDense, unflattenTree } from "../operators/linear-operator";

export interface DenseSolveOptions {
  /** Largest number of elements of the matrix; see {@link toDense}. Default 2^24. */
  readonly limit?: number;
}

/**
 * Solves A x = b for a symmetric positive definite operator by the Cholesky factor of its matrix: n products, n² memory,
 * n³ / 3 multiply-adds.
 *
 * @param b One right side: a tree like the domain.
 * @throws UnsupportedError if the matrix is too large; ArgumentError if f32 cannot tell it from one that is not positive
 *   definite.
 */
export async function denseSolve<T>(operator: LinearOperator<T>, b: T, { limit }: DenseSolveOptions = {}): Promise<T> {
  const matrix = toDense(operator, limit === undefined ? {} : { limit });
  const { factor, replaced } = linalg.choleskyReport(matrix);
  const half = linalg.triangularSolve(factor, flattenTree(b).expandDims(1));
  const solution = linalg.triangularSolve(factor, half, { transpose: true }).flatten();
  await evaluate([replaced, solution]);
  const missing = await replaced.item();
  if (missing > 0) {
    throw new ArgumentError(
      `denseSolve of ${operator.name}: ${missing} of ${matrix.shape[0]} pivots are not positive in f32. Add λ with shifted, or take ` +
        "lsmr for operators that are not positive definite.",
    );
  }
  return unflattenTree(solution, operator.domain);
}
