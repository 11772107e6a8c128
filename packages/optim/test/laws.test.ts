import { grad } from "@thalweg/autograd";
import {
  compile,
  init,
  key,
  normal,
  Tensor,
  tensor,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeUnflatten,
} from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { applyUpdates, evalParams, type GradientTransformation, type OptimizerState, optimizers } from "../src/index";

beforeAll(async () => {
  await init();
});

interface Params {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly scale: Tensor;
}

interface State {
  readonly params: Params;
  readonly optimizer: OptimizerState;
}

const initial = (): Params => ({
  weight: tensor([
    [1, -2, 0.5],
    [3, 0.25, -1],
  ]),
  bias: tensor([0.5, -0.5, 2]),
  scale: tensor(1.5),
});

/** A bowl with its minimum at 0, steeper in some directions than in others. */
const bowl = ({ weight, bias, scale }: Params): Tensor =>
  weight
    .square()
    .mul(
      tensor([
        [1, 2, 3],
        [0.5, 1, 2],
      ]),
    )
    .sum()
    .add(bias.square().sum())
    .add(scale.square().mul(2));

const training = (optimizer: GradientTransformation) =>
  compile(
    (state: State): State => {
      const [updates, next] = optimizer.update(grad(bowl)(state.params), state.optimizer, state.params);
      return { params: applyUpdates(state.params, updates), optimizer: next };
    },
    { donate: [0] },
  );

const begin = (optimizer: GradientTransformation): State => {
  const params = initial();
  return { params, optimizer: optimizer.init(params) };
};

const numbers = (tree: unknown) =>
  Promise.all(treeLeaves<Tensor>(tree).map(async (leaf) => Array.from(await leaf.data())));

const records = Object.values(optimizers);

describe.each(records)("$name", (record) => {
  it("is listed under its name, with paper, year and described hyperparameters", () => {
    expect(optimizers[record.name]).toBe(record);
    expect(record.source).not.toBe("");
    expect(record.year).toBeGreaterThan(1900);
    expect(Object.values(record.hyperparameters).map(({ description }) => description)).not.toContain("");
  });

  it("accepts its own defaults and choices", () => {
    for (const [name, spec] of Object.entries(record.hyperparameters)) {
      const values = spec.type === "choice" ? spec.choices : spec.type === "boolean" ? [true, false] : [spec.default];
      for (const value of values) expect(() => record.create({ [name]: value })).not.toThrow();
    }
  });

  it("has state that is a tree of tensors of the announced size, and keeps its structure", () => {
    const params = initial();
    const optimizer = record.create();
    const state = optimizer.init(params);
    const [, next] = optimizer.update(grad(bowl)(params), state, params);
    const describeState = (tree: OptimizerState) => {
      const { leaves, structure } = treeFlatten<Tensor>(tree);
      expect(leaves.every((leaf) => leaf instanceof Tensor)).toBe(true);
      return { structure, leaves: leaves.map(({ shape, dtype }) => [shape, dtype]) };
    };
    expect(describeState(next)).toEqual(describeState(state));
    const sizes = (tree: unknown) => treeLeaves<Tensor>(tree).reduce((sum, leaf) => sum + leaf.size, 0);
    expect(sizes(state.buffers) / sizes(params)).toBe(record.buffers());
  });

  it("goes down a bowl", async () => {
    const optimizer = record.create({ learningRate: 0.05 });
    const step = training(optimizer);
    let state = begin(optimizer);
    const before = await bowl(state.params).item();
    for (let i = 0; i < 150; i++) state = step(state);
    const after = await bowl(evalParams(optimizer, state.optimizer, state.params)).item();
    expect(after).toBeLessThan(before / 100);
    expect(await state.optimizer.step.item()).toBe(150);
  });

  it("goes on bit for bit from a saved state", async () => {
    const optimizer = record.create({ learningRate: 0.05, weightDecay: 0.1 });
    const step = training(optimizer);
    let state = begin(optimizer);
    for (let i = 0; i < 7; i++) state = step(state);
    const { leaves, structure } = treeFlatten<Tensor>(state);
    const saved = await Promise.all(
      leaves.map(async ({ shape, dtype }, index) => ({ shape, dtype, data: await (leaves[index] as Tensor).data() })),
    );
    for (let i = 7; i < 20; i++) state = step(state);
    const restored = saved.map(({ data, shape, dtype }) => tensor(data, { shape, dtype }));
    let resumed = treeUnflatten(structure, restored) as State;
    const other = training(optimizer);
    for (let i = 7; i < 20; i++) resumed = other(resumed);
    expect(await numbers(resumed)).toEqual(await numbers(state));
  });

  it("leaves parameters without gradient where they are", async () => {
    const params = initial();
    const optimizer = record.create({ weightDecay: 0 });
    const zeros = treeMap((x: Tensor) => x.zerosLike(), params) as Params;
    let state = optimizer.init(params);
    let point = params;
    for (let i = 0; i < 3; i++) {
      const [updates, next] = optimizer.update(zeros, state, point);
      point = applyUpdates(point, updates);
      state = next;
    }
    expect(await numbers(point)).toEqual(await numbers(params));
  });

  it("updates each tensor alike, whatever stands beside it", async () => {
    const optimizer = record.create();
    const x = normal(key(1), [6]);
    const g = normal(key(2), [6]);
    const update = (gradients: Tensor[], params: Tensor[]) =>
      optimizer.update(gradients, optimizer.init(params), params)[0];
    const whole = await numbers(update([g], [x]));
    const halves = [x.slice([0], [2]), x.slice([2])];
    const parts = await numbers(update([g.slice([0], [2]), g.slice([2])], halves));
    expect(parts.flat()).toEqual(whole.flat());
  });
});
