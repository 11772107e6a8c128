import { init, key, softmax, splitKeys, type Tensor, tensor, treeLeaves, uniform } from "@thalweg/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  applyMany,
  type Batch,
  blockDiagonal,
  byLayer,
  byParameter,
  type CurvatureProblem,
  checkOperator,
  checkProblem,
  crossEntropy,
  denseBlocks,
  diagonalOperator,
  estimateDiagonal,
  estimateTrace,
  fisherOperator,
  ggnDiagonal,
  ggnOperator,
  gradientCovarianceOperator,
  hessianDiagonal,
  hessianOperator,
  jacobianOperator,
  type LinearOperator,
  ntkMatrix,
  ntkOperator,
  perSampleGgnDiagonal,
  perSampleGradients,
  squaredError,
  submatrix,
  toDense,
  transposed,
} from "../src/index";
import { allNumbers, random } from "./numbers";

type Params = { readonly first: { readonly w: Tensor; readonly b: Tensor }; readonly last: { readonly w: Tensor } };

beforeAll(async () => void (await init()));

function expectNear(actual: readonly number[], expected: readonly number[], relative = 1e-10): void {
  expect(actual).toHaveLength(expected.length);
  const error = Math.hypot(...actual.map((value, index) => value - (expected[index] as number)));
  expect(error).toBeLessThanOrEqual(relative * Math.hypot(...expected));
}

const makeParams = (): Params => ({
  first: { w: random(1, [3, 4]), b: random(2, [4]) },
  last: { w: random(3, [4, 3]) },
});

const problem: CurvatureProblem<Params> = {
  loss: crossEntropy,
  model: (p, x) => x.dot(p.first.w).add(p.first.b).tanh().dot(p.last.w),
};

const makeBatch = (count = 5, seed = 4): Batch => ({
  inputs: random(seed, [count, 3]),
  targets: tensor(Int32Array.from({ length: count }, (_, index) => index % 3)),
});

const operators: Readonly<
  Record<string, (problem: CurvatureProblem<Params>, batches: Batch | readonly Batch[]) => LinearOperator<Params>>
> = {
  Hessian: (own, batches) => hessianOperator(own, makeParams(), batches),
  GGN: (own, batches) => ggnOperator(own, makeParams(), batches),
  "empirical Fisher": (own, batches) => fisherOperator(own, makeParams(), batches, { kind: "empirical" }),
};

describe.each(Object.keys(operators))("%s", (name) => {
  const make = operators[name] as (typeof operators)[string];

  it("of batches of any sizes is that of all their examples", () => {
    const cases = fc.record({
      sizes: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 4 }),
      reduction: fc.constantFrom("mean" as const, "sum" as const),
    });
    fc.assert(
      fc.property(cases, ({ sizes, reduction }) => {
        const count = sizes.reduce((sum, size) => sum + size, 0);
        const { inputs, targets } = makeBatch(count);
        const batches = sizes.map((size, index) => {
          const start = sizes.slice(0, index).reduce((sum, each) => sum + each, 0);
          return {
            inputs: inputs.slice([start, 0], [start + size, 3]),
            targets: targets.slice([start], [start + size]),
          };
        });
        const own = { ...problem, reduction };
        expectNear(allNumbers(toDense(make(own, batches))), allNumbers(toDense(make(own, { inputs, targets }))));
      }),
      { numRuns: 5 },
    );
  });

  it("is symmetric, and multiplies several vectors as one by one", () => {
    const operator = make(problem, makeBatch());
    const dense = toDense(operator);
    expectNear(allNumbers(dense), allNumbers(dense.transpose()));
    const many = { first: { w: random(5, [2, 3, 4]), b: random(6, [2, 4]) }, last: { w: random(7, [2, 4, 3]) } };
    const single = [0, 1].map((row) => {
      const at = (x: Tensor) => x.slice([row], [row + 1]).reshape(x.shape.slice(1));
      return operator.apply({ first: { w: at(many.first.w), b: at(many.first.b) }, last: { w: at(many.last.w) } });
    });
    const [products] = [applyMany(operator, many)];
    const [w] = [allNumbers(products.first.w)];
    expectNear(
      w,
      single.flatMap((each) => allNumbers(each.first.w)),
    );
  });

  it("has blocks by parameter and by layer, and any submatrix", () => {
    const operator = make(problem, makeBatch());
    const dense = allNumbers(toDense(operator));
    const n = 28;
    const sizes = { "first.w": [0, 12], "first.b": [12, 16], "last.w": [16, 28] } as const;
    const block = (from: number, to: number): number[] =>
      Array.from({ length: to - from }, (_, row) => dense.slice((from + row) * n + from, (from + row) * n + to)).flat();
    const parts = denseBlocks(operator);
    expect(parts.map((part) => part.name)).toEqual(Object.keys(sizes));
    for (const { name: own, matrix } of parts) {
      const [from, to] = sizes[own as keyof typeof sizes];
      expectNear(allNumbers(matrix), block(from, to));
    }
    const layers = denseBlocks(operator, { blockOf: byLayer });
    expect(layers.map(({ name: own, parameters }) => [own, parameters])).toEqual([
      ["first", ["first.w", "first.b"]],
      ["last", ["last.w"]],
    ]);
    expectNear(allNumbers(layers[0]?.matrix), block(0, 16));
    for (const [blockOf, edges] of [
      [byParameter, [0, 12, 16, 28]],
      [byLayer, [0, 16, 28]],
    ] as const) {
      const owner = (at: number): number => edges.findLastIndex((edge) => edge <= at);
      const expected = dense.map((value, at) => (owner(Math.floor(at / n)) === owner(at % n) ? value : 0));
      expectNear(allNumbers(toDense(blockDiagonal(operator, blockOf))), expected);
    }
    const [rows, columns] = [
      [27, 3, 3],
      [0, 14],
    ] as const;
    const part = submatrix(operator, rows, columns);
    const expected = rows.flatMap((row) => columns.map((column) => dense[row * n + column] as number));
    expectNear(allNumbers(toDense(part)), expected);
    expectNear(allNumbers(toDense(transposed(part)).transpose()), expected);
    expect(() => submatrix(operator, [28], [0])).toThrow(/position 28 among 28/);
    expect(() => submatrix(operator, [], [0])).toThrow(/no positions/);
    expect(() => denseBlocks(operator, { limit: 100 })).toThrow(
      /block first.w of .*: 12 × 12 elements are more than 100/,
    );
  });
});

describe("diagonals", () => {
  const diagonalOf = (dense: Tensor): Tensor =>
    dense.iotaLike(0).equal(dense.iotaLike(1)).where(dense, 0).sum({ axis: 1 });

  it("exact ones are those of the matrices, for sums over loss terms", () => {
    const summed = { ...problem, reduction: "sum" as const };
    const [params, batch] = [makeParams(), makeBatch()];
    expectNear(
      allNumbers(hessianDiagonal(problem, params, batch)),
      allNumbers(diagonalOf(toDense(hessianOperator(summed, params, batch)))),
    );
    expectNear(
      allNumbers(ggnDiagonal(problem, params, batch)),
      allNumbers(diagonalOf(toDense(ggnOperator(summed, params, batch)))),
    );
    const single = perSampleGgnDiagonal(problem, params, batch);
    expectNear(allNumbers(single.first.w.sum({ axis: 0 })), allNumbers(ggnDiagonal(problem, params, batch).first.w));
  });

  it("Monte Carlo ones tend to the exact one, for examples too", () => {
    const [params, batch] = [makeParams(), makeBatch(3)];
    const exact = allNumbers(perSampleGgnDiagonal(problem, params, batch));
    const drawn = allNumbers(perSampleGgnDiagonal(problem, params, batch, { fisher: "mc", count: 4000, key: key(5) }));
    expectNear(drawn, exact, 0.1);
    expect(Math.hypot(...drawn.map((value, index) => value - (exact[index] as number)))).toBeGreaterThan(0);
  });

  it("estimates of the Hessian's are unbiased", async () => {
    const operator = hessianOperator(problem, makeParams(), makeBatch());
    const { value, standardError } = estimateDiagonal(operator, { key: key(3), probes: 256 });
    const exact = allNumbers(diagonalOf(toDense(operator)));
    const [own, error] = [allNumbers(value), allNumbers(standardError)];
    const misses = own.filter(
      (found, index) => Math.abs(found - (exact[index] as number)) > 4 * (error[index] as number),
    );
    expect(misses).toEqual([]);
    const sketched = allNumbers(estimateDiagonal(operator, { key: key(3), probes: 54, method: "xdiag" }).value);
    expectNear(sketched, exact, 0.2);
    const trace = await estimateTrace(operator, { key: key(4), probes: 40, method: "xtrace" });
    const wanted = exact.reduce((sum, each) => sum + each, 0);
    expect(Math.abs(trace.value - wanted)).toBeLessThan(0.05 * Math.abs(wanted) + 4 * trace.standardError);
  });

  it("are operators too", () => {
    const diagonal = ggnDiagonal(problem, makeParams(), makeBatch());
    const dense = allNumbers(toDense(diagonalOperator(diagonal)));
    expectNear(
      dense.filter((_, index) => index % 29 === 0),
      allNumbers(ggnDiagonal(problem, makeParams(), makeBatch())),
    );
    expect(dense.filter((_, index) => index % 29 !== 0).every((value) => value === 0)).toBe(true);
  });
});

describe("gradients of examples", () => {
  const loss = (p: Params, { x, y }: { x: Tensor; y: Tensor }): Tensor =>
    problem.model(p, x.expandDims(0)).sub(y).square().sum();
  const examples = () => ({ x: random(8, [6, 3]), y: random(9, [6, 3]) });

  it.each([false, true])("have a covariance, centred: %s", (centred) => {
    const params = makeParams();
    const operator = gradientCovarianceOperator(loss, params, examples(), { centred });
    const rows = treeLeaves<Tensor>(perSampleGradients(loss, params, examples())).map((leaf) =>
      allNumbers(leaf.reshape([6, -1])),
    );
    const sizes = [12, 4, 12];
    const gradients = Array.from({ length: 6 }, (_, n) =>
      rows.flatMap((own, leaf) => own.slice(n * (sizes[leaf] as number), (n + 1) * (sizes[leaf] as number))),
    );
    const mean = Array.from({ length: 28 }, (_, i) =>
      centred ? gradients.reduce((sum, own) => sum + (own[i] as number) / 6, 0) : 0,
    );
    const at = (n: number, i: number): number => (gradients[n]?.[i] as number) - (mean[i] as number);
    const expected = Array.from({ length: 28 * 28 }, (_, index) =>
      [0, 1, 2, 3, 4, 5].reduce((sum, n) => sum + (at(n, Math.floor(index / 28)) * at(n, index % 28)) / 6, 0),
    );
    expectNear(allNumbers(toDense(operator)), expected, 1e-9);
  });
});

describe("the neural tangent kernel", () => {
  it("is J Jᵀ, as an operator and as a matrix, also between two sets of inputs", () => {
    const params = makeParams();
    const inputs = random(8, [3, 3]);
    const jacobian = toDense(jacobianOperator(problem, params, inputs));
    const expected = allNumbers(jacobian.matmul(jacobian.transpose()));
    expectNear(allNumbers(toDense(ntkOperator(problem, params, inputs))), expected);
    const matrix = ntkMatrix(problem, params, inputs);
    expect(matrix.shape).toEqual([3, 3, 3, 3]);
    expectNear(allNumbers(matrix), expected);
    const others = random(9, [2, 3]);
    const other = toDense(jacobianOperator(problem, params, others));
    expectNear(
      allNumbers(ntkMatrix(problem, params, inputs, { others })),
      allNumbers(jacobian.matmul(other.transpose())),
    );
  });
});

describe("checks", () => {
  const params = { w: random(1, [3, 3]) };
  type Own = typeof params;
  const batch = () => ({ inputs: random(2, [6, 3]), targets: random(3, [6, 3]) });

  it("find a model that draws new random numbers on every call", { timeout: 60_000 }, async () => {
    const keys = splitKeys(key(5), 64);
    let calls = 0;
    const dropout: CurvatureProblem<Own> = {
      loss: squaredError,
      model(p, x) {
        const kept = uniform(keys[calls++ % 64] as Tensor, [3])
          .less(0.5)
          .cast("f32");
        return x.mul(kept).dot(p.w).tanh();
      },
    };
    await expect(checkOperator(ggnOperator(dropout, params, batch()), { key: key(1) })).rejects.toThrow(
      /not deterministic/,
    );
    await expect(checkProblem(dropout, params, batch())).rejects.toThrow(/not deterministic/);
    const fixed = {
      ...dropout,
      model: (p: Own, x: Tensor) => x.mul(uniform(key(9), [3]).less(0.5).cast("f32")).dot(p.w),
    };
    await checkOperator(ggnOperator(fixed, params, batch()), { key: key(1) });
    await checkProblem(fixed, params, batch());
  });

  it("find examples that depend on each other, operators that are not symmetric, and what is not finite", {
    timeout: 60_000,
  }, async () => {
    const normalized: CurvatureProblem<Own> = {
      loss: squaredError,
      model(p, x) {
        const s = x.dot(p.w);
        return s.sub(s.mean({ axis: 0, keepDims: true }));
      },
    };
    await expect(checkProblem(normalized, params, batch())).rejects.toThrow(/batch norm/);
    await checkOperator(ggnOperator(normalized, params, batch()), { key: key(1) });
    const attention: CurvatureProblem<Own> = {
      loss: squaredError,
      model: (p, x) => softmax(x.dot(p.w), { axis: 1 }),
    };
    await checkProblem(attention, params, batch());
    const skew: LinearOperator<Own> = {
      name: "skew",
      domain: params,
      range: params,
      apply: ({ w }) => ({ w: w.transpose().mul(w.iotaLike(0).cast("f32")) }),
      applyTranspose: (v) => v,
    };
    await expect(checkOperator(skew, { key: key(1) })).rejects.toThrow(/not symmetric/);
    const broken = { ...attention, model: (p: Own, x: Tensor) => x.dot(p.w).log() };
    await expect(checkProblem(broken, params, batch())).rejects.toThrow(/not finite/);
    await expect(checkOperator(hessianOperator(broken, params, batch()), { key: key(1) })).rejects.toThrow(
      /not finite/,
    );
  });
});
