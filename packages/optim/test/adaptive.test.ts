import { init, key, normal, type Tensor, tensor, treeMap } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import {
  adafactor,
  adam,
  addNoise,
  applyUpdates,
  chain,
  type GradientTransformation,
  lion,
  mapTensors,
  muon,
  nadam,
  type OptimizerState,
  project,
  radam,
  scaleByLearningRate,
  sgd,
  signum,
  zeroNans,
} from "../src/index";
import { numbers } from "./training";

beforeAll(async () => {
  await init({ notice: () => {} });
});

const params = () => ({ matrix: normal(key(1), [6, 4]), vector: normal(key(2), [5]) });

/** The updates of a few steps with given gradients, times a factor. */
async function updatesOf(optimizer: GradientTransformation, factor: number): Promise<number[]> {
  let point = params();
  let state = optimizer.init(point);
  const all: number[] = [];
  for (let step = 0; step < 4; step++) {
    const gradients = mapTensors((x) => normal(key(10 + step), x.shape).mul(factor), point) as typeof point;
    const [updates, next] = optimizer.update(gradients, state, point);
    all.push(...(await numbers(updates)).flat());
    [point, state] = [applyUpdates(point, updates), next];
  }
  return all;
}

describe("gradients that are 1024 times as large", () => {
  it.each<readonly [string, GradientTransformation]>([
    ["adam", adam({ epsilon: 0 })],
    ["nadam", nadam({ epsilon: 0 })],
    ["radam", radam({ epsilon: 0 })],
    ["lion", lion()],
    ["signum", signum()],
    ["adafactor", adafactor({ epsilon: 0 })],
    ["muon", muon({ restEpsilon: 0 })],
  ])("make no other updates of %s", async (name, optimizer) => {
    const [once, scaled] = [await updatesOf(optimizer, 1), await updatesOf(optimizer, 1024)];
    // RAdam begins with the first moment alone, which is linear.
    if (name === "radam") return expect(scaled[0]).toBeCloseTo((once[0] as number) * 1024, 3);
    scaled.forEach((value, index) => {
      expect(Math.abs(value - (once[index] as number))).toBeLessThan(2e-6 * Math.max(...once.map(Math.abs)));
    });
  });

  it("make updates of SGD that are as much larger", async () => {
    const [once, scaled] = [await updatesOf(sgd(), 1), await updatesOf(sgd(), 1024)];
    expect(scaled).toEqual(once.map((value) => value * 1024));
  });
});

describe("the step counter", () => {
  it("is exact past 2^24, and bias corrections are finite there", async () => {
    const optimizer = adam();
    const point = { x: tensor([1, -2, 3]) };
    const late = 2 ** 24 + 1;
    let state: OptimizerState = { ...optimizer.init(point), step: tensor(Uint32Array.of(late), { shape: [] }) };
    for (let step = 0; step < 3; step++) {
      const [updates, next] = optimizer.update(point, state, point);
      expect((await numbers(updates)).flat().every(Number.isFinite)).toBe(true);
      state = next;
    }
    expect(await state.step.item()).toBe(late + 3);
  });
});

describe("links", () => {
  it("add noise that depends on seed and step alone, and fades", async () => {
    const optimizer = addNoise({ eta: 0.01, gamma: 1, seed: 3 });
    const zeros = { x: tensor(new Float32Array(20_000)) };
    const at = async (step: number, transformation = optimizer) => {
      const state = { ...transformation.init(zeros), step: tensor(Uint32Array.of(step), { shape: [] }) };
      return (await numbers(transformation.update(zeros, state, zeros)[0])).flat();
    };
    const deviation = (values: readonly number[]) =>
      Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    const first = await at(0);
    expect(await at(0)).toEqual(first);
    expect(await at(0, addNoise({ eta: 0.01, gamma: 1, seed: 4 }))).not.toEqual(first);
    // The deviation of a sample of n is off by 1 / √(2n): 0.5 %.
    expect(deviation(first)).toBeCloseTo(0.1, 2);
    expect(deviation(await at(99))).toBeCloseTo(0.01, 3);
  });

  it("replace NaN, and leave infinity", async () => {
    const x = { x: tensor([1, Number.NaN, Number.POSITIVE_INFINITY]) };
    const [updates] = zeroNans().update(x, zeroNans().init(x), x);
    expect((await numbers(updates)).flat()).toEqual([1, 0, Number.POSITIVE_INFINITY]);
  });

  it("keep parameters in a box", async () => {
    const optimizer = chain(scaleByLearningRate(1), project({ min: 0, max: 2 }));
    const point = { x: tensor([1, 1, 1, 0]) };
    const gradients = { x: tensor([2, -3, 0.5, 1]) };
    const [updates] = optimizer.update(gradients, optimizer.init(point), point);
    expect((await numbers(applyUpdates(point, updates))).flat()).toEqual([0, 2, 0.5, 0]);
    expect(() => project({})).toThrow("there is no limit. Give min, max or both.");
    expect(() => project({ min: 1, max: 0 })).toThrow("min 1 is above max 0");
  });

  it("refuse decay behind the rate", () => {
    const decay = (name: string): GradientTransformation => ({ ...sgd(), rule: { ...sgd().rule, name } });
    expect(() => chain(scaleByLearningRate(0.1), decay("addDecayedWeights"))).toThrow("Put the learning rate last.");
  });

  it("permuted tensors get the same bits", async () => {
    const { matrix, vector } = params();
    const optimizer = adam();
    const update = (tree: Record<string, Tensor>) =>
      optimizer.update(treeMap((x: Tensor) => x.mul(0.5), tree) as typeof tree, optimizer.init(tree), tree)[0];
    const [a, b] = [update({ matrix, vector }), update({ vector, matrix })];
    expect(await numbers([a.matrix, a.vector])).toEqual(await numbers([b.matrix, b.vector]));
  });
});
