import { init, key, softmax, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type Batch,
  type CurvatureProblem,
  conjugateGradient,
  crossEntropy,
  dampingRules,
  estimateTrace,
  ggnDiagonal,
  ggnOperator,
  hessianDiagonal,
  hessianOperator,
  invertFactors,
  kroneckerCurvature,
  kroneckerOperator,
  lanczos,
  type MatrixFactors,
  perSampleGgnDiagonal,
  perSampleGradients,
  perSampleStatistics,
  precondition,
  problemLoss,
  recursiveFactors,
  shifted,
  squaredError,
  toDense,
} from "../src/index";
import { allNumbers, deviceNumbers, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

const onDevice = async (tree: unknown): Promise<number[]> => (await deviceNumbers(tree)).flat();

const parameters = (): Params => ({
  w: random(1, [3, 4]),
  b: random(2, [4]),
  head: random(3, [4, 3]),
  ignored: random(4, [2]),
});

const network: CurvatureProblem<Params> = {
  loss: crossEntropy,
  model: (p, x) =>
    x
      .dot(p.w as Tensor)
      .add(p.b as Tensor)
      .tanh()
      .dot(p.head as Tensor),
};

const batchOf = (inputs: Tensor): Batch => ({
  inputs,
  targets: tensor(Int32Array.from({ length: inputs.shape[0] as number }, (_, index) => index % 3)),
});

const lambda = () => tensor([1e-3]).reshape([]);

describe("a batch of one", () => {
  it("has the curvature of its example", () => {
    const [params, batch] = [parameters(), batchOf(random(5, [1, 3]))];
    const single = allNumbers(perSampleGgnDiagonal(network, params, batch));
    expect(single).toEqual(allNumbers(ggnDiagonal(network, params, batch)));
    // One example without sharing: the Kronecker product is exact.
    const { blocks, evaluate: at } = kroneckerCurvature(network, params, batch, { flavour: "expand" });
    const evaluation = at(params, batch);
    const { a, b } = evaluation.factors.w as MatrixFactors;
    const product = allNumbers(b.reshape([4, 1, 4, 1]).mul(a.reshape([1, 4, 1, 4])));
    const exact = allNumbers(evaluation.exactBlock("w"));
    product.forEach((value, index) => expect(value).toBeCloseTo(exact[index] as number, 10));
    expect(blocks).toHaveLength(3);
  });

  it("has no variance, and its factors are singular but for the damping", { timeout: 120_000 }, async () => {
    const [params, batch] = [parameters(), batchOf(random(5, [1, 3]))];
    const loss = (p: Params, { inputs, targets }: Batch): Tensor =>
      problemLoss(network, p, { inputs: inputs.expandDims(0), targets: targets.expandDims(0) });
    const { variance } = perSampleStatistics(perSampleGradients(loss, params, batch));
    expect(allNumbers(variance).every((value) => Math.abs(value) < 1e-12)).toBe(true);
    const { blocks, evaluate: at } = kroneckerCurvature(network, params, batch);
    const { factors, gradients } = at(params, batch);
    const operator = kroneckerOperator(blocks, factors, params);
    const solved = operator.power(-1, 1e-3).apply(gradients);
    const back = shifted(operator, 1e-3).apply(solved);
    const [found, wanted] = [allNumbers(back), allNumbers(gradients)];
    found.forEach((value, index) => expect(value).toBeCloseTo(wanted[index] as number, 8));
    const [first] = [
      await onDevice(
        precondition(blocks, invertFactors(blocks, factors, lambda(), "heuristicPi"), gradients, lambda()),
      ),
    ];
    expect(first.every(Number.isFinite)).toBe(true);
  });
});

describe("zero gradients", () => {
  // Targets are what the network puts out.
  const fitted: CurvatureProblem<Params> = { ...network, loss: squaredError };
  const batchAt = (params: Params): Batch => {
    const inputs = random(5, [4, 3]);
    return { inputs, targets: fitted.model(params, inputs) };
  };

  it("leave the curvature, and no Hessian beside it", () => {
    const params = parameters();
    const [hessian, ggn] = [hessianOperator, ggnOperator].map((make) =>
      allNumbers(toDense(make(fitted, params, batchAt(params)))),
    );
    hessian?.forEach((value, index) => expect(value).toBeCloseTo(ggn?.[index] as number, 8));
    const [own, gauss] = [hessianDiagonal, ggnDiagonal].map((make) =>
      allNumbers(make(fitted, params, batchAt(params))),
    );
    own?.forEach((value, index) => expect(value).toBeCloseTo(gauss?.[index] as number, 8));
  });

  it("make empirical factors zero, and steps zero and finite by every rule", { timeout: 240_000 }, async () => {
    const params = parameters();
    const { blocks, evaluate: at } = kroneckerCurvature(fitted, params, batchAt(params), { fisher: "empirical" });
    const { factors, gradients } = at(params, batchAt(params));
    expect(allNumbers((factors.w as MatrixFactors).b).every((value) => value === 0)).toBe(true);
    for (const rule of dampingRules.filter((each) => each !== "exactKronecker")) {
      const step = await onDevice(
        precondition(blocks, invertFactors(blocks, factors, lambda(), rule), gradients, lambda()),
      );
      expect(
        step.every((value) => Math.abs(value) < 1e-3),
        rule,
      ).toBe(true);
    }
    const nothing = await conjugateGradient(shifted(ggnOperator(fitted, params, batchAt(params)), 0.1), gradients);
    expect(nothing.reason).toBe("converged");
  });
});

describe("data that are not finite", () => {
  const broken = (): Batch => batchOf(tensor([1, 2, Number.NaN, 4, 5, 6]).reshape([2, 3]));

  it("make statistics and diagonals that are not finite, and no zeros", { timeout: 120_000 }, async () => {
    const params = parameters();
    const loss = (p: Params, { inputs, targets }: Batch): Tensor =>
      problemLoss(network, p, { inputs: inputs.expandDims(0), targets: targets.expandDims(0) });
    const { squaredNorm, secondMoment, variance } = perSampleStatistics(perSampleGradients(loss, params, broken()));
    const norms = await onDevice(squaredNorm);
    expect(norms.map(Number.isNaN)).toEqual([true, false]);
    for (const tree of [
      secondMoment,
      variance,
      ggnDiagonal(network, params, broken()),
      hessianDiagonal(network, params, broken()),
    ]) {
      expect((await onDevice((tree as Params).w)).every(Number.isNaN)).toBe(true);
      expect(await onDevice((tree as Params).ignored)).toEqual([0, 0]);
    }
  });

  it.each(["expand", "reduce"] as const)(
    "make %s factors and steps that are not finite",
    { timeout: 240_000 },
    async (flavour) => {
      const params = parameters();
      const curvature = kroneckerCurvature(network, params, broken(), { flavour });
      const { factors, gradients, loss } = curvature.evaluate(params, broken());
      expect(await loss.item()).toBeNaN();
      const { a, b } = factors.w as MatrixFactors;
      expect((await onDevice(a)).some(Number.isNaN)).toBe(true);
      expect((await onDevice(b)).every(Number.isNaN)).toBe(true);
      const step = precondition(
        curvature.blocks,
        invertFactors(curvature.blocks, factors, lambda(), "heuristicPi"),
        gradients,
        lambda(),
      ) as Params;
      expect((await onDevice(step.w)).every(Number.isNaN)).toBe(true);
    },
  );

  it("are named by solvers and spectra", { timeout: 240_000 }, async () => {
    const params = parameters();
    const operator = ggnOperator(network, params, broken());
    await expect(conjugateGradient(operator, params)).rejects.toThrow(/GGN is not finite/);
    await expect(lanczos(operator, { steps: 3, key: key(1) })).rejects.toThrow(/GGN are not finite/);
    expect((await estimateTrace(operator, { key: key(1), probes: 4, method: "hutchinson" })).value).toBeNaN();
  });
});

describe("a parameter that the loss ignores", () => {
  it("has curvature zero everywhere, a line in the report, and a step of its gradient, zero", () => {
    const [params, batch] = [parameters(), batchOf(random(5, [4, 3]))];
    const curvature = kroneckerCurvature(network, params, batch);
    expect(curvature.report()).toContain("ignored: diagonal of [2] (the outputs do not depend on it)");
    const { factors, gradients } = curvature.evaluate(params, batch);
    const inverses = invertFactors(curvature.blocks, factors, lambda(), "sqrtBoth");
    const step = precondition(curvature.blocks, inverses, gradients, lambda()) as Params;
    expect(allNumbers(step.ignored)).toEqual([0, 0]);
    expect(allNumbers((hessianDiagonal(network, params, batch) as Params).ignored)).toEqual([0, 0]);
    const dense = allNumbers(toDense(hessianOperator(network, params, batch)));
    // Leaves in the order b, head, ignored, w.
    const n = 30;
    const own = treeLeaves<Tensor>(params).map(({ size }) => size);
    expect(own).toHaveLength(4);
    const start = Object.keys(params)
      .slice(0, 3)
      .reduce((sum, name) => sum + (params[name] as Tensor).size, 0);
    for (const row of [start, start + 1])
      expect(dense.slice(row * n, (row + 1) * n).every((value) => value === 0)).toBe(true);
  });
});

describe("tied weights", () => {
  const params = (): Params => ({ table: random(1, [5, 3]), w: random(2, [3, 3]) });
  const batch = (): Batch => ({
    inputs: tensor(Int32Array.from([0, 1, 4, 2])).reshape([2, 2]),
    targets: tensor(Int32Array.from([3, 0])),
  });
  /** A table that embeds tokens, and scores them as the head; a weight used twice. */
  const tied: CurvatureProblem<Params> = {
    loss: crossEntropy,
    model(p, tokens) {
      const vectors = (p.table as Tensor).gather(tokens, { axis: 0 }).mean({ axis: 1 });
      const twice = vectors
        .dot(p.w as Tensor)
        .tanh()
        .dot(p.w as Tensor);
      return softmax(twice).dot((p.table as Tensor).transpose());
    },
  };

  it("have exact diagonals, and per-sample gradients that are sums over uses", () => {
    const dense = allNumbers(toDense(hessianOperator({ ...tied, reduction: "sum" }, params(), batch())));
    const own = allNumbers(hessianDiagonal(tied, params(), batch()));
    const n = 24;
    own.forEach((value, index) => expect(value).toBeCloseTo(dense[index * n + index] as number, 9));
  });

  it("say which uses are in the block, and are refused where a recursion cannot know", () => {
    const curvature = kroneckerCurvature(tied, params(), batch());
    expect(curvature.report()).toContain("1 of its 2 uses, transposed or lookups, are not in the block");
    expect(curvature.report()).toMatch(/w: Kronecker, .*R = 2/);
    expect(() => recursiveFactors(tied, params(), batch())).toThrow(/outputs of (table|w) are not the only way/);
  });
});

describe("embeddings", () => {
  it("have curvature for the rows that are used, and none for the others", () => {
    const params: Params = { table: random(1, [6, 3]), head: random(2, [3, 3]) };
    const problem: CurvatureProblem<Params> = {
      loss: crossEntropy,
      model: (p, tokens) =>
        (p.table as Tensor)
          .gather(tokens, { axis: 0 })
          .tanh()
          .mean({ axis: 1 })
          .dot(p.head as Tensor),
    };
    const batch: Batch = {
      inputs: tensor(Int32Array.from([0, 1, 1, 4])).reshape([2, 2]),
      targets: tensor(Int32Array.from([2, 0])),
    };
    const dense = allNumbers(toDense(hessianOperator({ ...problem, reduction: "sum" }, params, batch)));
    const diagonal = allNumbers(hessianDiagonal(problem, params, batch));
    const n = 27;
    diagonal.forEach((value, index) => expect(value).toBeCloseTo(dense[index * n + index] as number, 9));
    const ggn = allNumbers((ggnDiagonal(problem, params, batch) as Params).table);
    const rows = (values: readonly number[]) =>
      [0, 1, 2, 3, 4, 5].map((row) => values.slice(3 * row, 3 * row + 3).some(Boolean));
    expect(rows(ggn)).toEqual([true, true, false, false, true, false]);
    const { factors } = kroneckerCurvature(problem, params, batch, { flavour: "expand" }).evaluate(params, batch);
    const frequencies = allNumbers((factors.table as MatrixFactors).a);
    expect(frequencies).toEqual([0.25, 0.5, 0, 0, 0.25, 0]);
    const { factors: reduced } = kroneckerCurvature(problem, params, batch, { flavour: "reduce" }).evaluate(
      params,
      batch,
    );
    expect((reduced.table as MatrixFactors).a.shape).toEqual([6, 6]);
  });
});

describe("forward only", () => {
  it.each(["expand", "reduce"] as const)("has inputs in A and the identity in B, %s", (flavour) => {
    const [params, batch] = [parameters(), batchOf(random(5, [4, 3]))];
    const forward = kroneckerCurvature(network, params, batch, { flavour, fisher: "forward" }).evaluate(params, batch);
    const exact = kroneckerCurvature(network, params, batch, { flavour }).evaluate(params, batch);
    expect(allNumbers((forward.factors.w as MatrixFactors).a)).toEqual(
      allNumbers((exact.factors.w as MatrixFactors).a),
    );
    expect(allNumbers((forward.factors.head as MatrixFactors).b)).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
    expect(allNumbers(forward.factors.ignored)).toEqual([0, 0]);
  });
});
