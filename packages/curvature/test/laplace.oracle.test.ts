import { grad } from "@thalweg/autograd";
import { evaluate, init, scalar, type Tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  type Laplace,
  type LaplaceHyperparameters,
  type LaplaceOptions,
  laplace,
  logPredictiveDensity,
  probit,
  selectHyperparameters,
} from "../src/index";
import {
  exactLoader,
  type Inputs,
  type Load,
  load,
  loadAll,
  loadInputs,
  type Params,
  problemOf,
  type StoredProblem,
  type StoredTensor,
} from "./kfac-models";
import { norm } from "./numbers";

interface LaplaceOracle extends StoredProblem {
  readonly lastLayerParams: readonly string[];
  readonly sigmaNoise: number | null;
  readonly evidence: readonly {
    readonly prior: string;
    readonly priorPrecision: StoredTensor;
    readonly structure: string;
    readonly logMarginalLikelihood: number;
    readonly logLikelihood: number;
    readonly logDetRatio: number;
    readonly scatter: number;
    readonly gradLogPriorPrecision: StoredTensor | null;
    readonly gradLogSigmaNoise: StoredTensor | number | null;
  }[];
  readonly hyperparameterSteps: Readonly<Record<string, { readonly trace: readonly (readonly number[])[] }>>;
  readonly effectiveParameters: {
    readonly prior: number;
    readonly value: number;
    readonly fixedPoint: { readonly trace: readonly (readonly [gamma: number, alpha: number])[] };
  };
  readonly predictive: {
    readonly inputs: StoredTensor;
    readonly mean: StoredTensor;
    readonly prior: number;
  } & Readonly<
    Record<
      string,
      {
        readonly functionalVariance: StoredTensor;
        readonly probitProbabilities?: StoredTensor;
        readonly predictiveVariance?: StoredTensor;
      }
    >
  >;
}

const optionsOf = (structure: string, { lastLayerParams }: LaplaceOracle): LaplaceOptions => {
  const known: Readonly<Record<string, LaplaceOptions>> = {
    full: { structure: "full" },
    diag: { structure: "diagonal" },
    kronJoint: { structure: "kronecker", bias: "joint" },
    kronSeparate: { structure: "kronecker", bias: "separate" },
    lastLayer: { structure: "full", parameters: lastLayerParams },
  };
  return known[structure] as LaplaceOptions;
};

interface Comparison {
  readonly what: string;
  readonly actual: Tensor;
  readonly expected: readonly number[];
}

const numbersOf = (value: StoredTensor | number): readonly number[] =>
  typeof value === "number" ? [value] : value.data;

function comparisons(oracle: LaplaceOracle, from: Load): Comparison[] {
  const problem = problemOf(oracle);
  const params = loadAll(oracle.params, from);
  const batch = { inputs: loadInputs(oracle.inputs, from), targets: from(oracle.targets) };
  const fits = new Map<string, Laplace<Params, Inputs>>();
  const fit = (structure: string): Laplace<Params, Inputs> => {
    const known = fits.get(structure) ?? laplace(problem, params, batch, optionsOf(structure, oracle));
    fits.set(structure, known);
    return known;
  };
  const hyperparametersOf = (precision: StoredTensor): LaplaceHyperparameters => ({
    logPriorPrecision: from({ ...precision, data: precision.data.map(Math.log) }),
    ...(oracle.sigmaNoise !== null && { logNoise: from({ shape: [], data: [Math.log(oracle.sigmaNoise)] }) }),
  });
  const found: Comparison[] = [];
  const add = (what: string, actual: Tensor, expected: StoredTensor | number) =>
    found.push({ what, actual, expected: numbersOf(expected) });
  for (const row of oracle.evidence) {
    const at = `${row.structure} with prior ${row.prior}`;
    const hyperparameters = hyperparametersOf(row.priorPrecision);
    const posterior = fit(row.structure);
    const evidence = posterior.evidence(hyperparameters);
    add(`evidence, ${at}`, evidence.logEvidence, row.logMarginalLikelihood);
    add(`likelihood, ${at}`, evidence.logLikelihood, row.logLikelihood);
    add(`determinant, ${at}`, evidence.logDeterminantRatio, row.logDetRatio);
    add(`scatter, ${at}`, evidence.scatter, row.scatter);
    const slopes = grad((own: LaplaceHyperparameters) => posterior.evidence(own).logEvidence)(hyperparameters);
    if (row.gradLogPriorPrecision !== null)
      add(`slope of the prior, ${at}`, slopes.logPriorPrecision, row.gradLogPriorPrecision);
    if (row.gradLogSigmaNoise !== null)
      add(`slope of the noise, ${at}`, slopes.logNoise as Tensor, row.gradLogSigmaNoise);
  }
  const { prior, value } = oracle.effectiveParameters;
  add("effective parameters", fit("full").effectiveParameters(hyperparametersOf({ shape: [], data: [prior] })), value);
  const { inputs, mean, prior: own, ...structures } = oracle.predictive;
  const known = ["functionalVariance", "probitProbabilities", "predictiveVariance"];
  for (const [structure, stored] of Object.entries(structures)) {
    expect(known, `${structure}: quantities of the file that nothing is compared with`).toEqual(
      expect.arrayContaining(Object.keys(stored)),
    );
    const posterior = fit(structure);
    const at = hyperparametersOf({ shape: [], data: [own] });
    const predicted = posterior.predict(from(inputs), at);
    add(`mean, ${structure}`, predicted.mean, mean);
    add(`covariance, ${structure}`, predicted.covariance, stored.functionalVariance);
    if (stored.probitProbabilities !== undefined) {
      add(`probit, ${structure}`, probit(predicted.mean, predicted.covariance), stored.probitProbabilities);
    }
    // A normal density at its own mean tells its variance; of several outputs the covariance above does.
    if (stored.predictiveVariance !== undefined && mean.shape[1] === 1) {
      const batch = { inputs: from(inputs), targets: predicted.mean };
      const { shape, data } = stored.predictiveVariance;
      const logs = data.map((value) => -0.5 * Math.log(2 * Math.PI * value));
      add(`density, ${structure}`, logPredictiveDensity(posterior, batch, at), { shape, data: logs });
    }
  }
  return found;
}

function check(found: readonly Comparison[], values: readonly ArrayLike<number>[], tolerance: number): void {
  const offences = found.flatMap(({ what, expected }, index) => {
    const actual = Array.from(values[index] as ArrayLike<number>);
    if (actual.length !== expected.length) return [`${what}: ${actual.length} numbers, expected ${expected.length}`];
    const error = norm(actual.map((value, at) => value - (expected[at] as number)));
    return error <= tolerance * Math.max(norm(expected), 1) ? [] : [`${what}: off by ${error}, norm ${norm(expected)}`];
  });
  expect(offences).toEqual([]);
}

const files = readOracles("kfac", (format) => format === "thalweg-laplace-1");
const why = whyNoOracles("kfac");

describe.skipIf(why !== undefined)(why ?? "oracles: Laplace posteriors", () => {
  it("are there", () => expect(files.length).toBeGreaterThan(0));

  const cases = files.map(({ name, content }) => ({ name, oracle: content as unknown as LaplaceOracle }));

  it.each(cases)("$name in float64", ({ oracle }) => {
    const { load: exactly, bindings } = exactLoader();
    const found = comparisons(oracle, exactly);
    const arrays = evaluateReference(
      found.map(({ actual }) => actual),
      bindings,
    );
    check(
      found,
      arrays.map(({ values }) => values),
      1e-9,
    );
  });

  it.each(cases)("$name on the device", { timeout: 400_000 }, async ({ oracle }) => {
    const found = comparisons(oracle, load);
    await evaluate(found.map(({ actual }) => actual));
    const values = await Promise.all(found.map(({ actual }) => actual.data()));
    check(found, values, 2e-5);
  });

  it.each(cases)("$name chooses hyperparameters", { timeout: 400_000 }, async ({ oracle }) => {
    await init();
    const batch = { inputs: loadInputs(oracle.inputs), targets: load(oracle.targets) };
    for (const [structure, { trace }] of Object.entries(oracle.hyperparameterSteps)) {
      const posterior = laplace(problemOf(oracle), loadAll(oracle.params), batch, optionsOf(structure, oracle));
      const [, , firstNoise] = trace[0] as readonly number[];
      const start = {
        logPriorPrecision: scalar((trace[0] as readonly number[])[1] as number),
        ...(oracle.sigmaNoise !== null && { logNoise: scalar(firstNoise as number) }),
      };
      const { logEvidence } = await selectHyperparameters(posterior, start, { steps: trace.length });
      const expected = trace.map(([value]) => value as number);
      const errors = logEvidence.map((value, step) => Math.abs(value / (expected[step] as number) - 1));
      expect(Math.max(...errors), structure).toBeLessThan(2e-5);
    }
  });

  it.each(cases)("$name has MacKay's fixed point", async ({ oracle }) => {
    const { fixedPoint, prior } = oracle.effectiveParameters;
    const { load: exactly, bindings } = exactLoader();
    const params = loadAll(oracle.params, exactly);
    const batch = { inputs: loadInputs(oracle.inputs, exactly), targets: exactly(oracle.targets) };
    const posterior = laplace(problemOf(oracle), params, batch, { structure: "full" });
    const squares = Object.values(oracle.params).reduce((sum, { data }) => sum + norm(data) ** 2, 0);
    const noise = oracle.sigmaNoise;
    let alpha = prior;
    for (const [gamma, next] of fixedPoint.trace) {
      const hyperparameters = {
        logPriorPrecision: exactly({ shape: [], data: [Math.log(alpha)] }),
        ...(noise !== null && { logNoise: exactly({ shape: [], data: [Math.log(noise)] }) }),
      };
      const [found] = evaluateReference([posterior.effectiveParameters(hyperparameters)], bindings);
      const own = found?.values[0] as number;
      expect(own).toBeCloseTo(gamma, 8);
      alpha = own / squares;
      expect(alpha).toBeCloseTo(next, 8);
    }
  });
});
