import { init, key, linalg, normal, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type CurvatureProblem,
  crossEntropy,
  ggnOperator,
  type LinearOperator,
  type LobpcgOptions,
  lobpcg,
  scaled,
  symmetricOperator,
  toDense,
} from "../src/index";
import { deviceNumbers, distance, norm, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

const range = (n: number): readonly number[] => Array.from({ length: n }, (_, index) => index);

/** Q diag(values) Qᵀ on vectors. */
async function operatorOf(values: readonly number[]): Promise<LinearOperator<Tensor>> {
  const n = values.length;
  const { q } = linalg.qr(normal(key(1), [n, n]));
  const product = q.mul(tensor(Float32Array.from(values))).matmul(q.transpose());
  const matrix = tensor(Float32Array.from((await deviceNumbers(product))[0] as number[]), { shape: [n, n] });
  return symmetricOperator("test", tensor(new Float32Array(n)), (v) => matrix.dot(v));
}

/** Checks what a result says of itself by products of its own. */
async function expectEigenpairs<T>(
  operator: LinearOperator<T>,
  { pairs }: Awaited<ReturnType<typeof lobpcg<T>>>,
  extent: number,
): Promise<void> {
  const flat = (tree: unknown): Tensor[] => treeLeaves<Tensor>(tree).map((leaf) => leaf.flatten());
  const vectors: number[][] = [];
  for (const { value, vector, residual } of pairs) {
    const [v, product] = [
      (await deviceNumbers(flat(vector))).flat(),
      (await deviceNumbers(flat(operator.apply(vector)))).flat(),
    ];
    // The product and the value were rounded once.
    const found = distance(
      product,
      v.map((own) => own * value),
    );
    expect(Math.abs(found - residual)).toBeLessThan(1e-5 * extent);
    vectors.push(v);
  }
  for (const [i, v] of vectors.entries()) {
    for (const [j, w] of vectors.entries()) {
      const dot = v.reduce((sum, own, index) => sum + own * (w[index] as number), 0);
      expect(dot).toBeCloseTo(Number(i === j), 5);
    }
  }
}

describe("the outermost eigenpairs", { timeout: 240_000 }, () => {
  const spectra: Readonly<Record<string, readonly number[]>> = {
    "evenly spaced": range(40).map((index) => index + 1),
    "of both signs": range(40).map((index) => (index % 2 === 0 ? index + 1 : -index - 1)),
    decaying: range(40).map((index) => 10 * 0.7 ** index),
    "of rank 2": range(40).map((index) => (index === 0 ? 7 : index === 1 ? -3 : 0)),
  };

  it.each(Object.keys(spectra))("are found with their residuals, largest and smallest: %s", async (name) => {
    const values = [...(spectra[name] as readonly number[])].sort((a, b) => b - a);
    const operator = await operatorOf(values);
    const extent = Math.max(...values.map(Math.abs));
    for (const which of ["largest", "smallest"] as const) {
      // Near 0 the decaying one is a crowd that f32 hardly tells apart.
      const tolerance = name === "decaying" && which === "smallest" ? 1e-4 : 2e-5;
      const result = await lobpcg(operator, { count: 3, which, key: key(2), tolerance });
      expect(result.reason).toBe("converged");
      const exact = which === "largest" ? values : [...values].reverse();
      result.pairs.forEach(({ value, residual, isConverged }, index) => {
        expect(isConverged).toBe(true);
        expect(residual).toBeLessThanOrEqual(tolerance * extent * (1 + 1e-5));
        // Some eigenvalue is within the residual, and the spectrum itself was rounded.
        expect(Math.abs(value - (exact[index] as number))).toBeLessThan((tolerance + 2e-5) * extent);
      });
      await expectEigenpairs(operator, result, extent);
      expect(result.relativeResiduals).toHaveLength(1 + Math.ceil(result.iterations / 8));
    }
  });

  it("are found as often as they occur", async () => {
    const operator = await operatorOf(range(30).map((index) => (index < 3 ? 5 : index / 30)));
    const result = await lobpcg(operator, { count: 4, key: key(3) });
    const rounded = result.pairs.map(({ value }) => Math.round(1e3 * value));
    expect(rounded).toEqual([5000, 5000, 5000, 967]);
    await expectEigenpairs(operator, result, 5);
  });

  it("of a network's Gauss-Newton matrix are those of the dense matrix", async () => {
    const params: Params = { w: random(1, [4, 5]), b: random(2, [5]), head: random(3, [5, 3]) };
    const problem: CurvatureProblem<Params> = {
      loss: crossEntropy,
      model: (p, x) =>
        x
          .dot(p.w as Tensor)
          .add(p.b as Tensor)
          .tanh()
          .dot(p.head as Tensor),
    };
    const batch = { inputs: random(4, [12, 4]), targets: tensor(Int32Array.from(range(12).map((index) => index % 3))) };
    const operator = ggnOperator(problem, params, batch);
    const [dense] = (await deviceNumbers([linalg.eigh(toDense(operator)).values])) as [number[]];
    const exact = dense.sort((a, b) => b - a);
    const result = await lobpcg(operator, { count: 4, key: key(5) });
    const largest = exact[0] as number;
    expect(
      distance(
        result.pairs.map(({ value }) => value),
        exact.slice(0, 4),
      ),
    ).toBeLessThan(2e-4 * largest);
    await expectEigenpairs(operator, result, largest);
    expect(Object.keys(result.pairs[0]?.vector as Params)).toEqual(["w", "b", "head"]);
  });

  it.each([
    [9, 1],
    [9, 3],
    [13, 2],
    [31, 10],
  ])("fit wherever three blocks do: %i dimensions, %i wanted", async (n, count) => {
    const operator = await operatorOf(range(n).map((index) => index - n / 2));
    const result = await lobpcg(operator, { count, key: key(n) });
    expect(result.reason).toBe("converged");
    result.pairs.forEach(({ value }, index) => {
      expect(Math.abs(value - (n / 2 - 1 - index))).toBeLessThan(1e-4 * n);
    });
  });
});

describe("the way there", { timeout: 240_000 }, () => {
  /** Diagonal, with a cluster at one end. */
  const cluster = range(60).map((index) => 1e-2 * (index + 1) ** 2);
  const diagonal = tensor(Float32Array.from(cluster));
  const operator = symmetricOperator("diagonal", diagonal, (v: Tensor) => v.mul(diagonal));
  const smallest: LobpcgOptions<Tensor> = { count: 3, which: "smallest", key: key(6), tolerance: 1e-5 };

  it("is short with an inverse as preconditioner, and without iterations from the result", async () => {
    const plain = await lobpcg(operator, smallest);
    const helped = await lobpcg(operator, { ...smallest, preconditioner: (v) => v.div(diagonal.add(1e-3)) });
    expect(plain.reason).toBe("converged");
    // Without the directions of the last moves there are more than 200.
    expect(plain.iterations).toBeLessThanOrEqual(80);
    expect(helped.reason).toBe("converged");
    expect(helped.iterations).toBeLessThanOrEqual(plain.iterations / 2);
    const rows = await Promise.all(helped.pairs.map(({ vector }) => vector.data()));
    const start = tensor(Float32Array.from(rows.flatMap((row) => Array.from(row as Float32Array))), { shape: [3, 60] });
    const again = await lobpcg(operator, { ...smallest, start });
    // The residuals are those that it ended with; the threshold is relative to the largest value seen, which is smaller now.
    expect(again.relativeResiduals[0]?.every((residual) => residual < 1e-4)).toBe(true);
    expect(again.iterations).toBeLessThanOrEqual(8);
  });

  it("searches for what has not converged only", async () => {
    const size = 8;
    const spread = symmetricOperator("spread", diagonal, (v: Tensor) => v.mul(far));
    const result = await lobpcg(spread, { count: 7, blockSize: size, key: key(7), tolerance: 2e-5 });
    expect(result.reason).toBe("converged");
    const chunks = result.relativeResiduals.length;
    expect(result.products).toBeLessThan(size * (result.iterations + 2 * chunks));
  });
  /** Six that are found at once, and a seventh in a crowd. */
  const far = tensor(Float32Array.from(range(60).map((index) => (index < 6 ? 100 - 10 * index : 1 + 1e-2 * index))));

  it("ends at maxIterations, and says what has not converged", async () => {
    const result = await lobpcg(operator, { ...smallest, maxIterations: 3 });
    expect(result).toMatchObject({ reason: "maxIterations", iterations: 3 });
    expect(result.pairs.some(({ isConverged }) => !isConverged)).toBe(true);
    for (const { residual, isConverged } of result.pairs) {
      const relative = residual / (cluster.at(-1) as number);
      if (relative > 1.1e-5) expect(isConverged).toBe(false);
    }
    await expectEigenpairs(operator, result, 36);
  });

  it("is over at once for operators that all vectors are eigenvectors of", async () => {
    for (const factor of [0, 3]) {
      const own = symmetricOperator("multiple", diagonal, (v: Tensor) => v.mul(factor));
      const { pairs, iterations } = await lobpcg(own, { count: 2, key: key(8) });
      expect(iterations).toBe(0);
      expect(pairs.map(({ value }) => Math.round(1e5 * value))).toEqual([1e5 * factor, 1e5 * factor]);
      expect(norm(pairs.map(({ residual }) => residual))).toBeLessThan(1e-5);
    }
  });

  it("does not begin with what does not fit, or is not finite", async () => {
    const rejects = (options: Partial<LobpcgOptions<Tensor>>) =>
      expect(lobpcg(operator, { ...smallest, ...options })).rejects;
    await rejects({ count: 21 }).toThrow(/21 eigenpairs in 60 dimensions.* 20/);
    await rejects({ count: 0 }).toThrow(/0 eigenpairs/);
    await rejects({ blockSize: 2 }).toThrow(/blockSize 2.* from count, 3, to 20/);
    await rejects({ tolerance: 0 }).toThrow(/tolerance 0/);
    await rejects({ start: random(1, [6, 60]) }).toThrow(/6 vectors to start with, the block has 5/);
    await expect(lobpcg(scaled(operator, Number.NaN), smallest)).rejects.toThrow(/diagonal are not finite/);
  });
});
