import { type CurvatureProblem, crossEntropy, kroneckerCurvature } from "@thalweg/curvature";
import {
  compile,
  fromSafetensors,
  init,
  key,
  normal,
  type Tensor,
  tensor,
  toSafetensors,
  treeLeaves,
} from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  applyUpdates,
  type GradientTransformation,
  type KfacOptions,
  kfac,
  type OptimizerState,
  quantities,
  type Refresh,
  singd,
} from "../src/index";
import { numbers } from "./training";

type Params = Readonly<Record<string, Tensor>>;

beforeAll(async () => void (await init()));

const problem: CurvatureProblem<Params> = {
  loss: crossEntropy,
  model: (p, x) =>
    x
      .dot(p.w1 as Tensor)
      .add(p.b1 as Tensor)
      .tanh()
      .dot(p.w2 as Tensor)
      .add(p.b2 as Tensor),
};
const start = (): Params => ({
  w1: normal(key(1), [6, 8]).mul(0.4),
  b1: tensor(new Float32Array(8)),
  w2: normal(key(2), [8, 3]).mul(0.4),
  b2: tensor(new Float32Array(3)),
});
const inputs = normal(key(3), [24, 6]);
const targets = tensor(Int32Array.from({ length: 24 }, (_, index) => (index * 7) % 3));
const batch = { inputs, targets };
const curvature = kroneckerCurvature(problem, start(), batch, { flavour: "expand" });
const { blocks } = curvature;

type State = { readonly params: Params; readonly own: OptimizerState };

/** Training with one program for each kind of step. */
function training(optimizer: GradientTransformation) {
  const program = compile((state: State, x: Tensor, refresh: Refresh) => {
    const evaluation = curvature.evaluate(state.params, { inputs: x, targets });
    const extra = { kronecker: () => evaluation, refresh };
    const [updates, next] = optimizer.update(evaluation.gradients, state.own, state.params, extra);
    return [{ params: applyUpdates(state.params, updates), own: next }, evaluation.loss] as const;
  });
  const run = (state: State, from: number, to: number, x = inputs): readonly [State, readonly Tensor[]] => {
    let own = state;
    const losses: Tensor[] = [];
    for (let step = from; step < to; step++) {
      const [next, loss] = program(own, x, optimizer.refreshesAt(step));
      own = next;
      losses.push(loss);
    }
    return [own, losses];
  };
  return { program, run, begin: (): State => ({ params: start(), own: optimizer.init(start()) }) };
}

const optimizers: Readonly<Record<string, () => GradientTransformation>> = {
  "K-FAC": () => kfac({ blocks, learningRate: 0.1, damping: 0.01 }),
  "K-FAC with exact damping": () => kfac({ blocks, learningRate: 0.1, damping: 0.01, rule: "exactKronecker" }),
  EKFAC: () => kfac({ blocks, learningRate: 0.1, damping: 0.01, rule: "eigenvalueCorrected", factorInterval: 2 }),
  "K-FAC, grafted, Nesterov, decoupled decay": () =>
    kfac({ blocks, learningRate: 0.1, damping: 0.01, graft: "gradient", nesterov: true, weightDecay: 0.01 }),
  INGD: () => singd({ blocks, learningRate: 0.1, damping: 0.01, interval: 2 }),
  "SINGD, block diagonal": () =>
    singd({ blocks, learningRate: 0.1, structure: "blockDiagonal", blockSize: 4, interval: 2 }),
};

describe.each(Object.keys(optimizers))("%s", (name) => {
  const make = optimizers[name] as () => GradientTransformation;

  it("lowers the loss, and a run from a checkpoint goes on bit by bit", { timeout: 120_000 }, async () => {
    const { run, begin } = training(make());
    const [half, losses] = run(begin(), 0, 12);
    const [first, last] = [await (losses[0] as Tensor).item(), await (losses.at(-1) as Tensor).item()];
    expect(last).toBeLessThan(first);
    const restored = fromSafetensors(await toSafetensors(half), half);
    const [straight] = run(half, 12, 20);
    const [resumed] = run(restored, 12, 20);
    expect(await numbers(resumed)).toEqual(await numbers(straight));
  });
});

describe("steps of K-FAC", () => {
  it("measure, invert and do neither in three programs; most of them do neither", async () => {
    const optimizer = kfac({ blocks, learningRate: 0.1, factorInterval: 2, inverseInterval: 4 });
    expect(Array.from({ length: 6 }, (_, step) => optimizer.refreshesAt(step))).toEqual([
      true,
      false,
      "statistics",
      false,
      true,
      false,
    ]);
    const { program, begin, run } = training(optimizer);
    const [state] = run(begin(), 0, 3);
    const count = (refresh: Refresh): number => {
      const [next] = program(state, inputs, refresh);
      treeLeaves<Tensor>(next);
      return program.statistics().dispatches;
    };
    const [plain, measuring, inverting] = [count(false), count("statistics"), count(true)] as const;
    expect(plain).toBeLessThan(measuring);
    expect(measuring).toBeLessThan(inverting);
    expect(count(false)).toBe(plain);
  });

  it("leave out batches that are not finite, and say how many", { timeout: 120_000 }, async () => {
    const optimizer = kfac({ blocks, learningRate: 0.1, inverseInterval: 1 });
    const { run, begin } = training(optimizer);
    const [good] = run(begin(), 0, 2);
    const [bad] = run(good, 2, 3, inputs.mul(Number.NaN));
    expect(await numbers((bad.own.buffers as { factors: unknown }).factors)).toEqual(
      await numbers((good.own.buffers as { factors: unknown }).factors),
    );
    expect(await (quantities(optimizer, bad.own).skipped as Tensor).item()).toBe(1);
  });

  it("stay finite for 100 steps with rank-deficient factors and next to no damping", { timeout: 120_000 }, async () => {
    const optimizer = kfac({ blocks, learningRate: 0.01, damping: 1e-12, inverseInterval: 10 });
    const { run, begin } = training(optimizer);
    // One input, over and over: A has rank one.
    const [state] = run(begin(), 0, 100, inputs.slice([0, 0], [1, 6]).expand([24, 6]).add(0));
    expect((await numbers(state.params)).flat().every(Number.isFinite)).toBe(true);
  });

  it("refuse what does not fit", () => {
    const bad = (options: Partial<KfacOptions>) => () => kfac({ blocks, learningRate: 0.1, ...options });
    expect(bad({ factorInterval: 3, inverseInterval: 10 })).toThrow(/no multiple/);
    expect(bad({ damping: 0 })).toThrow(/damping/);
    expect(bad({ rule: "heuristic" as "heuristicPi" })).toThrow();
    const optimizer = kfac({ blocks, learningRate: 0.1 });
    expect(() => optimizer.update(start(), optimizer.init(start()), start())).toThrow(/kfac needs the kronecker/);
  });
});
