import { evaluate, eye, init, linalg, scalar, type Tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  adaptDamping,
  applyMany,
  conjugateGradient,
  dimension,
  fisherOperator,
  flattenTree,
  gaussianMixture,
  ggnOperator,
  hessianOperator,
  jacobianOperator,
  type LinearOperator,
  lanczos,
  neumannInverse,
  onVectors,
  problemLoss,
  quadraticModelStep,
  shifted,
  toDense,
  unflattenTree,
} from "../src/index";
import { beginConjugateGradient, continueConjugateGradient } from "../src/krylov/conjugate-gradient";
import { beginLanczos, continueLanczos } from "../src/krylov/lanczos";
import {
  exactLoader,
  type Load,
  load,
  loadAll,
  loadInputs,
  type Params,
  problemOf,
  type StoredProblem,
  type StoredTensor,
} from "./kfac-models";

interface StoredOperator {
  readonly matvec: StoredTensor;
  readonly trace: number;
  readonly frobenius: number;
  readonly diagonal: StoredTensor;
  readonly eigenvalues: StoredTensor;
  readonly quadraticForm: StoredTensor;
  readonly matrix: StoredTensor;
  readonly lanczos: Readonly<Record<"alpha" | "beta" | "ritzValues" | "weights", StoredTensor>>;
  readonly spectralDensity: { readonly grid: StoredTensor; readonly sigma: number; readonly density: StoredTensor };
  readonly inverse?: {
    readonly damping: number;
    readonly vector: StoredTensor;
    readonly exact: StoredTensor;
    readonly cg: StoredCg;
    readonly cgDiagonalPreconditioner: StoredCg;
    readonly neumann: { readonly terms: number; readonly scale: number; readonly result: StoredTensor };
  };
}

interface StoredCg {
  readonly iterates: number;
  readonly solution: StoredTensor;
  readonly relativeResiduals: readonly number[];
  readonly quadraticModel: readonly number[];
}

interface OperatorsOracle extends StoredProblem {
  readonly lossValue: number;
  readonly gradient: Readonly<Record<string, StoredTensor>>;
  readonly vectors: StoredTensor;
  readonly mcDraws: StoredTensor;
  readonly operators: Readonly<Record<string, StoredOperator>>;
  readonly jacobian: Readonly<Record<"vector" | "jvp" | "cotangent" | "vjp", StoredTensor>>;
  readonly levenbergMarquardt: {
    readonly damping: number;
    readonly update: StoredTensor;
    readonly quadraticChange: number;
    readonly newLoss: number;
    readonly rho: number;
    readonly newDamping: number;
    readonly omega: number;
    readonly interval: number;
  };
  readonly quadraticModelStep: {
    readonly direction: StoredTensor;
    readonly previousUpdate: StoredTensor;
    readonly damping: number;
    readonly matrix: StoredTensor;
    readonly rhs: StoredTensor;
    readonly learningRate: number;
    readonly momentum: number;
    readonly modelChange: number;
  };
}

function setUp(oracle: OperatorsOracle, from: Load) {
  const problem = problemOf(oracle);
  const params = loadAll(oracle.params, from);
  const batch = { inputs: loadInputs(oracle.inputs, from), targets: from(oracle.targets) };
  const operators: Readonly<Record<string, () => LinearOperator<Params>>> = {
    hessian: () => hessianOperator(problem, params, batch),
    ggn: () => ggnOperator(problem, params, batch),
    empiricalFisher: () => fisherOperator(problem, params, batch, { kind: "empirical" }),
    mcFisher: () => fisherOperator(problem, params, batch, { kind: "mc", targets: [drawn()] }),
  };
  // The files have normals where the targets are numbers.
  const drawn = (): Tensor => {
    const draws = from(oracle.mcDraws);
    if (oracle.loss.kind !== "squaredError") return draws;
    const outputs = problem.model(params, batch.inputs);
    return draws.add(outputs.reshape(draws.shape.slice(1)).expandDims(0));
  };
  return { problem, params, batch, operators };
}

/**
 * Every quantity an operator of a file may hold, at each level: a name that is not here would be something that nothing is
 * compared with. `start` is the index of the vector that Lanczos' method begins with.
 */
const known = {
  operator: "matvec trace frobenius diagonal eigenvalues quadraticForm lanczos matrix spectralDensity inverse",
  lanczos: "alpha beta ritzValues weights start",
  spectralDensity: "grid sigma density",
  inverse: "damping vector exact cg cgDiagonalPreconditioner neumann",
  cg: "iterates solution relativeResiduals quadraticModel",
  neumann: "terms scale result",
} as const;

function expectKnown({ operators }: OperatorsOracle): void {
  const unknown = (what: string, level: keyof typeof known, value: object = {}): string[] => {
    const names: readonly string[] = known[level].split(" ");
    return Object.keys(value).flatMap((name) => (names.includes(name) ? [] : [`${what}: ${name}`]));
  };
  const all = Object.entries(operators).flatMap(([name, { lanczos: spectrum, spectralDensity, inverse, ...rest }]) => [
    ...unknown(name, "operator", rest),
    ...unknown(name, "lanczos", spectrum),
    ...unknown(name, "spectralDensity", spectralDensity),
    ...unknown(name, "inverse", inverse),
    ...unknown(name, "cg", inverse?.cg),
    ...unknown(name, "cg", inverse?.cgDiagonalPreconditioner),
    ...unknown(name, "neumann", inverse?.neumann),
  ]);
  expect(all, "quantities of the file that nothing is compared with").toEqual([]);
}

interface Comparison {
  readonly what: string;
  readonly actual: Tensor;
  readonly expected: readonly number[];
}

interface SolverComparison extends Comparison {
  /** How much larger than rounding the error may be. */
  readonly growth: number;
  /** What rounding is relative to. */
  readonly size: number;
}

/** What solvers find, from the same parts as on the device. */
function solverComparisons(oracle: OperatorsOracle, from: Load): SolverComparison[] {
  const { operators } = setUp(oracle, from);
  const found: SolverComparison[] = [];
  const rows = oracle.vectors.shape[1] as number;
  for (const [name, stored] of Object.entries(oracle.operators)) {
    const operator = operators[name]?.() as LinearOperator<Params>;
    const dense = toDense(operator);
    const add = (
      what: string,
      actual: Tensor,
      expected: readonly number[],
      { growth = 1, size = norm(expected) }: Partial<Pick<SolverComparison, "growth" | "size">> = {},
    ) => found.push({ what: `${name}: ${what}`, actual, expected, growth, size });
    add("eigenvalues", linalg.eigh(dense).values, stored.eigenvalues.data);
    const size = Math.max(...stored.eigenvalues.data.map(Math.abs));

    const { alpha, beta } = stored.lanczos;
    const { apply } = onVectors(operator);
    const first = from({ shape: [rows], data: oracle.vectors.data.slice(0, rows) });
    let state = beginLanczos(first, alpha.data.length);
    // A direction has the error of the one before, times ‖A‖ / β.
    let growth = 1;
    for (const [index, expected] of alpha.data.entries()) {
      const [next, ownAlpha, ownBeta] = continueLanczos(apply, state, scalar(index));
      add(`α ${index}`, ownAlpha, [expected], { growth, size });
      const side = beta.data[index];
      if (side === undefined) break;
      add(`β ${index}`, ownBeta, [side], { growth, size });
      growth *= Math.max(1, size / side);
      state = next;
    }

    if (stored.inverse === undefined) continue;
    const { damping, vector, exact, cg, cgDiagonalPreconditioner } = stored.inverse;
    const lambda = from({ shape: [], data: [damping] });
    const damped = dense.add(eye(rows).mul(lambda));
    const b = from(vector);
    const condition = (size + damping) / damping;
    add("solution", linalg.inversePositiveDefinite(damped).dot(b, { contract: [[1], [0]] }), exact.data, {
      growth: condition,
    });
    const diagonal = from({ shape: [rows], data: stored.diagonal.data.map((value) => (value + damping) ** -0.75) });
    for (const [method, history, smooth] of [
      ["CG", cg, (v: Tensor) => v],
      ["CG with preconditioner", cgDiagonalPreconditioner, (v: Tensor) => v.mul(diagonal)],
    ] as const) {
      const system = {
        apply: (v: Tensor) => v.dot(damped, { contract: [[1], [0]] }),
        smooth,
        target: b.reshape([1, rows]),
        tolerance: 0,
      };
      const begin = beginConjugateGradient(system, system.target.zerosLike());
      const [, report] = continueConjugateGradient(system, begin, scalar(history.iterates), history.iterates);
      const used = history.relativeResiduals.filter((residual) => residual >= 1e-6).length;
      const until = (list: Tensor): Tensor => list.reshape([history.iterates]).slice([0], [used]);
      // What the solution is off by is what the residuals are, times the condition; directions lose as much.
      const growth = condition ** 2;
      add(`residuals of ${method}`, until(report.relativeResidual), history.relativeResiduals.slice(0, used), {
        growth,
      });
      add(`models of ${method}`, until(report.quadraticModel), history.quadraticModel.slice(0, used), { growth });
      const last = report.iterates.slice([history.iterates - 1], [history.iterates]).flatten();
      add(`solution of ${method}`, last, history.solution.data, { growth });
    }
  }
  return found;
}

function comparisons(oracle: OperatorsOracle, from: Load): Comparison[] {
  const { problem, params, batch, operators } = setUp(oracle, from);
  const found: Comparison[] = [];
  const add = (what: string, actual: Tensor, expected: StoredTensor | number) =>
    found.push({ what, actual, expected: typeof expected === "number" ? [expected] : expected.data });
  const vectors = unflattenTree(from(oracle.vectors), params);
  for (const [name, stored] of Object.entries(oracle.operators)) {
    const operator = operators[name]?.() as LinearOperator<Params>;
    const products = flattenTree(applyMany(operator, vectors), 1);
    add(`${name}: products`, products, stored.matvec);
    add(`${name}: quadratic forms`, products.mul(from(oracle.vectors)).sum({ axis: 1 }), stored.quadraticForm);
    const dense = toDense(operator);
    add(`${name}: matrix`, dense, stored.matrix);
    const diagonal = dense.iotaLike(0).equal(dense.iotaLike(1)).where(dense, 0).sum({ axis: 1 });
    add(`${name}: diagonal`, diagonal, stored.diagonal);
    add(`${name}: trace`, diagonal.sum(), stored.trace);
    add(`${name}: Frobenius norm`, dense.square().sum().sqrt(), stored.frobenius);
    if (stored.inverse === undefined) continue;
    const { damping, vector, neumann } = stored.inverse;
    const damped = shifted(operator, from({ shape: [], data: [damping] }));
    const options = { scale: neumann.scale, terms: neumann.terms };
    const sum = neumannInverse(damped, unflattenTree(from(vector), params), options);
    add(`${name}: Neumann series`, flattenTree(sum), neumann.result);
  }
  const jacobian = jacobianOperator(problem, params, batch.inputs);
  const { vector, jvp, cotangent, vjp } = oracle.jacobian;
  add("Jacobian: product", jacobian.apply(unflattenTree(from(vector), params)), jvp);
  const pulled = jacobian.applyTranspose(from(cotangent).reshape(jacobian.range.shape));
  add("Jacobian: transposed product", flattenTree(pulled), vjp);
  return found;
}

const norm = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values));

function expectNear(
  actual: ArrayLike<number>,
  expected: readonly number[],
  relative: number,
  what: string,
  size = norm(expected),
): void {
  expect(actual.length, what).toBe(expected.length);
  const error = norm(expected.map((value, index) => value - (actual[index] as number)));
  expect(error, what).toBeLessThanOrEqual(relative * size + 1e-9);
}

const files = readOracles("kfac", (format) => format === "thalweg-operators-1");
const why = whyNoOracles("kfac");

describe.skipIf(why !== undefined)(why ?? "oracles: curvature operators", () => {
  beforeAll(async () => void (await init()));

  it("are there", () => expect(files.length).toBeGreaterThan(0));

  const cases = files.map(({ name, content }) => ({ name, oracle: content as unknown as OperatorsOracle }));

  it.each(cases)("$name in float64", ({ oracle }) => {
    const { load: exactly, bindings } = exactLoader();
    const found = comparisons(oracle, exactly);
    const arrays = evaluateReference(
      found.map(({ actual }) => actual),
      bindings,
    );
    // The scale of the Neumann series is f32 in the graph.
    found.forEach(({ what, expected }, index) => {
      expectNear(arrays[index]?.values ?? [], expected, what.includes("Neumann") ? 1e-5 : 1e-11, what);
    });
  });

  it.each(cases)("$name: solvers in float64", { timeout: 400_000 }, ({ oracle }) => {
    expectKnown(oracle);
    const { load: exactly, bindings } = exactLoader();
    const found = solverComparisons(oracle, exactly);
    const arrays = evaluateReference(
      found.map(({ actual }) => actual),
      bindings,
    );
    found.forEach(({ what, expected, growth, size }, index) => {
      expectNear(arrays[index]?.values ?? [], expected, Math.min(1e-3, 1e-12 * growth), what, size);
    });
  });

  it.each(cases)("$name on the device", { timeout: 400_000 }, async ({ oracle }) => {
    const found = comparisons(oracle, load);
    await evaluate(found.map(({ actual }) => actual));
    for (const { what, actual, expected } of found) expectNear(await actual.data(), expected, 1e-5, what);
  });

  it.each(cases)("$name: Lanczos, spectral density, conjugate gradients", { timeout: 600_000 }, async ({ oracle }) => {
    const { params, operators } = setUp(oracle, load);
    const rows = oracle.vectors.shape[1] as number;
    const start = unflattenTree(load({ shape: [rows], data: oracle.vectors.data.slice(0, rows) }), params);
    for (const [name, stored] of Object.entries(oracle.operators)) {
      const operator = operators[name]?.() as LinearOperator<Params>;
      const { ritzValues, weights } = await lanczos(operator, { steps: stored.lanczos.alpha.data.length, start });
      expectNear(ritzValues, stored.lanczos.ritzValues.data, 1e-4, `${name}: Ritz values`);
      expectNear(weights, stored.lanczos.weights.data, 1e-3, `${name}: weights`);
      const { grid, sigma, density } = stored.spectralDensity;
      const nodes = stored.eigenvalues.data.map((value) => ({ value, weight: 1 / stored.eigenvalues.data.length }));
      expectNear(gaussianMixture(nodes, sigma, grid.data), density.data, 1e-10, `${name}: density`);
      if (stored.inverse === undefined) continue;
      const { damping, vector, exact, cg, cgDiagonalPreconditioner } = stored.inverse;
      const damped = shifted(operator, damping);
      const b = unflattenTree(load(vector), params);
      const condition = (Math.max(...stored.eigenvalues.data) + damping) / damping;
      const scales = load({ shape: [rows], data: stored.diagonal.data.map((value) => (value + damping) ** -0.75) });
      const preconditioner = (v: Params): Params => unflattenTree(flattenTree(v).mul(scales), params);
      for (const [history, options] of [
        [cg, {}],
        [cgDiagonalPreconditioner, { preconditioner }],
      ] as const) {
        const found = await conjugateGradient(damped, b, {
          ...options,
          tolerance: 1e-6,
          maxIterations: history.iterates,
        });
        expect(found.iterations).toBeLessThanOrEqual(history.iterates);
        history.relativeResiduals.forEach((expected, index) => {
          if (expected < 1e-6 || index >= Math.min(6, found.iterations)) return;
          // In f32 each step adds roundings, which the condition enlarges; later on directions are no longer conjugate.
          const own = found.relativeResiduals[index] as number;
          const rounding = 100 * (index + 1) * 2 ** -24 * condition;
          expect(Math.abs(own - expected), `${name}: residual ${index}`).toBeLessThan(1e-3 * expected + rounding);
          const [value, wanted] = [found.quadraticModel[index], history.quadraticModel[index]] as [number, number];
          expectNear([value], [wanted], Math.max(1e-4, rounding), `${name}: model`);
        });
      }
      const solved = await conjugateGradient(damped, b, { tolerance: 1e-6, maxIterations: 100 });
      expect(solved.reason).toBe("converged");
      expectNear(await flattenTree(solved.solution).data(), exact.data, 1e-4, `${name}: solution`);
    }
  });

  it.each(cases)("$name: damping and the quadratic model", { timeout: 400_000 }, async ({ oracle }) => {
    const { problem, params, batch, operators } = setUp(oracle, load);
    const ggn = operators.ggn?.() as LinearOperator<Params>;
    const gradient = loadAll(oracle.gradient);
    const inner = async (a: Params, b: Params): Promise<number> => flattenTree(a).mul(flattenTree(b)).sum().item();
    const { update, quadraticChange, newLoss, rho, newDamping, damping, omega, interval } = oracle.levenbergMarquardt;
    const step = unflattenTree(load(update), params);
    const change = 0.5 * (await inner(step, ggn.apply(step))) + (await inner(gradient, step));
    expectNear([change], [quadraticChange], 1e-5, "predicted change");
    const moved = unflattenTree(flattenTree(params).add(load(update)), params);
    const loss = await problemLoss(problem, moved, batch).item();
    expectNear([loss], [newLoss], 1e-5, "loss after the step");
    const ratio = (loss - oracle.lossValue) / change;
    expectNear([ratio], [rho], 1e-4, "ratio");
    expectNear([adaptDamping(damping, ratio, { omega, interval })], [newDamping], 1e-10, "damping");

    const { direction, previousUpdate, damping: lambda, matrix, rhs, ...expected } = oracle.quadraticModelStep;
    const [d, p] = [direction, previousUpdate].map((own) => unflattenTree(load(own), params)) as [Params, Params];
    const damped = shifted(ggn, lambda);
    const [cd, cp] = [damped.apply(d), damped.apply(p)];
    const [dd, dp, pp] = [await inner(d, cd), await inner(d, cp), await inner(p, cp)];
    const slopes = [await inner(gradient, d), await inner(gradient, p)] as const;
    expectNear([dd, dp, dp, pp], matrix.data, 1e-5, "products of the directions");
    expectNear(slopes, rhs.data, 1e-5, "slopes along the directions");
    const found = quadraticModelStep(
      [
        [dd, dp],
        [dp, pp],
      ],
      slopes,
    );
    const names = ["learningRate", "momentum", "modelChange"] as const;
    for (const name of names) expectNear([found[name]], [expected[name]], 1e-4, name);
    expect(dimension(params)).toBe(update.data.length);
  });
});
