import { compile, defaultDevice, fromSafetensors, init, type Tensor, toSafetensors } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type BlockReport,
  blockReport,
  ekfac,
  type GradientTransformation,
  kfac,
  quantities,
  type Refresh,
} from "../src/index";
import { curvature, type Setting, type State, stepOf, usualBatch } from "./kfac-setting";
import { numbers } from "./training";

beforeAll(async () => void (await init()));

/** Training on the device, with one program for each kind of step. */
function training(optimizer: GradientTransformation, setting: Setting = {}) {
  const { step, examples, begin } = stepOf(optimizer, setting);
  const program = compile(step);
  const run = (state: State, from: number, to: number, x = examples): readonly [State, readonly Tensor[]] => {
    let current = state;
    const losses: Tensor[] = [];
    for (let index = from; index < to; index++) {
      const [next, loss] = program(current, x, optimizer.refreshesAt(index));
      current = next;
      losses.push(loss);
    }
    return [current, losses];
  };
  return { program, run, begin };
}

const allFinite = async (tree: unknown): Promise<boolean> => (await numbers(tree)).flat().every(Number.isFinite);

describe("runs on the device", () => {
  const adaptive = () =>
    kfac({
      adaptiveSteps: true,
      adaptiveDamping: true,
      rest: "adamw",
      inverseInterval: 5,
      stagger: 2,
      factorExamples: 12,
    });

  it("go on bit by bit from a checkpoint, with all that adapts", { timeout: 120_000 }, async () => {
    const optimizer = adaptive();
    const { run, begin } = training(optimizer);
    const [half, losses] = run(begin(), 0, 8);
    expect(await (losses.at(-1) as Tensor).item()).toBeLessThan(await (losses[0] as Tensor).item());
    const restored = fromSafetensors(await toSafetensors(half), half);
    const [straight] = run(half, 8, 12);
    const [resumed] = run(restored, 8, 12);
    expect(await numbers(resumed)).toEqual(await numbers(straight));
    const [first, second, ...others] = await blockReport(optimizer, straight.own, curvature.blocks);
    expect(others).toEqual([]);
    expect(first).toMatchObject({
      name: "w1",
      kind: "kronecker",
      shape: [1, 8, 7],
      positions: 1,
      flavour: "reduce",
      refreshed: 10,
      recoveries: 0,
      clipped: 0,
      remarks: [],
    });
    expect(second).toMatchObject({ name: "w2", shape: [1, 3, 9], refreshed: 7 });
    for (const { damping, pi, condition } of [first, second] as BlockReport[]) {
      expect(damping).toBeGreaterThan(0);
      expect(pi).toBeGreaterThan(0);
      expect(condition).toBeGreaterThan(1);
    }
  });

  it("go on bit by bit across steps that are rejected", { timeout: 120_000 }, async () => {
    const optimizer = ekfac({ learningRate: 20, clip: 0, adaptiveDamping: true, rejectSteps: true });
    const { run, begin } = training(optimizer);
    const [half] = run(begin(), 0, 7);
    const restored = fromSafetensors(await toSafetensors(half), half);
    const [straight, losses] = run(half, 7, 24);
    const [resumed] = run(restored, 7, 24);
    expect(await numbers(resumed)).toEqual(await numbers(straight));
    const counts = [half, straight].map(({ own }) => quantities(optimizer, own).rejected as Tensor);
    const [before, after] = (await numbers(counts)).flat() as [number, number];
    expect(before).toBeGreaterThan(0);
    expect(after).toBeGreaterThan(before);
    expect(await (losses.at(-1) as Tensor).item()).toBeLessThan(await (losses[0] as Tensor).item());
  });

  it("create nothing once their programs are there, and submit once a step", { timeout: 120_000 }, async () => {
    const optimizer = kfac({ learningRate: 0.1, factorInterval: 2, inverseInterval: 4, stagger: 2 });
    const { run, begin } = training(optimizer);
    const [warm] = run(begin(), 0, 8);
    await numbers(warm);
    const device = defaultDevice();
    const before = device?.counters.snapshot();
    const [after] = run(warm, 8, 16);
    expect(before && device?.counters.since(before)).toMatchObject({ submits: 8, pipelinesCreated: 0, readbacks: 0 });
    expect(await allFinite(after.params)).toBe(true);
  });

  it("have a constant number of dispatches in steps that measure nothing, fewer than in others", async () => {
    const optimizer = kfac({ learningRate: 0.1, factorInterval: 2, inverseInterval: 4, stagger: 2 });
    const { program, begin } = training(optimizer);
    const state = begin();
    const count = async (refresh: Refresh): Promise<number> => {
      await program.prepare(state, usualBatch().inputs, refresh);
      return program.statistics().dispatches;
    };
    const plain = await count(false);
    const measuring = await count("only factors");
    const [first, second] = [await count("only factors, inverses 1"), await count("only factors, inverses 2")];
    const whole = await count(true);
    expect(plain).toBeLessThan(measuring);
    expect(measuring).toBeLessThan(Math.min(first, second));
    expect(Math.max(first, second)).toBeLessThan(whole);
    expect(await count(false)).toBe(plain);
    expect(new Set(Array.from({ length: 40 }, (_, step) => optimizer.refreshesAt(step))).size).toBe(4);
  });

  it.each(["heuristicPi", "eigenvalueCorrected"] as const)(
    "stay finite for 100 steps with rank-deficient factors and a damping of 1e-12: %s",
    { timeout: 120_000 },
    async (rule) => {
      const shared = { learningRate: 0.01, damping: 1e-12, inverseInterval: 10, stagger: 1 };
      const optimizer = rule === "eigenvalueCorrected" ? ekfac(shared) : kfac({ ...shared, rule });
      const { run, begin } = training(optimizer);
      // One input, over and over: A has rank one.
      const [state] = run(begin(), 0, 100, usualBatch().inputs.slice([0, 0], [1, 6]).expand([24, 6]).add(0));
      expect(await allFinite(state)).toBe(true);
    },
  );
});
