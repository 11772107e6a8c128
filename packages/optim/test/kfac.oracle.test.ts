import { type FisherKind, type Flavour, kroneckerCurvature } from "@thalweg/curvature";
import { compile, init, type Tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { readOracles, whyNoOracles } from "../../../test/oracles";
import {
  applyUpdates,
  type GradientTransformation,
  kfac,
  type OptimizerState,
  type Refresh,
  singd,
} from "../src/index";
import { type Params, type TraceOracle, traceProblem } from "./kfac-traces";

const files = readOracles("kfac", (format) => format === "thalweg-kfac-trace-1" || format === "thalweg-singd-trace-1");
const why = whyNoOracles("kfac");

function optimizerOf({ format, hyperparameters: h }: TraceOracle): GradientTransformation {
  const number = (name: string): number => (h[name] ?? 0) as number;
  const shared = {
    learningRate: number("learningRate"),
    momentum: number("momentum"),
    damping: number("damping"),
    weightDecay: number("weightDecay"),
    decayMask: "all",
  } as const;
  if (format === "thalweg-singd-trace-1") {
    return singd({
      ...shared,
      preconditionerMomentum: number("alpha1"),
      preconditionerRate: number("lrCov"),
      interval: number("interval"),
      likeKfac: h.kfacLike === true,
    });
  }
  return kfac({
    ...shared,
    rule: h.dampingRule as "heuristicPi",
    decay: number("emaDecay"),
    factorInterval: number("factorInterval"),
    inverseInterval: number("inverseInterval"),
    stagger: 1,
    clip: number("klClip"),
    decoupled: false,
  });
}

/** The losses before every step, and the parameters at the end. */
async function run(oracle: TraceOracle, fisher: FisherKind) {
  const { problem, start, batch } = traceProblem(oracle);
  const flavour = oracle.hyperparameters.flavour as Flavour;
  const curvature = kroneckerCurvature(problem, start, batch, { flavour, fisher });
  const optimizer = optimizerOf(oracle);
  type State = { readonly params: Params; readonly own: OptimizerState };
  const program = compile(({ params, own }: State, refresh: Refresh) => {
    const evaluation = curvature.evaluate(params, batch);
    const extra = { kronecker: evaluation, refresh };
    const [updates, next] = optimizer.update(evaluation.gradients, own, params, extra);
    return [{ params: applyUpdates(params, updates), own: next }, evaluation.loss] as const;
  });
  let state: State = { params: start, own: optimizer.init(start, curvature) };
  const losses: Tensor[] = [];
  for (let step = 0; step < oracle.trace.length; step++) {
    const [next, loss] = program(state, optimizer.refreshesAt(step));
    state = next;
    losses.push(loss);
  }
  const values = await Promise.all(losses.map((loss) => loss.item()));
  return { losses: values, params: state.params };
}

describe.skipIf(why !== undefined)(why ?? "oracles: runs of K-FAC and SINGD", () => {
  beforeAll(async () => void (await init()));

  it("are there", () => expect(files.length).toBeGreaterThan(0));

  it.each(files.map(({ name, content }) => ({ name, oracle: content as unknown as TraceOracle })))(
    "$name",
    { timeout: 120_000 },
    async ({ oracle }) => {
      const { losses, params } = await run(oracle, (oracle.hyperparameters.fisher ?? "empirical") as FisherKind);
      const expected = oracle.trace.map(({ loss }) => loss);
      const errors = losses.map((loss, step) => Math.abs(loss - (expected[step] as number)));
      expect(Math.max(...errors)).toBeLessThan(1e-4);
      for (const [name, stored] of Object.entries(oracle.finalParams)) {
        const actual = await (params[name] as Tensor).data();
        const distance = Math.hypot(...stored.data.map((value, index) => value - (actual[index] as number)));
        expect(distance, name).toBeLessThan(1e-4 * Math.hypot(...stored.data));
      }
    },
  );
});
