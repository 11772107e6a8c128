import { evaluate, init, key, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type Batch,
  type CurvatureProblem,
  composed,
  conjugateGradient,
  crossEntropy,
  eigenbasisOperator,
  type Factors,
  ggnOperator,
  inverseKroneckerOperator,
  invertFactors,
  type KroneckerBlock,
  kroneckerCurvature,
  kroneckerOperator,
  type MatrixFactors,
  shifted,
  squaredError,
  type sum,
  toDense,
} from "../src/index";
import { allNumbers, distance, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

/** Has a block of every kind: a layer with bias, a normalization, an embedding, a parameter by itself. */
function everyKind() {
  const params: Params = {
    table: random(1, [5, 3]),
    w: random(2, [3, 4]),
    b: random(3, [4]),
    scale: random(4, [4]),
    shift: random(5, [4]),
    head: random(6, [4, 3]),
    offset: random(7, [4]),
  };
  const problem: CurvatureProblem<Params> = {
    loss: crossEntropy,
    model(p, tokens) {
      const vectors = (p.table as Tensor).gather(tokens, { axis: 0 });
      const s = vectors
        .dot(p.w as Tensor)
        .add(p.b as Tensor)
        .tanh();
      const normed = s.mul(p.scale as Tensor).add(p.shift as Tensor);
      return normed
        .tanh()
        .mean({ axis: 1 })
        .mul((p.offset as Tensor).exp())
        .dot(p.head as Tensor);
    },
  };
  const batch: Batch = {
    inputs: tensor(Int32Array.from([0, 1, 1, 4, 2, 0, 3, 3])).reshape([4, 2]),
    targets: tensor(Int32Array.from([0, 1, 2, 1])),
  };
  const curvature = kroneckerCurvature(problem, params, batch, { flavour: "expand" });
  const evaluation = curvature.evaluate(params, batch);
  return { params, problem, batch, curvature, evaluation };
}

const operatorsOf = () => {
  const { params, curvature, evaluation } = everyKind();
  const { blocks } = curvature;
  const bases = invertFactors(blocks, evaluation.factors, tensor([0]).reshape([]), "exactKronecker");
  return [
    { name: "K-FAC", operator: kroneckerOperator(blocks, evaluation.factors, params) },
    { name: "K-FAC in its eigenbasis", operator: eigenbasisOperator(blocks, bases, params) },
    { name: "EKFAC", operator: eigenbasisOperator(blocks, evaluation.correct(bases), params) },
  ];
};

describe("Kronecker operators", () => {
  it("have blocks of every kind here", () => {
    const kinds = everyKind().curvature.blocks.map(({ kind }) => kind);
    expect(kinds).toEqual(["embedding", "kronecker", "unitwise", "kronecker", "diagonal"]);
  });

  it("K-FAC and its eigenbasis are one matrix, EKFAC another one of the exact trace", () => {
    const [plain, turned, corrected] = operatorsOf().map(({ operator }) => allNumbers(toDense(operator))) as [
      number[],
      number[],
      number[],
    ];
    const size = Math.hypot(...plain);
    expect(distance(plain, turned)).toBeLessThan(1e-9 * size);
    expect(distance(plain, corrected)).toBeGreaterThan(1e-3 * size);
    const { problem, params, batch } = everyKind();
    const [exact] = allNumbers(eyeTrace(toDense(ggnOperator(problem, params, batch)))) as [number];
    const [own] = allNumbers(operatorsOf()[2]?.operator.trace) as [number];
    expect(Math.abs(own - exact)).toBeLessThan(1e-9 * exact);
  });

  it.each([0, 1, 2])("trace, Frobenius norm, log determinant, powers are those of the matrix (%i)", (index) => {
    const { operator } = operatorsOf()[index] as ReturnType<typeof operatorsOf>[0];
    const lambda = 0.3;
    const dense = toDense(operator);
    const [trace, frobenius, own, ownFrobenius] = allNumbers(
      eyeTrace(dense),
      dense.square().sum().sqrt(),
      operator.trace,
      operator.frobenius,
    ) as [number, number, number, number];
    expect(own).toBeCloseTo(trace, 9);
    expect(ownFrobenius).toBeCloseTo(frobenius, 9);
    const identity = allNumbers(toDense(shifted(scaledToZero(operator), 1)));
    const inverse = composed(operator.power(-1, lambda), shifted(operator, lambda));
    expect(distance(allNumbers(toDense(inverse)), identity)).toBeLessThan(1e-7);
    const root = operator.power(0.5, lambda);
    expect(
      distance(allNumbers(toDense(composed(root, root))), allNumbers(toDense(shifted(operator, lambda)))),
    ).toBeLessThan(1e-7 * frobenius);
    const whitened = composed(
      composed(operator.power(-0.5, lambda), shifted(operator, lambda)),
      operator.power(-0.5, lambda),
    );
    expect(distance(allNumbers(toDense(whitened)), identity)).toBeLessThan(1e-7);
    // By differences: the derivative of log det by λ is the trace of the inverse.
    const step = 1e-4;
    const [up, down, slope] = allNumbers(
      operator.logDeterminant(lambda + step),
      operator.logDeterminant(lambda - step),
      eyeTrace(toDense(operator.power(-1, lambda))),
    ) as [number, number, number];
    expect((up - down) / (2 * step)).toBeCloseTo(slope, 2);
  });

  it("draws have the inverse for a covariance", { timeout: 60_000 }, async () => {
    const { operator } = operatorsOf()[1] as ReturnType<typeof operatorsOf>[0];
    const count = 4000;
    const draws = operator.sample(key(9), { lambda: 1, count });
    const flat = treeLeaves<Tensor>(draws).map((leaf) => leaf.reshape([count, -1]));
    const [first] = flat as [Tensor];
    const own = await first.transpose().matmul(first).div(count).data();
    const size = first.shape[1] as number;
    const inverse = await toDense(operator.power(-1, 1)).slice([], [size, size]).data();
    own.forEach((value, at) => expect(Math.abs(value - (inverse[at] as number))).toBeLessThan(6 / Math.sqrt(count)));
  });

  it("inverses by damping rules precondition conjugate gradients", { timeout: 120_000 }, async () => {
    // Inputs of very different scales: one layer under squared error, of which the Kronecker product is the whole matrix.
    const params: Params = { w: random(1, [4, 2]) };
    const problem: CurvatureProblem<Params> = { loss: squaredError, model: (p, x) => x.dot(p.w as Tensor) };
    const batch = { inputs: random(2, [12, 4]).mul(tensor([1, 4, 16, 64])), targets: random(3, [12, 2]) };
    const { blocks, evaluate: at } = kroneckerCurvature(problem, params, batch);
    const { factors } = at(params, batch);
    const right: Params = { w: random(4, [4, 2]) };
    const lambda = tensor([1e-3]).reshape([]);
    const inverses = invertFactors(blocks, factors, lambda, "heuristicPi");
    await evaluate(treeLeaves<Tensor>([inverses, right]));
    const preconditioner = inverseKroneckerOperator(blocks, inverses, params, lambda);
    const damped = shifted(ggnOperator(problem, params, batch), 1e-3);
    const plain = await conjugateGradient(damped, right, { tolerance: 1e-3 });
    const faster = await conjugateGradient(damped, right, {
      tolerance: 1e-3,
      preconditioner: preconditioner.apply,
    });
    expect([plain.reason, faster.reason]).toEqual(["converged", "converged"]);
    expect(faster.iterations).toBeLessThan(plain.iterations);
  });

  it("say what is missing", () => {
    const { params, curvature, evaluation } = everyKind();
    const { w, ...rest } = evaluation.factors;
    expect(w).toBeDefined();
    expect(() => kroneckerOperator(curvature.blocks, rest, params)).toThrow(/lack the block w/);
    const inverted = invertFactors(curvature.blocks, evaluation.factors, tensor([1]).reshape([]), "sqrtBoth");
    expect(() => eigenbasisOperator(curvature.blocks, inverted, params)).toThrow(
      /Invert with the rule "exactKronecker"/,
    );
  });
});

describe("the closest Kronecker product", () => {
  /** ‖exact - B ⊗ A‖ of a layer without groups. */
  function errorOf(block: KroneckerBlock, { a, b }: MatrixFactors, exact: readonly number[]): number {
    const { outs } = block.layout;
    const ins = a.shape[0] as number;
    return distance(allNumbers(b.reshape([outs, 1, outs, 1]).mul(a.reshape([1, ins, 1, ins]))), exact);
  }

  /** The best error there is: what the rearranged block has beside its largest singular value, found in float64. */
  function bestError(block: KroneckerBlock, ins: number, exact: readonly number[]): number {
    const { outs } = block.layout;
    const rows = outs * outs;
    const columns = ins * ins;
    const at = (o: number, i: number, p: number, j: number): number =>
      exact[((o * ins + i) * outs + p) * ins + j] as number;
    const rearranged = Array.from({ length: rows }, (_, row) =>
      Array.from({ length: columns }, (_, column) =>
        at(Math.floor(row / outs), Math.floor(column / ins), row % outs, column % ins),
      ),
    );
    let v = Array.from({ length: columns }, (_, index): number => (index % (ins + 1) === 0 ? 1 : 0));
    let sigma = 0;
    for (let round = 0; round < 500; round++) {
      const u = rearranged.map((row) => row.reduce((sum, value, index) => sum + value * (v[index] as number), 0));
      const next = v.map((_, index) =>
        rearranged.reduce((sum, row, at) => sum + (row[index] as number) * (u[at] as number), 0),
      );
      sigma = Math.hypot(...u) / Math.hypot(...v);
      const size = Math.hypot(...next);
      v = next.map((value) => value / size);
    }
    return Math.sqrt(Math.max(0, Math.hypot(...exact) ** 2 - sigma ** 2));
  }

  const cases = [
    { name: "one position", shape: [6, 3] },
    { name: "few positions", shape: [5, 2, 3] },
    { name: "more pairs of positions than entries of the gradient", shape: [3, 9, 3] },
  ];

  it.each(cases)("is the best one: $name", ({ shape }) => {
    const params: Params = { w: random(1, [3, 2]), b: random(2, [2]), head: random(3, [2, 2]) };
    const problem: CurvatureProblem<Params> = {
      loss: squaredError,
      model(p, x) {
        const h = x
          .dot(p.w as Tensor)
          .add(p.b as Tensor)
          .tanh();
        return (h.rank === 3 ? h.sum({ axis: 1 }) : h).dot(p.head as Tensor).tanh();
      },
    };
    const batch = { inputs: random(4, shape), targets: random(5, [shape[0] as number, 2]) };
    const curvature = kroneckerCurvature(problem, params, batch, { flavour: "expand" });
    const evaluation = curvature.evaluate(params, batch);
    const block = curvature.blocks.find(({ name }) => name === "w") as KroneckerBlock;
    const exact = allNumbers(evaluation.exactBlock("w"));
    const closest = evaluation.closest(evaluation.factors, { rounds: 60 });
    const best = bestError(block, 4, exact);
    const own = errorOf(block, closest.w as MatrixFactors, exact);
    expect(own).toBeLessThan(best + 1e-8 * Math.hypot(...exact));
    expect(own).toBeLessThan(errorOf(block, evaluation.factors.w as MatrixFactors, exact) - 1e-6);
    // A keeps its size, so that damping means the same.
    const norm = (factors: Factors): number => Math.hypot(...allNumbers((factors.w as MatrixFactors).a));
    expect(norm(closest)).toBeCloseTo(norm(evaluation.factors), 8);
  });

  it("of factors that are zero is zero, and other blocks stay as they are", () => {
    const { curvature, evaluation } = everyKind();
    const zero: Factors = Object.fromEntries(
      Object.entries(evaluation.factors).map(([name, own]) =>
        "a" in own ? [name, { a: own.a.mul(0), b: own.b.mul(0) }] : [name, own],
      ),
    );
    const closest = evaluation.closest(zero);
    expect(allNumbers(closest).every(Number.isFinite)).toBe(true);
    expect(allNumbers(closest.scale)).toEqual(allNumbers(evaluation.factors.scale));
    const better = evaluation.closest(evaluation.factors, { rounds: 30 });
    expect((better.table as MatrixFactors).a.shape).toEqual([5]);
    const dense = toDense(ggnOperator(everyKind().problem, everyKind().params, everyKind().batch));
    expect(dense.shape[0]).toBe(toDense(kroneckerOperator(curvature.blocks, better, everyKind().params)).shape[0]);
    expect(() => evaluation.closest({}, {})).toThrow(/lack the block table/);
    expect(() => evaluation.closest(evaluation.factors, { rounds: 0 })).toThrow(/0 rounds/);
  });
});

const eyeTrace = (dense: Tensor): Tensor => dense.iotaLike(0).equal(dense.iotaLike(1)).where(dense, 0).sum();

const scaledToZero = <T>(operator: Parameters<typeof sum<T, T>>[0]) => ({
  ...operator,
  apply: (v: T): T => treeZero(operator.apply(v)),
});

const treeZero = <T>(tree: T): T =>
  Object.fromEntries(Object.entries(tree as Params).map(([name, leaf]) => [name, leaf.mul(0)])) as T;
