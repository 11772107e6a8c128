import { grad } from "@thalweg/autograd";
import { eye, init, key, linalg, normal, stack, type Tensor, tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  composed,
  conjugateGradient,
  conjugateGradients,
  deflated,
  denseSolve,
  difference,
  type Eigenpair,
  estimateDiagonal,
  estimateFrobenius,
  estimateTrace,
  type LinearOperator,
  lanczos,
  lsmr,
  neumannInverse,
  neumannSolve,
  restricted,
  scaled,
  shifted,
  spectralDensity,
  sum,
  symmetricOperator,
  toDense,
  topEigenpairs,
  transposed,
} from "../src/index";

beforeAll(async () => void (await init()));

/** Q diag(values) Qᵀ on vectors. */
function operatorOf(
  values: readonly number[],
  seed = 1,
): { readonly matrix: Tensor; readonly operator: LinearOperator<Tensor> } {
  const n = values.length;
  const { q } = linalg.qr(normal(key(seed), [n, n]));
  const matrix = q.mul(tensor(Float32Array.from(values))).matmul(q.transpose());
  return { matrix, operator: symmetricOperator("test", tensor(new Float32Array(n)), (v: Tensor) => matrix.dot(v)) };
}

const values = [0.5, 1, 1.5, 2, 3, 5, 8, 12];
const b = tensor(Float32Array.from([1, -2, 3, 0, 1, 1, -1, 2]));
const distance = async (a: Tensor, c: Tensor): Promise<number> => a.sub(c).square().sum().sqrt().item();

describe("linear systems", () => {
  it("conjugate gradients, and a Neumann series that has the time to converge, solve them", async () => {
    const { operator } = operatorOf(values);
    const { solution, reason, iterations } = await conjugateGradient(operator, b, { tolerance: 1e-5 });
    expect(reason).toBe("converged");
    expect(iterations).toBeLessThanOrEqual(16);
    expect(await distance(operator.apply(solution), b)).toBeLessThan(1e-4);
    const series = neumannInverse(operator, b, { scale: 0.15, terms: 400 });
    expect(await distance(operator.apply(series), b)).toBeLessThan(1e-3);
  });

  it("conjugate gradients solve several systems in one pass, each to its own end", async () => {
    const { operator } = operatorOf(values);
    const many = stack([b, b.mul(0), b.square()]);
    const preconditioner = (v: Tensor): Tensor => v.mul(0.5);
    for (const options of [{ tolerance: 1e-5 }, { tolerance: 1e-5, preconditioner, start: many.mul(0.1) }]) {
      const { solutions, histories } = await conjugateGradients(operator, many, options);
      expect(histories.map(({ reason }) => reason)).toEqual(["converged", "converged", "converged"]);
      for (const [index, right] of [b, b.mul(0), b.square()].entries()) {
        const own = solutions.slice([index, 0], [index + 1, 8]).flatten();
        expect(await distance(operator.apply(own), right)).toBeLessThan(1e-3);
      }
    }
    const { histories } = await conjugateGradients(operator, many, { tolerance: 1e-5 });
    expect(histories[1]?.iterations).toBe(0);
    const single = await conjugateGradient(operator, b, { tolerance: 1e-5 });
    expect(histories[0]?.iterations).toBe(single.iterations);
  });

  it("LSMR solves indefinite and rectangular systems, damped or not, and says when it has not", async () => {
    const indefinite = operatorOf([-3, -1, 1, 2, 3, 4, 5, 7]).operator;
    const { solution, reason, relativeResidual } = await lsmr(indefinite, b, { tolerance: 1e-6 });
    expect(reason).toBe("converged");
    expect(await distance(indefinite.apply(solution), b)).toBeLessThan(1e-3);
    expect(relativeResidual).toBeLessThan(1e-3);

    const tall = normal(key(11), [12, 5]);
    const operator: LinearOperator<Tensor> = {
      name: "tall",
      domain: tensor(new Float32Array(5)),
      range: tensor(new Float32Array(12)),
      apply: (v) => tall.dot(v),
      applyTranspose: (u) => tall.transpose().dot(u),
    };
    const right = normal(key(12), [12]);
    for (const damping of [0, 0.7]) {
      const found = await lsmr(operator, right, { tolerance: 1e-6, damping });
      const normalMatrix = tall
        .transpose()
        .matmul(tall)
        .add(eye(5).mul(damping ** 2));
      const exact = linalg.solvePositiveDefinite(normalMatrix, tall.transpose().dot(right).expandDims(1)).flatten();
      expect(await distance(found.solution, exact)).toBeLessThan(1e-3);
      expect(found.iterations).toBeLessThanOrEqual(10);
    }
    const nothing = await lsmr(operator, right.mul(0));
    expect([nothing.reason, nothing.iterations]).toEqual(["converged", 0]);
    expect((await lsmr(operator, right, { tolerance: 1e-6, maxIterations: 2 })).reason).toBe("maxIterations");
    await expect(lsmr(scaled(operator, Number.NaN), right)).rejects.toThrow(/not finite/);
    await expect(lsmr(operator, right, { tolerance: 0 })).rejects.toThrow(/tolerance 0/);
  });

  it("a Neumann series finds its scale, and says when it diverges", async () => {
    const { operator } = operatorOf(values);
    const { solution, relativeResidual } = await neumannSolve(operator, b, { key: key(2), terms: 300 });
    expect(relativeResidual).toBeLessThan(1e-3);
    expect(await distance(operator.apply(solution), b)).toBeLessThan(1e-2);
    await expect(neumannSolve(operator, b, { scale: 0.5, terms: 20 })).rejects.toThrow(/Take a scale below 0.5/);
    await expect(neumannSolve(operator, b, { scale: 3, terms: 300 })).rejects.toThrow(/residual is/);
    await expect(neumannSolve(operator, b, {})).rejects.toThrow(/give a scale, or a key/);
  });

  it("the matrix of a small operator is factored, unless it is not positive definite", async () => {
    const { operator } = operatorOf(values);
    expect(await distance(operator.apply(await denseSolve(operator, b)), b)).toBeLessThan(1e-4);
    const indefinite = operatorOf([-3, -1, 1, 2, 3, 4, 5, 7]).operator;
    await expect(denseSolve(indefinite, b)).rejects.toThrow(/pivots are not positive/);
    await expect(denseSolve(operator, b, { limit: 10 })).rejects.toThrow(/8 × 8 elements are more than 10/);
  });

  it("conjugate gradients stop at negative curvature, at a zero right side, and at numbers that are none", async () => {
    const indefinite = operatorOf([-1, 1, 2, 3, 4, 5, 6, 7]).operator;
    expect((await conjugateGradient(indefinite, b, { tolerance: 1e-6 })).reason).toBe("negativeCurvature");
    const { operator } = operatorOf(values);
    const nothing = await conjugateGradient(operator, b.mul(0));
    expect([nothing.reason, nothing.iterations]).toEqual(["converged", 0]);
    await expect(conjugateGradient(scaled(operator, Number.NaN), b)).rejects.toThrow();
    await expect(conjugateGradient(operator, b, { tolerance: 0 })).rejects.toThrow(/tolerance 0/);
  });
});

describe("algebra", () => {
  it("of operators is that of matrices", async () => {
    const [p, q] = [operatorOf(values, 1), operatorOf([...values].reverse(), 2)];
    const pairs: readonly (readonly [Tensor, Tensor])[] = [
      [toDense(sum(p.operator, q.operator)), p.matrix.add(q.matrix)],
      [toDense(difference(p.operator, q.operator)), p.matrix.sub(q.matrix)],
      [toDense(composed(p.operator, q.operator)), p.matrix.matmul(q.matrix)],
      [toDense(transposed(composed(p.operator, q.operator))), q.matrix.matmul(p.matrix)],
      [
        toDense(shifted(scaled(p.operator, 2), 0.5)),
        p.matrix
          .mul(2)
          .add(
            tensor(new Float32Array(64))
              .reshape([8, 8])
              .iotaLike(0)
              .equal(p.matrix.iotaLike(1))
              .where(p.matrix.fullLike(0.5), 0),
          ),
      ],
    ];
    for (const [own, expected] of pairs) expect(await distance(own, expected)).toBeLessThan(1e-3);
  });

  it("restricts to blocks, and refuses to select nothing or to make a large matrix", async () => {
    const like = { u: tensor([1, 2]), v: tensor([3]) };
    const f = ({ u, v }: typeof like): Tensor => u.square().sum().mul(v.sum()).add(v.square().sum());
    const operator = symmetricOperator("Hessian", like, (w: typeof like) => {
      const along = (p: typeof like): Tensor => {
        const g = grad(f)(p);
        return g.u.mul(w.u).sum().add(g.v.mul(w.v).sum());
      };
      return grad(along)(like);
    });
    expect(await toDense(restricted(operator, (path) => path === "u")).array()).toEqual([
      [6, 0],
      [0, 6],
    ]);
    expect(() => restricted(operator, () => false)).toThrow(/no parameter is selected of u, v/);
    expect(() => toDense(operator, { limit: 4 })).toThrow(/3 × 3 elements are more than 4/);
  });
});

describe("spectra", () => {
  it("Lanczos finds all eigenvalues, and vectors that belong to them", async () => {
    const { operator } = operatorOf(values);
    const { ritzValues, weights } = await lanczos(operator, { steps: 20, key: key(3) });
    ritzValues.forEach((value, index) => expect(Math.abs(value - (values[index] as number))).toBeLessThan(1e-4));
    expect(weights.reduce((total, own) => total + own, 0)).toBeCloseTo(1, 6);
    const [first] = (await topEigenpairs(operator, { count: 1, key: key(4) })) as [Eigenpair<Tensor>];
    expect(first.value).toBeCloseTo(12, 3);
    expect(await distance(operator.apply(first.vector), first.vector.mul(12))).toBeLessThan(1e-3);
  });

  it("residuals say how good a Ritz value is, before and after there are enough steps", async () => {
    const { operator } = operatorOf(values);
    for (const steps of [3, 5]) {
      const { ritzValues, residuals, ritzVector } = await lanczos(operator, { steps, key: key(3) });
      for (const [index, value] of ritzValues.entries()) {
        const vector = ritzVector(index);
        const found = await distance(operator.apply(vector), vector.mul(value));
        expect(Math.abs(found - (residuals[index] as number))).toBeLessThan(1e-3);
        const nearest = Math.min(...values.map((own) => Math.abs(own - value)));
        expect(nearest).toBeLessThan((residuals[index] as number) + 1e-4);
      }
    }
  });

  it("without its largest eigenpairs an operator has the others, and zeros", async () => {
    const { operator } = operatorOf(values);
    const pairs = await topEigenpairs(operator, { count: 2, key: key(4) });
    expect(pairs.map(({ value }) => Math.round(value))).toEqual([12, 8]);
    const { ritzValues } = await lanczos(deflated(operator, pairs), { steps: 8, key: key(5) });
    expect(Math.max(...ritzValues)).toBeCloseTo(5, 3);
    expect(Math.abs(Math.min(...ritzValues))).toBeLessThan(1e-2);
  });

  it("the density integrates to 1, and has no mass where there are no eigenvalues", async () => {
    const { grid, density } = await spectralDensity(operatorOf(values).operator, {
      key: key(5),
      probes: 2,
      width: 0.01,
    });
    const step = (grid[1] as number) - (grid[0] as number);
    expect(density.reduce((total, own) => total + own * step, 0)).toBeCloseTo(1, 2);
    expect(density[grid.findIndex((x) => x > 10)] as number).toBeLessThan(1e-3);
  });

  it("the density of the logarithm shows eigenvalues that are orders of magnitude apart", async () => {
    const spread = [1e-3, 1e-3, 1e-3, 1e-3, 1, 1, -30, -30];
    const options = { key: key(5), probes: 2, width: 0.02, scale: "logarithm", epsilon: 1e-5 } as const;
    const { grid, density } = await spectralDensity(operatorOf(spread).operator, options);
    const step = (grid[1] as number) - (grid[0] as number);
    expect(density.reduce((total, own) => total + own * step, 0)).toBeCloseTo(1, 2);
    const at = (x: number) => density[grid.findIndex((own) => own >= Math.log(x))] as number;
    expect(Math.min(at(1e-3), at(1), at(30))).toBeGreaterThan(20 * Math.max(at(0.03), at(5)));
    await expect(spectralDensity(operatorOf(values).operator, { ...options, points: 1 })).rejects.toThrow(/1 points/);
  });

  it("needs a start, and says what is not finite", async () => {
    const { operator } = operatorOf(values);
    await expect(lanczos(operator, { steps: 3 })).rejects.toThrow(/give a start/);
    await expect(lanczos(scaled(operator, Number.NaN), { steps: 3, key: key(1) })).rejects.toThrow(/not finite/);
  });
});

describe("estimates", () => {
  it("of trace, diagonal and norm are within a few standard errors; Hutch++ is exact for what its sketch holds", async () => {
    const { operator, matrix } = operatorOf(values);
    const trace = values.reduce((total, own) => total + own, 0);
    const plain = await estimateTrace(operator, { key: key(6), probes: 200, method: "hutchinson" });
    expect(Math.abs(plain.value - trace)).toBeLessThan(4 * plain.standardError);
    const sketched = await estimateTrace(operator, { key: key(7), probes: 24 });
    expect(Math.abs(sketched.value - trace)).toBeLessThan(1e-3);
    const norm = Math.hypot(...values);
    const frobenius = await estimateFrobenius(operator, { key: key(8), probes: 200 });
    expect(Math.abs(frobenius.value - norm)).toBeLessThan(4 * frobenius.standardError);
    const diagonal = matrix.iotaLike(0).equal(matrix.iotaLike(1)).where(matrix, 0).sum({ axis: 1 });
    const { value, standardError } = estimateDiagonal(operator, { key: key(9), probes: 400 });
    const [own, error, exact] = await Promise.all([value, standardError, diagonal].map((each) => each.data()));
    exact?.forEach((wanted, index) => {
      const [found, width] = [own?.[index] as number, error?.[index] as number];
      expect(width).toBeGreaterThan(0);
      expect(Math.abs(found - wanted)).toBeLessThan(4.5 * width);
    });
    await expect(estimateTrace(operator, { key: key(1), probes: 2 })).rejects.toThrow(/2 probes/);
  });

  it("XTrace and XDiag are exact for operators of low rank, and better than Hutchinson where spectra decay", async () => {
    const n = 24;
    const decaying = Array.from({ length: n }, (_, index) => 10 * 0.3 ** index);
    const cases = [
      { name: "rank 3", spectrum: [5, 3, 1, ...Array<number>(n - 3).fill(0)], allowed: 1e-3 },
      { name: "decaying", spectrum: decaying, allowed: 0.05 },
      {
        name: "indefinite",
        spectrum: decaying.map((value, index) => (index % 2 === 0 ? value : -value)),
        allowed: 0.05,
      },
    ];
    for (const { name, spectrum, allowed } of cases) {
      const { operator, matrix } = operatorOf(spectrum, 3);
      const trace = spectrum.reduce((total, own) => total + own, 0);
      const diagonal = matrix.iotaLike(0).equal(matrix.iotaLike(1)).where(matrix, 0).sum({ axis: 1 });
      const estimate = await estimateTrace(operator, { key: key(7), probes: 16, method: "xtrace" });
      expect(Math.abs(estimate.value - trace), name).toBeLessThan(allowed);
      expect(estimate.standardError, name).toBeLessThan(allowed);
      const sketched = estimateDiagonal(operator, { key: key(8), probes: 16, method: "xdiag" }).value;
      const plain = estimateDiagonal(operator, { key: key(8), probes: 16 }).value;
      const [error, plainError] = [await distance(sketched, diagonal), await distance(plain, diagonal)];
      expect(error, name).toBeLessThan(allowed);
      expect(error, name).toBeLessThan(plainError / 4);
    }
    await expect(
      estimateTrace(operatorOf(values).operator, { key: key(1), probes: 3, method: "xtrace" }),
    ).rejects.toThrow(/3 probes/);
  });

  it("are unbiased: over many keys the mean of XTrace and of XDiag is the exact value", async () => {
    const { operator, matrix } = operatorOf(values);
    const traces: number[] = [];
    const diagonals: Float32Array[] = [];
    const runs = 60;
    for (let run = 0; run < runs; run++) {
      traces.push((await estimateTrace(operator, { key: key(100 + run), probes: 6, method: "xtrace" })).value);
      const { value } = estimateDiagonal(operator, { key: key(100 + run), probes: 6, method: "xdiag" });
      diagonals.push((await value.data()) as Float32Array);
    }
    const isNear = (samples: readonly number[], exact: number): void => {
      const mean = samples.reduce((sum, own) => sum + own, 0) / runs;
      const error = Math.sqrt(samples.reduce((sum, own) => sum + (own - mean) ** 2, 0) / (runs * (runs - 1)));
      expect(Math.abs(mean - exact)).toBeLessThan(4.5 * error);
    };
    isNear(traces, 33);
    const exact = await matrix.iotaLike(0).equal(matrix.iotaLike(1)).where(matrix, 0).sum({ axis: 1 }).data();
    exact.forEach((wanted, index) => {
      isNear(
        diagonals.map((own) => own[index] as number),
        wanted,
      );
    });
  });
});
