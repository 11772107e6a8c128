/** Small symmetric matrices on the host, in float64. */

export interface HostEigen {
  /** Ascending. */
  readonly values: readonly number[];
  /** `vectors[i]` belongs to `values[i]`. */
  readonly vectors: readonly (readonly number[])[];
}

/** Eigenvalues and eigenvectors of a symmetric matrix by cyclic Jacobi rotations: for what Krylov methods leave. */
export function symmetricEigen(matrix: readonly (readonly number[])[]): HostEigen {
  const n = matrix.length;
  const a = matrix.map((row) => [...row]);
  const v = matrix.map((_, i) => matrix.map((_, j) => (i === j ? 1 : 0)));
  const at = (m: number[][], i: number, j: number): number => (m[i] as number[])[j] as number;
  const size = Math.hypot(...a.flat());
  for (let sweep = 0; sweep < 60; sweep++) {
    const off = Math.hypot(...a.flatMap((row, i) => row.filter((_, j) => j !== i)));
    if (off <= 1e-15 * size) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const pq = at(a, p, q);
        if (Math.abs(pq) <= 1e-300) continue;
        const theta = (at(a, q, q) - at(a, p, p)) / (2 * pq);
        const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        const s = t * c;
        for (let k = 0; k < n; k++) {
          const row = a[k] as number[];
          [row[p], row[q]] = [c * at(a, k, p) - s * at(a, k, q), s * at(a, k, p) + c * at(a, k, q)];
        }
        const [rowP, rowQ] = [a[p] as number[], a[q] as number[]];
        for (let k = 0; k < n; k++) {
          [rowP[k], rowQ[k]] = [
            c * (rowP[k] as number) - s * (rowQ[k] as number),
            s * (rowP[k] as number) + c * (rowQ[k] as number),
          ];
          const row = v[k] as number[];
          [row[p], row[q]] = [c * at(v, k, p) - s * at(v, k, q), s * at(v, k, p) + c * at(v, k, q)];
        }
      }
    }
  }
  const order = a.map((_, i) => i).sort((i, j) => at(a, i, i) - at(a, j, j));
  return {
    values: order.map((i) => at(a, i, i)),
    vectors: order.map((i) => v.map((row) => row[i] as number)),
  };
}
