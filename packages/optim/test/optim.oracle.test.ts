import { type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference, expectClose } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import * as optim from "../src/index";
import { adam, adamw, applyUpdates, type GradientTransformation, momentum, nesterov, rmsprop, sgd } from "../src/index";
import { entryOf, type OracleTree, readProblems, tensorsOf, valuesOf } from "./oracle-data";
import { runOnDevice, runReference, type Step } from "./runners";

interface TrajectoryCase {
  readonly id: string;
  readonly optimizer: string;
  readonly options: Options;
  readonly problem: string;
  readonly steps: number;
  readonly atSteps: readonly number[];
  readonly expected: { readonly params: readonly OracleTree[] };
  readonly float32Deviation: readonly number[];
}

type Params = Record<string, Tensor>;

/** Options under the names of the files. */
interface Options {
  readonly lr: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  readonly decoupled: boolean;
  readonly decay: number;
  readonly eps: number;
  readonly epsInSqrt: boolean;
  readonly centered: boolean;
  readonly initialAccumulator: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsRoot: number;
  readonly epsilonHat: boolean;
  readonly noDecay: readonly string[];
  readonly schedule?: {
    readonly name: "cosine";
    readonly warmupSteps: number;
    readonly totalSteps: number;
    readonly end: number;
  };
}

/** The families of this package; files of other families wait for theirs. */
const families = ["sgd", "momentum", "rmsprop", "adam", "adamw"];

function makeOptimizer(optimizer: string, options: Options): GradientTransformation {
  const { lr, eps, weightDecay, decoupled, noDecay = [], schedule, epsInSqrt, epsRoot, ...same } = options;
  const { name, ...shape } = schedule ?? { name: undefined };
  const shared = {
    learningRate: name === undefined ? lr : optim.cosine({ peak: lr, ...(shape as { totalSteps: number }) }),
    weightDecay,
    decayMask: ({ path }: optim.ParameterInfo) => !noDecay.includes(String(path[0])),
  };
  switch (optimizer) {
    case "sgd": {
      const own = { ...shared, decoupled };
      if (options.momentum === 0) return sgd(own);
      if (options.nesterov) return nesterov({ ...own, momentum: same.momentum });
      return momentum({ ...own, momentum: same.momentum, dampening: same.dampening });
    }
    case "rmsprop": {
      const { decay, centered, initialAccumulator } = same;
      const rest = { decay, centered, initialAccumulator, momentum: same.momentum };
      return rmsprop({ ...shared, ...rest, epsilon: eps, epsilonInRoot: epsInSqrt });
    }
    default: {
      const { beta1, beta2, epsilonHat } = same;
      const make = decoupled ? adamw : adam;
      return make({ ...shared, beta1, beta2, epsilon: eps, epsilonRoot: epsRoot, epsilonHat });
    }
  }
}

const why = whyNoOracles("optim");
const problems = readProblems(readOracles("optim", (format) => format === "thalweg-optim-problems-1"));
const cases = readOracles("optim", (format) => format === "thalweg-optim-1")
  .filter(({ name }) => families.includes(name.replace(".json", "")))
  .flatMap(({ name, content }) =>
    (content.cases as TrajectoryCase[]).map((own) => ({ ...own, id: `${name}: ${own.id}` })),
  );

describe.skipIf(why !== undefined)(why ?? "oracles: optim", () => {
  it("there are trajectories of every family", () => {
    expect(new Set(cases.map(({ id }) => id.split(".")[0]))).toEqual(new Set(families));
  });

  describe.each(cases)("$id", (example) => {
    it("in float64", () => {
      const { step, optimizer, params, inputs } = setUp(example);
      const trace = runReference(optimizer, step, params, inputs);
      // The files hold 12 digits; differences of the rules' order of operations grow on the way.
      compare(example, trace.params, () => 1e-9);
    });

    it("on the device", async () => {
      const { step, optimizer, params, inputs } = setUp(example);
      const trace = await runOnDevice(optimizer, step, params, inputs);
      compare(example, trace.params, (index) => 1e-5 + 20 * (example.float32Deviation[index] as number));
    });
  });
});

function setUp({ optimizer: name, options, problem: problemName, steps }: TrajectoryCase) {
  const problem = entryOf(problems, problemName);
  const optimizer = makeOptimizer(name, options);
  const step: Step<Params, Params, null> = (state, inputs) => {
    const gradients = problem.gradient(state.params, inputs) as Params;
    const [updates, next] = optimizer.update(gradients, state.optimizer, state.params);
    return [{ params: applyUpdates(state.params, updates), optimizer: next }, null];
  };
  const inputs = Array.from({ length: steps }, (_, index) => tensorsOf(problem.inputs(index)));
  return { step, optimizer, params: tensorsOf(problem.params), inputs };
}

/** Deviations count relative to the largest element of each tensor; where rounding is amplified nothing is compared. */
function compare(
  { atSteps, expected, problem }: TrajectoryCase,
  params: readonly (readonly ArrayLike<number>[])[],
  allowed: (index: number) => number,
): void {
  const names = Object.keys(entryOf(problems, problem).params);
  for (const [index, step] of atSteps.entries()) {
    const relative = allowed(index);
    if (relative > 0.05) continue;
    for (const [position, name] of names.entries()) {
      const values = valuesOf((expected.params[index] as OracleTree)[name] ?? Number.NaN);
      const scale = Math.max(...values.map(Math.abs));
      const actual = params[step - 1]?.[position] as ArrayLike<number>;
      expectClose(actual, values, { relative: 0, absolute: relative * scale }, `${name} after step ${step}`);
    }
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
