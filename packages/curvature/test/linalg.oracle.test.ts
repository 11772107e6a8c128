import { evaluate, eye, linalg, type Tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import { exactLoader, type Load, load, type StoredTensor } from "./kfac-models";

interface LinalgCase {
  readonly n: number;
  readonly condition: number;
  readonly matrix: StoredTensor;
  readonly cholesky: StoredTensor;
  readonly cholInverse: StoredTensor;
  readonly inverse: StoredTensor;
  readonly eigenvalues: StoredTensor;
  readonly logdet: number;
  readonly inverseRoot2: StoredTensor;
  readonly inverseRoot4: StoredTensor;
  readonly general: StoredTensor;
  readonly polarFactor: StoredTensor;
  readonly qrPositiveDiagonal: { readonly q: StoredTensor; readonly r: StoredTensor };
}

interface Comparison {
  readonly what: string;
  readonly actual: Tensor;
  readonly expected: readonly number[];
  /** Whether the condition enlarges rounding. */
  readonly isConditioned: boolean;
}

/** @param ridge what is added before a root is taken, relative to the largest eigenvalue. */
function comparisons(own: LinalgCase, from: Load, ridge: number): Comparison[] {
  const [a, general] = [from(own.matrix), from(own.general)];
  const factor = linalg.cholesky(a);
  const { q, r } = linalg.qr(general);
  const found: Comparison[] = [];
  const add = (what: string, actual: Tensor, { data }: StoredTensor, isConditioned = true) =>
    found.push({ what, actual, expected: data, isConditioned });
  add("cholesky", factor, own.cholesky);
  add("inverse of the Cholesky factor", linalg.triangularSolve(factor, eye(own.n)), own.cholInverse);
  add("inverse", linalg.inversePositiveDefinite(a), own.inverse);
  add("eigenvalues", linalg.eigh(a).values, own.eigenvalues, false);
  add("log determinant", linalg.logDeterminant(a), { shape: [], data: [own.logdet] });
  add("A^(-1/2)", linalg.inverseRoot(a, 2, { ridge }).root, own.inverseRoot2);
  add("A^(-1/4)", linalg.inverseRoot(a, 4, { ridge }).root, own.inverseRoot4);
  add("polar factor", linalg.orthogonalize(general), own.polarFactor);
  add("q", q, own.qrPositiveDiagonal.q);
  add("r", r, own.qrPositiveDiagonal.r, false);
  return found;
}

/** Backward stable methods are off by the roundings of n sums, times the condition of what they compute. */
function check(
  found: readonly Comparison[],
  values: readonly ArrayLike<number>[],
  { n, condition }: LinalgCase,
  unit: number,
): void {
  found.forEach(({ what, expected, isConditioned }, index) => {
    const actual = values[index] as ArrayLike<number>;
    expect(actual.length, what).toBe(expected.length);
    const error = Math.hypot(...expected.map((value, at) => value - (actual[at] as number)));
    const relative = n * unit * (isConditioned ? condition : 1);
    expect(error / Math.hypot(...expected), what).toBeLessThan(Math.max(relative, 8 * unit));
  });
}

const files = readOracles("kfac", (format) => format === "thalweg-linalg-1");
const why = whyNoOracles("kfac");
const cases = files.flatMap(({ name, content }) =>
  (content.cases as readonly LinalgCase[]).map((own, index) => ({ title: `${name} ${index}, n = ${own.n}`, own })),
);

describe.skipIf(why !== undefined)(why ?? "oracles: linear algebra", () => {
  it("are there", () => expect(cases.length).toBeGreaterThan(0));

  it.each(cases)("$title in float64", ({ own }) => {
    const { load: exactly, bindings } = exactLoader();
    const found = comparisons(own, exactly, 2 ** -50);
    const arrays = evaluateReference(
      found.map(({ actual }) => actual),
      bindings,
    );
    check(
      found,
      arrays.map(({ values }) => values),
      own,
      2 ** -46,
    );
  });

  it.each(cases)("$title on the device", { timeout: 400_000 }, async ({ own }) => {
    const found = comparisons(own, load, 1e-9);
    await evaluate(found.map(({ actual }) => actual));
    check(found, await Promise.all(found.map(({ actual }) => actual.data())), own, 2 ** -22);
  });
});
