import { evaluate, linalg, type Tensor } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import { load, type StoredTensor } from "./kfac-models";

interface LinalgCase {
  readonly n: number;
  readonly condition: number;
  readonly matrix: StoredTensor;
  readonly cholesky: StoredTensor;
  readonly inverse: StoredTensor;
  readonly eigenvalues: StoredTensor;
  readonly logdet: number;
  readonly inverseRoot2: StoredTensor;
  readonly inverseRoot4: StoredTensor;
  readonly general: StoredTensor;
  readonly polarFactor: StoredTensor;
  readonly qrPositiveDiagonal: { readonly q: StoredTensor; readonly r: StoredTensor };
}

const files = readOracles("kfac", (format) => format === "thalweg-linalg-1");
const why = whyNoOracles("kfac");
const cases = files.flatMap(({ name, content }) =>
  (content.cases as readonly LinalgCase[]).map((own, index) => ({ title: `${name} ${index}, n = ${own.n}`, own })),
);

describe.skipIf(why !== undefined)(why ?? "oracles: linear algebra", () => {
  it("are there", () => expect(cases.length).toBeGreaterThan(0));

  it.each(cases)("$title", { timeout: 400_000 }, async ({ own }) => {
    const { n, condition } = own;
    const a = load(own.matrix);
    // Backward stable methods are off by the roundings of n sums, times the condition of what they compute.
    const rounding = n * 2 ** -22;
    const found: readonly (readonly [what: string, actual: Tensor, expected: readonly number[], relative: number])[] = [
      ["cholesky", linalg.cholesky(a), own.cholesky.data, rounding * condition],
      ["inverse", linalg.inversePositiveDefinite(a), own.inverse.data, rounding * condition],
      ["eigenvalues", linalg.eigh(a).values, own.eigenvalues.data, rounding],
      ["log determinant", linalg.logDeterminant(a), [own.logdet], rounding * condition],
      ["A^(-1/2)", linalg.inverseRoot(a, 2, { ridge: 1e-9 }).root, own.inverseRoot2.data, rounding * condition],
      ["A^(-1/4)", linalg.inverseRoot(a, 4, { ridge: 1e-9 }).root, own.inverseRoot4.data, rounding * condition],
      ["polar factor", linalg.orthogonalize(load(own.general)), own.polarFactor.data, rounding * condition],
      ["q", linalg.qr(load(own.general)).q, own.qrPositiveDiagonal.q.data, rounding * condition],
      ["r", linalg.qr(load(own.general)).r, own.qrPositiveDiagonal.r.data, rounding],
    ];
    await evaluate(found.map(([, actual]) => actual));
    for (const [what, actual, expected, relative] of found) {
      const values = await actual.data();
      const error = Math.hypot(...expected.map((value, index) => value - (values[index] as number)));
      expect(error / Math.hypot(...expected), what).toBeLessThan(Math.max(relative, 2e-6));
    }
  });
});
