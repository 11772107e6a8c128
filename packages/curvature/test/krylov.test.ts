import { grad } from "@thalweg/autograd";
import { init, key, linalg, normal, type Tensor, tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  composed,
  conjugateGradient,
  difference,
  estimateDiagonal,
  estimateFrobenius,
  estimateTrace,
  type LinearOperator,
  lanczos,
  neumannInverse,
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
    const [first] = (await topEigenpairs(operator, { count: 1, key: key(4) })) as [{ value: number; vector: Tensor }];
    expect(first.value).toBeCloseTo(12, 3);
    expect(await distance(operator.apply(first.vector), first.vector.mul(12))).toBeLessThan(1e-3);
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
    expect(await distance(estimateDiagonal(operator, { key: key(9), probes: 4000 }), diagonal)).toBeLessThan(1);
    await expect(estimateTrace(operator, { key: key(1), probes: 2 })).rejects.toThrow(/2 probes/);
  });
});
