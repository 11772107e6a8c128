/**
 * Eigenvalues, ascending, and eigenvectors of the symmetric part of a row-major n by n matrix in float64, by cyclic
 * Jacobi rotations: n eigenvalues, then the n by n eigenvectors in columns, each with its largest component positive.
 *
 * @see Golub and Van Loan, Matrix Computations (2013), algorithm 8.5.3
 */
export function jacobi(matrix: Float64Array, n: number): Float64Array {
  const a = Array.from({ length: n }, (_, i) =>
    Float64Array.from({ length: n }, (_, j) => ((matrix[i * n + j] as number) + (matrix[j * n + i] as number)) / 2),
  );
  const v = Array.from({ length: n }, (_, i) => Float64Array.from({ length: n }, (_, j) => Number(i === j)));
  const at = (rows: readonly Float64Array[], i: number, j: number) => (rows[i] as Float64Array)[j] as number;
  const turn = (rows: readonly Float64Array[], i: number, j: number, k: number, l: number, c: number, s: number) => {
    const [x, y] = [at(rows, i, j), at(rows, k, l)];
    (rows[i] as Float64Array)[j] = c * x - s * y;
    (rows[k] as Float64Array)[l] = s * x + c * y;
  };
  for (let sweep = 0, rotated = true; rotated && sweep < 60; sweep++) {
    rotated = false;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = at(a, p, q);
        if (Math.abs(apq) <= 1e-18 * Math.sqrt(Math.abs(at(a, p, p) * at(a, q, q))) + 1e-300) continue;
        rotated = true;
        const theta = (at(a, q, q) - at(a, p, p)) / (2 * apq);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        for (let k = 0; k < n; k++) turn(a, k, p, k, q, c, t * c);
        for (let k = 0; k < n; k++) turn(a, p, k, q, k, c, t * c);
        for (let k = 0; k < n; k++) turn(v, k, p, k, q, c, t * c);
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => at(a, i, i) - at(a, j, j));
  const result = new Float64Array(n * (n + 1));
  order.forEach((column, place) => {
    const vector = v.map((row) => row[column] as number);
    const largest = vector.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
    result[place] = at(a, column, column);
    vector.forEach((x, row) => {
      result[(row + 1) * n + place] = largest < 0 ? -x : x;
    });
  });
  return result;
}
