import { describe, expect, it } from "vitest";
import { evaluate, linalg, placeholder, pullback, ShapeError, type Tensor, tensor } from "../src/index";
import {
  directionalDerivative,
  evaluateReference,
  expectClose,
  innerProduct,
  type NdArray,
  ndarray,
  randomInputs,
  retarget,
  seededDraw,
} from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();

/** Drivers that compile kernels with LLVM take a while the first time. */
const slow = 240_000;
const unit = 2 ** -24;

/** Symmetric matrices with the given eigenvalues: random reflections of a diagonal one, in float64, then rounded. */
function withEigenvalues(eigenvalues: readonly number[], seed: number): Float64Array {
  const n = eigenvalues.length;
  const draw = seededDraw(seed);
  const a = new Float64Array(n * n);
  eigenvalues.forEach((value, i) => {
    a[i * n + i] = value;
  });
  const at = (i: number, j: number) => a[i * n + j] as number;
  for (let reflection = 0; reflection < 4; reflection++) {
    const v = Float64Array.from({ length: n }, () => draw.uniform(-1, 1));
    const scale = 2 / v.reduce((sum, x) => sum + x * x, 0);
    const image = Float64Array.from({ length: n }, (_, i) => v.reduce((sum, x, j) => sum + at(i, j) * x, 0));
    const inner = v.reduce((sum, x, i) => sum + x * (image[i] as number), 0);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const [vi, vj] = [v[i] as number, v[j] as number];
        a[i * n + j] =
          at(i, j) - scale * (vi * (image[j] as number) + (image[i] as number) * vj) + scale * scale * inner * vi * vj;
      }
    }
  }
  return a.map(Math.fround);
}

/** Eigenvalues from 1 down to 1 / condition, each the same factor below the one before. */
const graded = (n: number, condition: number): number[] =>
  Array.from({ length: n }, (_, i) => condition ** (-i / Math.max(1, n - 1)));

const matrixOf = (values: Float64Array, n: number): Tensor =>
  tensor(Float32Array.from(values), { shape: [values.length / n / n, n, n] });

const conditioned = (n: number, conditions: readonly number[]): Float64Array =>
  Float64Array.from(conditions.flatMap((condition, seed) => [...withEigenvalues(graded(n, condition), seed)]));

/** What the device computes, as float64 constants for a graph that the reference evaluates. */
async function held(...tensors: Tensor[]): Promise<Tensor[]> {
  await evaluate(tensors);
  return Promise.all(tensors.map(async (own) => tensor(Float32Array.from(await own.data()), { shape: own.shape })));
}

/** The largest magnitude in each matrix. */
function largest(x: Tensor): number[] {
  const [result] = evaluateReference([x.abs().max({ axis: [-2, -1] })]) as [NdArray];
  return [...result.values];
}

const eye = (n: number): Tensor =>
  tensor(
    Float32Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    { shape: [n, n] },
  );

describe("cholesky", () => {
  // One block, two blocks that do not divide the matrix, and the smallest matrix.
  it.each([1, 5, 70])(
    "of %d rows is the factor, at any condition that f32 holds",
    async (n) => {
      const a = matrixOf(conditioned(n, [1e2, 1e4, 1e5]), n);
      const copy = matrixOf(conditioned(n, [1e2, 1e4, 1e5]), n);
      const { factor, replaced } = linalg.choleskyReport(a);
      const [l] = (await held(factor, replaced)) as [Tensor];
      for (const error of largest(l.matmul(l.transpose()).sub(copy))) expect(error).toBeLessThan((n + 4) * unit);
      expect([...(await replaced.data())]).toEqual([0, 0, 0]);
    },
    slow,
  );

  it(
    "replaces pivots that f32 cannot tell from zero, says so, and stays finite",
    async () => {
      const n = 5;
      const singular = withEigenvalues([1, 0.5, 0, 0, 0], 3);
      const indefinite = withEigenvalues([1, 0.5, 0.1, -0.2, -3], 4);
      const zero = new Float64Array(n * n);
      const definite = withEigenvalues(graded(n, 10), 5);
      const { factor, replaced } = linalg.choleskyReport(
        matrixOf(Float64Array.from([...singular, ...indefinite, ...zero, ...definite]), n),
      );
      const counts = [...(await replaced.data())];
      expect(counts[0]).toBeGreaterThanOrEqual(2);
      expect(counts[1]).toBeGreaterThanOrEqual(1);
      expect(counts.slice(2)).toEqual([n, 0]);
      for (const value of await factor.data()) expect(Number.isFinite(value)).toBe(true);
    },
    slow,
  );

  it(
    "solves, inverts and has the logarithm of the determinant",
    async () => {
      const n = 5;
      const conditions = [1e2, 1e4];
      const a = matrixOf(conditioned(n, conditions), n);
      const b = tensor(
        Float32Array.from({ length: 2 * n * 3 }, (_, i) => Math.sin(i)),
        { shape: [2, n, 3] },
      );
      const results = [
        linalg.solvePositiveDefinite(a, b),
        linalg.inversePositiveDefinite(a),
        linalg.solve(a, b),
        linalg.inverse(a),
      ];
      const exact = evaluateReference([...results, linalg.logDeterminant(a)]) as NdArray[];
      const determinant = linalg.logDeterminant(a);
      await evaluate([...results, determinant]);
      for (const [index, result] of results.entries()) {
        const actual = await result.data();
        const expected = (exact[index] as NdArray).values;
        const size = actual.length / 2;
        conditions.forEach((condition, matrix) => {
          const own = expected.subarray(matrix * size, (matrix + 1) * size);
          const scale = own.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          own.forEach((value, i) => {
            const error = Math.abs((actual[matrix * size + i] as number) - value) / scale;
            expect(error, `result ${index}, condition ${condition}`).toBeLessThan(4 * n * unit * condition);
          });
        });
      }
      const logs = await determinant.data();
      conditions.forEach((condition, i) => {
        const error = Math.abs((logs[i] as number) - ((exact[4] as NdArray).values[i] as number));
        expect(error).toBeLessThan(4 * n * unit * condition);
      });
    },
    slow,
  );
});

describe("triangularSolve", () => {
  it(
    "solves from both sides, for both triangles, transposed or not, with vectors of several blocks",
    async () => {
      const n = 70;
      const draw = seededDraw(8);
      const values = Float32Array.from({ length: n * n }, (_, i) =>
        i % (n + 1) === 0 ? draw.uniform(1, 2) : draw.uniform(-1, 1) / n,
      );
      const side = Float32Array.from({ length: n * 2 }, () => draw.uniform(-1, 1));
      const [a, b] = [tensor(values, { shape: [n, n] }), tensor(side, { shape: [n, 2] })];
      const all = [true, false].flatMap((lower) =>
        [true, false].flatMap((transpose) => [
          linalg.triangularSolve(a, b, { lower, transpose }),
          linalg.triangularSolve(a, b.transpose(), { lower, transpose, side: "right" }),
        ]),
      );
      const expected = evaluateReference(all) as NdArray[];
      await evaluate(all);
      for (const [index, result] of all.entries()) {
        const actual = await result.data();
        const error = Array.from(actual).reduce(
          (most, x, i) => Math.max(most, Math.abs(x - ((expected[index] as NdArray).values[i] as number))),
          0,
        );
        expect(error, `case ${index}`).toBeLessThan(8 * n * unit);
      }
    },
    slow,
  );

  it(
    "is accurate to the condition of the matrix",
    async () => {
      const [n, conditions] = [70, [1e4, 1e8]];
      // The factors have conditions of 1e2 and 1e4.
      const [factor] = evaluateReference([linalg.cholesky(matrixOf(conditioned(n, conditions), n))]) as [NdArray];
      const rounded = tensor(Float32Array.from(factor.values), { shape: factor.shape });
      const side = tensor(
        Float32Array.from({ length: 2 * n * 3 }, (_, i) => Math.sin(i)),
        { shape: [2, n, 3] },
      );
      const x = linalg.triangularSolve(rounded, side);
      const [expected] = evaluateReference([x]) as [NdArray];
      const actual = await x.data();
      const lengthOf = (values: Float64Array) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
      conditions.forEach((condition, matrix) => {
        const own = expected.values.subarray(matrix * 3 * n, (matrix + 1) * 3 * n);
        const error = lengthOf(own.map((value, i) => (actual[matrix * 3 * n + i] as number) - value)) / lengthOf(own);
        expect(error, `condition ${condition}`).toBeLessThan(2 * n * unit * Math.sqrt(condition));
      });
    },
    slow,
  );

  it(
    "makes NaN of a zero on the diagonal, and refuses what does not fit",
    async () => {
      const x = await linalg
        .triangularSolve(
          tensor([
            [0, 0],
            [1, 1],
          ]),
          tensor([[1], [1]]),
        )
        .data();
      expect([...x].every((value) => Number.isNaN(value))).toBe(true);
      expect(() => linalg.triangularSolve(eye(3), tensor([1, 2, 3]))).toThrow(ShapeError);
      expect(() => linalg.cholesky(tensor([[1, 2]]))).toThrow(ShapeError);
    },
    slow,
  );
});

describe("eigh", () => {
  async function check(values: Float64Array, spectra: readonly (readonly number[])[], n: number): Promise<void> {
    const { values: lambda, vectors, residual } = linalg.eigh(matrixOf(values, n));
    const [l, v, rest] = (await held(lambda, vectors, residual)) as [Tensor, Tensor, Tensor];
    const a = matrixOf(values, n);
    const count = spectra.length;
    const orthogonality = largest(v.transpose().matmul(v).sub(eye(n)));
    const reconstruction = largest(
      v
        .mul(l.reshape([count, 1, n]))
        .matmul(v.transpose())
        .sub(a),
    );
    const actual = await l.data();
    const off = await rest.data();
    spectra.forEach((spectrum, matrix) => {
      const scale = spectrum.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const expected = [...spectrum].sort((x, y) => x - y);
      expected.forEach((value, i) => {
        expect(Math.abs((actual[matrix * n + i] as number) - value)).toBeLessThanOrEqual((n + 8) * unit * scale);
      });
      expect(orthogonality[matrix]).toBeLessThan(2 * (n + 8) * unit);
      expect(reconstruction[matrix]).toBeLessThanOrEqual(4 * (n + 8) * unit * scale);
      expect(off[matrix]).toBeLessThan(4 * (n + 8) * unit);
    });
  }

  // One block in one workgroup, and tournaments of four and of six blocks that do not fill the last one.
  it.each([1, 3, 70, 130])(
    "of %d rows has eigenvalues and vectors to n ulp of the largest one",
    async (n) => {
      const spectra = [
        graded(n, 1e2),
        graded(n, 1e8),
        Array.from({ length: n }, (_, i) => Math.cos(3 * i)),
        // Singular, and with equal eigenvalues.
        Array.from({ length: n }, (_, i) => (i < 2 ? 2 : 0)),
        Array.from({ length: n }, () => 0),
      ].slice(0, n > 100 ? 2 : undefined);
      const values = Float64Array.from(spectra.flatMap((spectrum, seed) => [...withEigenvalues(spectrum, seed)]));
      await check(values, spectra, n);
    },
    slow,
  );

  it(
    "needs no more workgroup memory than every device has",
    async () => {
      retarget(device(), { maxWorkgroupBytes: 16_384 });
      try {
        const n = 62;
        const spectra = [graded(n, 1e6)];
        await check(withEigenvalues(spectra[0] as number[], 9), spectra, n);
      } finally {
        retarget(device(), undefined);
      }
    },
    slow,
  );

  it(
    "does not depend on the size of the elements",
    async () => {
      for (const scale of [2 ** 60, 2 ** -60]) {
        const spectrum = [3, -1, 0.5].map((x) => x * scale);
        await check(withEigenvalues(spectrum, 1), [spectrum], 3);
      }
    },
    slow,
  );
});

it("eigh has finite derivatives at equal eigenvalues, exact for sums of values and for spaces of all their vectors", () => {
  const x = placeholder([3, 3], "f32");
  const { values, vectors } = linalg.eigh(x);
  const space = vectors.slice([0, 0], [3, 2]);
  const at = { shape: [3, 3], dtype: "f32", values: Float64Array.of(2, 0, 0, 0, 2, 0, 0, 0, 5) } as const;
  const gradientOf = (result: Tensor): NdArray => {
    const [pulled] = pullback([x], [result])([tensor(1)]) as [Tensor];
    return (evaluateReference([pulled], new Map([[x, at]])) as [NdArray])[0];
  };
  const third = -1 / 3;
  for (const [result, expected] of [
    [values.sum(), [1, 0, 0, 0, 1, 0, 0, 0, 1]],
    [space.matmul(space.transpose()).sum(), [0, 0, third, 0, 0, third, third, third, 0]],
  ] as const) {
    const bound = { relative: 1e-12, absolute: 1e-12 };
    expectClose(gradientOf(result), { ...at, values: Float64Array.from(expected) }, bound, "gradient");
  }
});

describe("inverseRoot", () => {
  it(
    "has the accuracy of its description, and a residual that tells",
    async () => {
      const n = 20;
      const conditions = [1, 1e2, 1e4, 1e6, 1e8];
      const values = conditioned(n, conditions);
      // In norm, with the default ridge.
      const allowed = [1e-6, 5e-6, 6e-5, 4e-3, 1e-2];
      for (const p of [1, 2, 4, 8]) {
        const { root, residual } = linalg.inverseRoot(matrixOf(values, n), p);
        const [expected] = evaluateReference([linalg.inverseRoot(matrixOf(values, n), p).root]) as [NdArray];
        const actual = await root.data();
        const off = await residual.data();
        conditions.forEach((condition, matrix) => {
          let [error, scale] = [0, 0];
          for (let i = matrix * n * n; i < (matrix + 1) * n * n; i++) {
            const value = expected.values[i] as number;
            error += ((actual[i] as number) - value) ** 2;
            scale += value ** 2;
          }
          expect(Math.sqrt(error / scale), `p ${p}, condition ${condition}`).toBeLessThan(allowed[matrix] as number);
          expect(off[matrix]).toBeLessThan(0.1);
        });
      }
    },
    slow,
  );

  it("has derivatives at equal eigenvalues too", () => {
    const x = placeholder([2, 2], "f32");
    const { root } = linalg.inverseRoot(x, 2, { ridge: 0 });
    const [pulled] = pullback([x], [root.sum()])([tensor(1)]) as [Tensor];
    const at = { shape: [2, 2], dtype: "f32", values: Float64Array.of(4, 0, 0, 4) } as const;
    const [gradient] = evaluateReference([pulled], new Map([[x, at]])) as [NdArray];
    // -1/2 · 4^(-3/2) of every element of the tangent.
    const expected = { ...at, values: new Float64Array(4).fill(-1 / 16) };
    expectClose(gradient, expected, { relative: 1e-12, absolute: 1e-12 }, "gradient");
  });

  it(
    "is that of the ridge for singular matrices and for zero",
    async () => {
      const n = 3;
      const values = Float64Array.from([...withEigenvalues([1, 0, 0], 2), ...new Float64Array(n * n)]);
      const { root, residual } = linalg.inverseRoot(matrixOf(values, n), 4, { ridge: 1e-4 });
      const roots = await root.data();
      // Eigenvalues 1, 1e-4, 1e-4: the trace is 1 + 2 · 10.
      const trace = [0, 4, 8].reduce((sum, i) => sum + (roots[i] as number), 0);
      expect(Math.abs(trace - 21)).toBeLessThan(0.01);
      expect(Math.abs((roots[9] as number) - 10)).toBeLessThan(1e-3);
      for (const rest of await residual.data()) expect(rest).toBeLessThan(1e-3);
    },
    slow,
  );
});

describe("orthogonal factors", () => {
  const tall = (m: number, n: number, condition: number): Tensor => {
    const square = withEigenvalues(graded(m, condition), 6);
    return tensor(Float32Array.from(square), { shape: [m, m] }).slice([], [m, n]);
  };

  it(
    "qr has orthonormal columns and gives the matrix back",
    async () => {
      for (const [m, n, condition] of [
        [30, 12, 1e2],
        [30, 12, 1e5],
        [6, 9, 1],
      ] as const) {
        const a = n > m ? tall(n, m, 1e2).transpose() : tall(m, n, condition);
        const copy = n > m ? tall(n, m, 1e2).transpose() : tall(m, n, condition);
        const factors = linalg.qr(a);
        const [q, r] = (await held(factors.q, factors.r)) as [Tensor, Tensor];
        const k = Math.min(m, n);
        expect(largest(q.transpose().matmul(q).sub(eye(k)))[0]).toBeLessThan(8 * k * unit);
        expect(largest(q.matmul(r).sub(copy))[0]).toBeLessThan(8 * k * unit);
        const below = (await r.data()).filter((_, i) => Math.floor(i / n) > i % n);
        expect(below.every((value) => value === 0)).toBe(true);
        expect(await factors.deficient.item()).toBe(0);
      }
    },
    slow,
  );

  it(
    "qr counts columns that are combinations of others",
    async () => {
      const a = tensor([
        [1, 2, 3],
        [0, 1, 1],
        [2, 1, 3],
        [1, 1, 2],
      ]);
      expect(await linalg.qr(a).deficient.item()).toBe(1);
    },
    slow,
  );

  it(
    "orthogonalize converges to orthonormal rows or columns, newtonSchulz to their neighbourhood",
    async () => {
      for (const condition of [1e1, 1e4]) {
        const a = tall(20, 8, condition);
        const [wide, rough] = (await held(linalg.orthogonalize(a).transpose(), linalg.newtonSchulz(a))) as [
          Tensor,
          Tensor,
        ];
        expect(largest(wide.matmul(wide.transpose()).sub(eye(8)))[0]).toBeLessThan(1e-6);
        if (condition > 1e2) continue;
        const { values } = linalg.eigh(rough.transpose().matmul(rough));
        for (const value of await values.data()) {
          expect(Math.sqrt(value)).toBeGreaterThan(0.66);
          expect(Math.sqrt(value)).toBeLessThan(1.15);
        }
      }
      expect([...(await linalg.newtonSchulz(tensor([[0, 0]])).data())]).toEqual([0, 0]);
    },
    slow,
  );

  it("norms do not overflow", async () => {
    const a = tensor([
      [3e30, -4e30],
      [0, 0],
    ]);
    const relative = async (x: Tensor, expected: number) => Math.abs((await x.item()) / expected - 1);
    expect(await relative(linalg.norm(a), 5e30)).toBeLessThan(4 * unit);
    expect(await relative(linalg.norm(a, { order: 1 }), 4e30)).toBeLessThan(4 * unit);
    expect(await relative(linalg.norm(a, { order: Number.POSITIVE_INFINITY }), 7e30)).toBeLessThan(4 * unit);
    expect(await linalg.norm(a.mul(0)).item()).toBe(0);
  });
});

describe("elements that are not finite", () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "%d makes the results of its matrix NaN, and leaves the others alone",
    async (value) => {
      const sound = [2, 0.5, 0.5, 1];
      const a = tensor(Float32Array.of(...sound, 2, 0.5, value, 1), { shape: [2, 2, 2] });
      const { factor, replaced } = linalg.choleskyReport(a);
      const { values, vectors, residual } = linalg.eigh(a);
      const inverse = linalg.inverseRoot(a, 2);
      const { q, r } = linalg.qr(a);
      const all = [
        ...[factor, values, vectors, residual, inverse.root, inverse.residual, q, r, linalg.inverse(a)],
        ...[linalg.logDeterminant(a), linalg.orthogonalize(a)],
      ];
      await evaluate([...all, replaced]);
      for (const [index, result] of all.entries()) {
        const own = [...(await result.data())].map(Number.isNaN);
        const half = own.length / 2;
        expect(own.slice(half).includes(false), `result ${index}`).toBe(false);
        expect(own.slice(0, half).includes(true), `result ${index}`).toBe(false);
      }
      expect([...(await replaced.data())]).toEqual([0, 2]);
    },
    slow,
  );
});

describe("derivatives of what is composed", () => {
  const general = { shape: [2, 4, 4], dtype: "f32", domain: [-1, 1] } as const;
  const definite = { ...general, structure: "positiveDefinite" } as const;
  const functions: readonly (readonly [string, typeof general, (x: Tensor) => Tensor])[] = [
    ["solvePositiveDefinite", definite, (x) => linalg.solvePositiveDefinite(x, x.transpose().square())],
    ["inversePositiveDefinite", definite, linalg.inversePositiveDefinite],
    ["logDeterminant", definite, linalg.logDeterminant],
    ["inverse", definite, linalg.inverse],
    ["qr", definite, (x) => linalg.qr(x).q.add(linalg.qr(x).r)],
    ["norm", general, linalg.norm],
    ["newtonSchulz", general, linalg.newtonSchulz],
    ["a function of eigenvectors", definite, (x) => linalg.eigh(x).vectors.mul(linalg.eigh(x).values.expandDims(-2))],
  ];

  it.each(functions)("%s: by rules is that by differences", (_name, input, fn) => {
    for (const seed of [0, 1, 2]) {
      const draw = seededDraw(seed);
      const [at] = randomInputs({ inputs: [input], params: undefined }, draw) as [NdArray];
      const x = placeholder(at.shape, "f32");
      const y = fn(x);
      const random = (shape: readonly number[]) => ndarray(shape, "f32", () => draw.uniform(-1, 1));
      const [along, cotangent] = [random(at.shape), random(y.shape)];
      const [difference] = directionalDerivative([y], new Map([[x, at]]), new Map([[x, along]])) as [NdArray];
      const seedTensor = placeholder(y.shape, "f32");
      const [pulled] = pullback([x], [y])([seedTensor]) as [Tensor];
      const bindings = new Map([
        [x, at],
        [seedTensor, cotangent],
      ]);
      const [gradient] = evaluateReference([pulled], bindings) as [NdArray];
      const expected = innerProduct(cotangent, difference);
      const scale = Math.max(1, ...difference.values.map(Math.abs), ...gradient.values.map(Math.abs));
      expect(Math.abs(innerProduct(gradient, along) - expected) / scale).toBeLessThan(1e-5);
    }
  });
});
