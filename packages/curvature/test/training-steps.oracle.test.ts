/** Steps of training runs: losses, gradients and curvature at each, and the statistics of gradients that follow from them. */
import { linalg, type Tensor, treeMap } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import { type DerivativeOracle, exampleLoss } from "../../autograd/test/derivative-oracles";
import {
  exampleLosses,
  flattenTree,
  ggnDiagonal,
  hessianDiagonal,
  hessianOperator,
  perSampleGradients,
  perSampleStatistics,
  scaled,
  toDense,
} from "../src/index";
import { derivativeProblem, termsOf } from "./derivative-problem";
import { exactLoader, type Load, loadAll, type Params, type StoredTensor } from "./kfac-models";

type Stored = number | readonly number[] | StoredTensor;

type StepRecord = Readonly<Record<string, Stored>> & {
  readonly parametersBefore: Readonly<Record<string, StoredTensor>>;
  readonly alphaObservations?: Readonly<Record<string, Stored>>;
};

interface TrainingOracle extends Pick<DerivativeOracle, "model" | "loss" | "inputs" | "targets"> {
  readonly optimizer: { readonly lr: number };
  readonly numExamples: number;
  readonly curvature: string;
  readonly records: readonly StepRecord[];
  readonly float32Differences: Readonly<Record<string, number>>;
}

/**
 * What a record holds and this package has no part in: what the step starts from; what only the parameters of two steps, or
 * a fit to numbers that are compared here, decide; where a power iteration stopped; and histograms. Instruments compute it.
 */
const notOfThisPackage: readonly RegExp[] = [
  /^(step|parametersBefore)$/,
  /^(Distance|UpdateSize|Alpha|fit)$/,
  /^HessMaxEVPowerIteration$/,
  /^(GradHist[12]d(Adaptive)?|histogramMargin.*)$/,
];

const partOf = ({ shape, data, ...rest }: StoredTensor, step: number): StoredTensor => {
  const own = shape.slice(1);
  const size = own.reduce((product, extent) => product * extent, 1);
  return { ...rest, shape: own, data: data.slice(step * size, (step + 1) * size) };
};

/** What is computed at a step. A list has one tensor per parameter. */
function measurements(oracle: TrainingOracle, step: number, from: Load) {
  const { loss, numExamples: examples } = oracle;
  const { problem, output } = derivativeProblem(oracle);
  const record = oracle.records[step] as StepRecord;
  const names = Object.keys(record.parametersBefore);
  const params = loadAll(record.parametersBefore, from);
  const batch = { inputs: from(partOf(oracle.inputs, step)), targets: from(partOf(oracle.targets, step)) };
  const outputs = problem.model(params, batch.inputs);
  const terms = termsOf(loss.kind, outputs);
  const single = (q: Params, { inputs, targets }: typeof batch): Tensor =>
    exampleLoss(loss.kind, output(q, inputs), targets);
  const gradients = perSampleGradients(single, params, batch);
  const statistics = perSampleStatistics(gradients);
  const perParameter = (tree: Params): Tensor[] => names.map((name) => tree[name] as Tensor);
  const ofMean = (tree: Params): Tensor[] =>
    perParameter(treeMap((x: Tensor) => x.div(examples * terms), tree) as Params);
  const hessian = hessianOperator({ ...problem, reduction: "sum" }, params, batch);
  return {
    parameters: [flattenTree(params)],
    output: [outputs],
    losses: [exampleLosses(problem, params, batch).div(terms)],
    perSampleGradients: [flattenTree(gradients, 1)],
    gradient: perParameter(statistics.mean),
    squaredNorm: [statistics.squaredNorm],
    dots: [statistics.dots],
    secondMoment: perParameter(statistics.secondMoment),
    variance: perParameter(statistics.variance),
    hessianDiagonal: ofMean(hessianDiagonal(problem, params, batch)),
    ggnDiagonal: ofMean(ggnDiagonal(problem, params, batch)),
    hessianEigenvalues: [linalg.eigh(toDense(scaled(hessian, 1 / (examples * terms)))).values],
  };
}

type Measured = keyof ReturnType<typeof measurements>;
type Values = Readonly<Record<Measured, readonly (readonly number[])[]>>;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
const dot = (a: readonly number[], b: readonly number[]): number => sum(a.map((x, i) => x * (b[i] as number)));
const unbiasedVariance = (values: readonly number[]): number => {
  const center = mean(values);
  return sum(values.map((x) => (x - center) ** 2)) / (values.length - 1);
};
const rowsOf = (values: readonly number[], rows: number): number[][] =>
  Array.from({ length: rows }, (_, n) => values.slice((n * values.length) / rows, ((n + 1) * values.length) / rows));

/** The numbers of a record from what was computed at its step, and at the next for those that need both. */
function recordOf(oracle: TrainingOracle, at: Values, next?: Values): Readonly<Record<string, readonly number[]>> {
  const { numExamples: examples } = oracle;
  const [losses] = at.losses as [number[]];
  const [squaredNorms] = at.squaredNorm as [number[]];
  const gradient = at.gradient.flat();
  const square = dot(gradient, gradient);
  // g_n · g is the mean of g_n · g_m over m.
  const projections = rowsOf(at.dots.flat(), examples).map(mean);
  const squaredProjections = dot(projections, projections);
  const pairs = examples * (examples - 1);
  const [secondMoment, variance] = [at.secondMoment.flat(), at.variance.flat()];
  const signal = (spread: number, i: number): number => (gradient[i] as number) ** 2 / (spread + 1e-5);
  const unbiased = variance.map((spread) => (spread * examples) / (examples - 1));
  const ticDiagonal = (h: readonly number[]): number => sum(secondMoment.map((m, i) => m / ((h[i] as number) + 1e-7)));
  const ticTrace = (h: readonly number[]): number => mean(squaredNorms) / (sum(h) + 1e-7);
  const [hessian, ggn] = [at.hessianDiagonal.flat(), at.ggnDiagonal.flat()];
  const [eigenvalues = []] = at.hessianEigenvalues;
  return {
    losses,
    output: at.output.flat(),
    Loss: [mean(losses)],
    gradientNormSquared: [square],
    perSampleSquaredNorms: squaredNorms,
    GradNorm: at.gradient.map((own) => Math.sqrt(dot(own, own))),
    NormTest: [Math.sqrt((sum(squaredNorms) - examples * square) / (pairs * square))],
    InnerTest: [Math.sqrt((squaredProjections - examples * square ** 2) / (pairs * square ** 2))],
    OrthoTest: [Math.sqrt((sum(squaredNorms) - squaredProjections / square) / (pairs * square))],
    MeanGSNR: [mean(variance.map(signal))],
    CABS: [(oracle.optimizer.lr * sum(variance)) / mean(losses)],
    EarlyStopping: [1 - examples * mean(unbiased.map(signal))],
    TICDiag: [ticDiagonal(hessian)],
    TICDiagGgn: [ticDiagonal(ggn)],
    TICTrace: [ticTrace(hessian)],
    TICTraceGgn: [ticTrace(ggn)],
    HessTrace: at.hessianDiagonal.map(sum),
    HessTraceGgn: at.ggnDiagonal.map(sum),
    hessianEigenvalues: eigenvalues,
    largestEigenvalue: eigenvalues.slice(-1),
    dominantEigenvalue: [eigenvalues.reduce((most, own) => (Math.abs(own) > Math.abs(most) ? own : most), 0)],
    ...(next === undefined ? {} : alongTheStep(examples, at, next)),
  };
}

/** Losses and slopes of examples at both ends of the line from a step to the next, each end with its own batch. */
function alongTheStep(examples: number, at: Values, next: Values): Readonly<Record<string, readonly number[]>> {
  const start = at.parameters.flat();
  const step = next.parameters.flat().map((value, i) => value - (start[i] as number));
  const length = Math.sqrt(dot(step, step));
  const ends = [at, next];
  const losses = ends.map((end) => end.losses.flat());
  const slopes = ends.map((end) =>
    rowsOf(end.perSampleGradients.flat(), examples).map((gradient) => dot(gradient, step) / length),
  );
  return {
    stepLength: [length],
    f: losses.map(mean),
    varF: losses.map(unbiasedVariance),
    df: slopes.map(mean),
    varDf: slopes.map(unbiasedVariance),
  };
}

const numbersOf = (stored: Stored): readonly number[] => {
  if (typeof stored === "number") return [stored];
  return "data" in stored ? stored.data : stored;
};

function checkRecord(
  { alphaObservations = {}, ...record }: StepRecord,
  found: Readonly<Record<string, readonly number[]>>,
  toleranceOf: (what: string) => number,
): void {
  for (const [what, stored] of Object.entries({ ...record, ...alphaObservations })) {
    if (notOfThisPackage.some((pattern) => pattern.test(what))) continue;
    expect(found[what], `${what} of the file, which nothing is compared with`).toBeDefined();
    const [actual, expected] = [found[what] as readonly number[], numbersOf(stored as Stored)];
    expect(actual.length, what).toBe(expected.length);
    const error = Math.hypot(...actual.map((value, i) => value - (expected[i] as number)));
    expect(error / Math.hypot(...expected), what).toBeLessThan(toleranceOf(what));
  }
}

const files = readOracles("backpack", (format) => format === "thalweg-cockpit-1");
const why = whyNoOracles("backpack");

describe.skipIf(why !== undefined)(why ?? "oracles: steps of training runs", () => {
  it("are there", () => expect(files.length).toBeGreaterThan(0));

  const cases = files.map(({ name, content }) => ({ name, oracle: content as unknown as TrainingOracle }));

  it.each(cases)("$name in float64", { timeout: 600_000 }, ({ oracle }) => {
    // TICDiag takes the curvature from the diagonal of the Hessian.
    expect(oracle.curvature).toBe("diag_h");
    const { load: exactly, bindings } = exactLoader();
    const lists = oracle.records.map((_, step) => measurements(oracle, step, exactly));
    const tensors = lists.flatMap((own) => Object.values(own).flat());
    const arrays = evaluateReference(tensors, bindings).map(({ values }) => Array.from(values));
    const numbers = new Map(tensors.map((tensor, index) => [tensor, arrays[index] as number[]]));
    const steps = lists.map(
      (own) => treeMap((tensor: Tensor) => numbers.get(tensor) as number[], own) as unknown as Values,
    );
    oracle.records.forEach((record, step) => {
      // Files have 15 digits; differences of squares, and quotients by curvatures near zero, lose some.
      checkRecord(record, recordOf(oracle, steps[step] as Values, steps[step + 1]), () => 1e-9);
    });
  });
});
