import { type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference, expectClose } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import * as optim from "../src/index";
import { applyUpdates, evalParams, quantities } from "../src/index";
import {
  entryOf,
  lossAndGradient,
  type OracleArray,
  type OracleTree,
  readExtras,
  readProblems,
  tensorsOf,
  valuesOf,
} from "./oracle-data";
import { makeOptimizer, type OracleOptions } from "./oracle-makers";
import { runOnDevice, runReference, type Step, type Trace } from "./runners";

interface TrajectoryCase {
  readonly id: string;
  readonly optimizer: string;
  readonly options: OracleOptions;
  readonly problem: string;
  readonly extras?: string;
  readonly steps: number;
  readonly atSteps: readonly number[];
  readonly expected: {
    readonly params: readonly OracleTree[];
    readonly evalParams?: readonly OracleTree[];
    readonly scalars?: readonly OracleTree[];
    readonly lossBefore?: readonly OracleArray[];
  };
  readonly float32Deviation: readonly number[];
}

type Params = Record<string, Tensor>;

/** The inputs of a step: of the problem, and the curvature diagonal where a case has one. */
interface Inputs {
  readonly problem: Params;
  readonly curvature: Params;
}

/** What is compared besides the parameters, under the names of the files. */
interface Results {
  readonly evalParams: Params;
  readonly scalars: Params;
  readonly lossBefore: Params;
}

const why = whyNoOracles("optim");
const problemFiles = readOracles("optim", (format) => format === "thalweg-optim-problems-1");
const problems = readProblems(problemFiles);
const extras = readExtras(problemFiles);
const cases = readOracles("optim", (format) => format === "thalweg-optim-1").flatMap(({ name, content }) =>
  (content.cases as TrajectoryCase[]).map((own) => ({ ...own, id: `${name}: ${own.id}` })),
);

describe.skipIf(why !== undefined)(why ?? "oracles: optim", () => {
  it("there are trajectories", () => {
    expect(cases).not.toEqual([]);
  });

  describe.each(cases)("$id", (example) => {
    it("in float64", () => {
      const { step, optimizer, params, inputs } = setUp(example);
      const trace = runReference(optimizer, step, params, inputs);
      // The files hold 12 digits; differences of the rules' order of operations grow on the way as those of f32 do.
      const growth = (index: number) => Math.max(1, (example.float32Deviation[index] as number) / 1e-7);
      compare(example, trace, (index) => 1e-9 * growth(index), 0);
    });

    it("on the device", { timeout: 120_000 }, async () => {
      const { step, optimizer, params, inputs } = setUp(example);
      const trace = await runOnDevice(optimizer, step, params, inputs);
      compare(example, trace, (index) => 1e-5 + 20 * (example.float32Deviation[index] as number), 2 ** -22);
    });
  });
});

function setUp({ optimizer: name, options, problem: problemName, extras: extrasName, steps }: TrajectoryCase) {
  const problem = entryOf(problems, problemName);
  const optimizer = makeOptimizer(name, options);
  const curvatures = extrasName === undefined ? [] : entryOf(extras, extrasName);
  const step: Step<Params, Inputs, Results> = (state, inputs, refresh) => {
    const valueAndGrad = (params: optim.TensorTree) => lossAndGradient(problem, params as Params, inputs.problem);
    const [loss, gradients] = valueAndGrad(state.params);
    const [updates, next] = optimizer.update(gradients, state.optimizer, state.params, {
      ...(loss && { loss, valueAndGrad: valueAndGrad as Required<optim.Extra>["valueAndGrad"] }),
      ...(curvatures.length > 0 && { curvatureDiagonal: () => inputs.curvature }),
      refresh,
    });
    const params = applyUpdates(state.params, updates as Params);
    const results: Results = {
      evalParams: evalParams(optimizer, next, params),
      scalars: quantities(optimizer, next),
      lossBefore: (loss ? { loss } : {}) as Params,
    };
    return [{ params, optimizer: next }, results];
  };
  const inputs = Array.from({ length: steps }, (_, index) => ({
    problem: tensorsOf(problem.inputs(index)),
    // Each holds for ten steps, of which only the first uses it.
    curvature: tensorsOf(curvatures[Math.min(Math.floor(index / 10), curvatures.length - 1)] ?? {}),
  }));
  return { step, optimizer, params: tensorsOf(problem.params), inputs };
}

/**
 * Deviations count relative to the largest element of each tensor; where rounding is amplified nothing is compared.
 *
 * @param roundoff Of the parameters, over a few steps. Estimates of a rate begin with distances of a few roundings: with ‖x - x0‖ as it was
 *   before the step, they can be off by the roundoff of x over it, and later ones build on them.
 */
function compare(example: TrajectoryCase, trace: Trace, allowed: (index: number) => number, roundoff: number): void {
  const { atSteps, expected, problem } = example;
  const names = Object.keys(entryOf(problems, problem).params);
  const check = (actual: ArrayLike<number> | undefined, array: OracleArray, relative: number, what: string) => {
    const values = valuesOf(array);
    const scale = Math.max(...values.map(Math.abs));
    expectClose(actual ?? [], values, { relative: 0, absolute: relative * scale }, what);
  };
  let blur = 0;
  for (const [index, step] of atSteps.entries()) {
    const relative = allowed(index);
    if (relative > 0.05) continue;
    const results = new Map(trace.paths.map((path, position) => [path, trace.results[step - 1]?.[position]]));
    for (const [position, name] of names.entries()) {
      const array = expected.params[index]?.[name] ?? Number.NaN;
      check(trace.params[step - 1]?.[position], array, relative, `${name} after step ${step}`);
    }
    for (const [name, array] of Object.entries(expected.evalParams?.[index] ?? {})) {
      check(results.get(`evalParams.${name}`), array, relative, `evalParams ${name} after step ${step}`);
    }
    const { size, distance } = wayTo(example, index - 1);
    if (distance > 0) blur = Math.max(blur, (roundoff * size) / distance);
    for (const [name, array] of Object.entries(expected.scalars?.[index] ?? {})) {
      check(results.get(`scalars.${name}`), array, relative + blur, `${name} after step ${step}`);
    }
    const loss = expected.lossBefore?.[index];
    // The parameters before the step deviate as those of the step compared before it, and the loss twice as much.
    if (loss !== undefined && index > 0)
      check(results.get("lossBefore.loss"), loss, 2 * relative, `loss of step ${step}`);
  }
}

interface ScheduleCase {
  readonly id: string;
  readonly schedule: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly expected: readonly number[];
}

/** The makers of schedules by the names of the files. */
const schedules = {
  constant: optim.constantSchedule,
  step: optim.stepDecay,
  multiStep: optim.multiStep,
  exponential: optim.exponential,
  inverseTime: optim.inverseTime,
  inverseSqrt: optim.inverseSqrt,
  noam: optim.noam,
  cosine: optim.cosine,
  cosineRestarts: optim.cosineRestarts,
  linear: optim.linear,
  polynomial: optim.polynomial,
  warmupConstant: optim.warmupConstant,
  trapezoid: optim.trapezoid,
  oneCycle: optim.oneCycle,
  cyclic: optim.cyclic,
} as unknown as Readonly<Record<string, (options: unknown) => optim.Schedule>>;

const scheduleCases = readOracles("optim", (format) => format === "thalweg-schedules-1").flatMap(
  ({ content }) => content.cases as ScheduleCase[],
);

describe.skipIf(why !== undefined)(why ?? "oracles: schedules", () => {
  it.each(scheduleCases)("$id", async ({ schedule, options, expected }) => {
    const make = entryOf(schedules, schedule);
    const steps = tensor(Uint32Array.from(expected, (_, index) => index));
    const rates = make(options)(steps).expand(steps.shape);
    const [reference] = evaluateReference([rates]);
    const largest = Math.max(...expected);
    expectClose(reference?.values ?? [], expected, { relative: 0, absolute: 1e-11 * largest }, "in float64");
    // A dozen roundings, and powers whose exponents enlarge them.
    expectClose(await rates.data(), expected, { relative: 1e-5, absolute: 1e-7 * largest }, "on the device");
  });
});

/** The norm of the parameters that a case expects there, and their distance from the start, which is 0 before the first. */
function wayTo(
  { problem, expected }: TrajectoryCase,
  index: number,
): { readonly size: number; readonly distance: number } {
  const { params: start } = entryOf(problems, problem);
  const tree = expected.params[index] ?? start;
  const pairs = Object.entries(start).flatMap(([name, array]) => {
    const values = valuesOf(tree[name] ?? array);
    return valuesOf(array).map((origin, place) => [origin, values[place] as number] as const);
  });
  return {
    size: Math.hypot(...pairs.map(([, x]) => x)),
    distance: Math.hypot(...pairs.map(([origin, x]) => x - origin)),
  };
}
