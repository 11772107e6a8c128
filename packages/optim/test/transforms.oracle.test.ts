import type { Tensor } from "@thalweg/tensor";
import { expectClose } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import * as optim from "../src/index";
import { applyUpdates, evalParams, type GradientTransformation } from "../src/index";
import { type OracleTree, tensorsOf, valuesOf } from "./oracle-data";
import { runOnDevice, runReference, type Step, type Trace } from "./runners";

interface TransformCase {
  readonly id: string;
  readonly options: Readonly<Record<string, number>>;
  readonly gradients?: OracleTree;
  readonly gradientSequence?: readonly OracleTree[];
  readonly sequence?: readonly OracleTree[];
  readonly params?: OracleTree;
  readonly expected: Readonly<Record<string, OracleTree | readonly OracleTree[]>>;
}

type Params = Record<string, Tensor>;

/** One way to run a case: the transformation, what it gets, and what its results are compared with. */
interface Run {
  readonly transformation: GradientTransformation;
  /** Gradients of one step after the other. */
  readonly gradients: readonly OracleTree[];
  readonly params: OracleTree;
  /** Expected after each step; null for zeros. */
  readonly expected: readonly (OracleTree | null | "unknown")[];
  /** Default: updates. With `"evalParams"` the gradients are the parameters that training went through. */
  readonly compared?: "updates" | "evalParams";
}

/** The cases whose transformation is in this package. */
const runs: Readonly<Record<string, (example: TransformCase) => readonly Run[]>> = {
  "clip-global-norm-active": ({ options: { maxNorm = 0 }, ...rest }) => [
    once(optim.clipByGlobalNorm({ maxNorm }), rest),
  ],
  "clip-global-norm-inactive": ({ options: { maxNorm = 0 }, ...rest }) => [
    once(optim.clipByGlobalNorm({ maxNorm }), rest),
  ],
  "clip-global-norm-algoperf": ({ options: { maxNorm = 0, eps }, ...rest }) => [
    once(optim.clipByGlobalNorm({ maxNorm, ...(eps !== undefined && { epsilon: eps }) }), rest),
  ],
  "clip-value": ({ options: { maxValue = 0 }, ...rest }) => [once(optim.clipByValue({ maxValue }), rest)],
  "clip-per-tensor-norm": ({ options: { maxNorm = 0 }, ...rest }) => [once(optim.clipByNorm({ maxNorm }), rest)],
  "clip-block-rms": ({ options: { threshold = 0 }, ...rest }) => [once(optim.clipByBlockRms({ threshold }), rest)],
  "adaptive-clip": ({ options: { clipping = 0, eps = 0 }, ...rest }) => [
    once(optim.adaptiveClip({ clipping, epsilon: eps, unitAxis: "first" }), rest),
  ],
  centralize: (example) => [once(optim.centralize({ unitAxis: "first" }), example)],
  normalize: (example) => [once(optim.normalize(), example)],
  "decay-masked": ({ options: { weightDecay = 0 }, ...rest }) => [
    once(optim.addDecayedWeights({ weightDecay }), rest),
    once(optim.masked(optim.addDecayedWeights({ weightDecay, decayMask: "all" }), isMatrix), rest),
  ],
  accumulate: ({ options: { every = 0 }, gradientSequence = [], expected }) => {
    const updates = expected.updates as readonly OracleTree[];
    const after = (step: number) => ((step + 1) % every === 0 ? (updates[(step + 1) / every - 1] as OracleTree) : null);
    const known = gradientSequence.map((_, step) => after(step));
    const transformation = optim.accumulate(optim.scale(1), { every });
    return [
      { transformation, gradients: gradientSequence, params: gradientSequence[0] as OracleTree, expected: known },
    ];
  },
  swa: ({ options: { start = 0, every = 0 }, ...rest }) => [points(optim.swa({ start, every }), rest)],
  lawa: ({ options: { length = 0 }, ...rest }) => [points(optim.lawa({ length }), rest)],
  ema: ({ options: { decay = 0 }, sequence = [], expected }) =>
    (["debiased", "first"] as const).flatMap((start) => {
      const known = expected[start === "first" ? "startedAtFirst" : start] as readonly OracleTree[];
      const shared = { gradients: sequence, params: sequence[0] as OracleTree, expected: known };
      return [
        { ...shared, transformation: optim.ema({ decay, start }) },
        { ...shared, transformation: optim.emaParams({ decay, start }), compared: "evalParams" as const },
      ];
    }),
};

/** An average of points of training, of which the last value is known. */
function points(
  transformation: GradientTransformation,
  { sequence = [], expected }: Pick<TransformCase, "sequence" | "expected">,
): Run {
  const known = sequence.map((_, step) =>
    step === sequence.length - 1 ? (expected.average as OracleTree) : "unknown",
  );
  const params = sequence[0] as OracleTree;
  return { transformation, gradients: sequence, params, expected: known, compared: "evalParams" };
}

const isMatrix = ({ shape }: optim.ParameterInfo) => shape.length >= 2;

function once(
  transformation: GradientTransformation,
  { gradients, params, expected }: Pick<TransformCase, "gradients" | "params" | "expected">,
): Run {
  const own = gradients as OracleTree;
  return { transformation, gradients: [own], params: params ?? own, expected: [expected.updates as OracleTree] };
}

const why = whyNoOracles("optim");
const cases = readOracles("optim", (format) => format === "thalweg-transforms-1")
  .flatMap(({ content }) => content.cases as TransformCase[])
  .filter(({ id }) => Object.hasOwn(runs, id));

describe.skipIf(why !== undefined)(why ?? "oracles: transforms", () => {
  it("there are reference values of every transformation", () => {
    expect(cases.map(({ id }) => id).sort()).toEqual(Object.keys(runs).sort());
  });

  it.each(cases)("$id", async (example) => {
    for (const run of runs[example.id]?.(example) ?? []) {
      const setting = setUp(run);
      compare(run, runReference(run.transformation, ...setting), 1e-10);
      // Norms are sums over at most 42 squares, averages of 6 values.
      compare(run, await runOnDevice(run.transformation, ...setting), 5e-6);
    }
  });
});

function setUp({ transformation, gradients, params, compared }: Run) {
  const isAverage = compared === "evalParams";
  const step: Step<Params, Params, Params> = (state, given) => {
    // Training that goes through given points has updates that lead there.
    const wanted = isAverage ? differences(given, state.params) : given;
    const [updates, optimizer] = transformation.update(wanted, state.optimizer, state.params);
    const next = isAverage ? applyUpdates(state.params, updates) : state.params;
    return [{ params: next, optimizer }, isAverage ? evalParams(transformation, optimizer, next) : updates];
  };
  return [step, tensorsOf(params), gradients.map(tensorsOf)] as const;
}

const differences = (a: Params, b: Params): Params => optim.mapTensors((x, y) => x.sub(y), a, b) as Params;

function compare({ expected, params }: Run, { results }: Trace, relative: number): void {
  const names = Object.keys(params);
  for (const [step, tree] of expected.entries()) {
    if (tree === "unknown") continue;
    for (const [position, name] of names.entries()) {
      const actual = results[step]?.[position] as ArrayLike<number>;
      if (tree === null) {
        expect(Array.from(actual).every((value) => value === 0)).toBe(true);
        continue;
      }
      const values = valuesOf(tree[name] ?? Number.NaN);
      const absolute = relative * Math.max(...values.map(Math.abs), 1);
      expectClose(actual, values, { relative, absolute }, `${name} after step ${step + 1}`);
    }
  }
}
