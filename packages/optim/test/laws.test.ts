import { grad } from "@thalweg/autograd";
import {
  fromSafetensors,
  init,
  key,
  normal,
  Tensor,
  tensor,
  toSafetensors,
  treeFlatten,
  treeLeaves,
} from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { evalParams, type OptimizerState, optimizers } from "../src/index";
import { begin, extrasOf, knownOptions, numbers, structureOf, training } from "./training";

beforeAll(async () => {
  await init();
});

interface Params {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly scale: Tensor;
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
    // Large, so that scalars count for little.
    const params = { weight: normal(key(1), [64, 48]), bias: normal(key(2), [500]) };
    const loss = ({ weight, bias }: typeof params) => weight.square().sum().add(bias.square().sum());
    const optimizer = record.create();
    const state = optimizer.init(params, structureOf(params));
    const [, next] = optimizer.update(grad(loss)(params), state, params, extrasOf(loss, params));
    const describeState = (tree: OptimizerState) => {
      const { leaves, structure } = treeFlatten<Tensor>(tree);
      expect(leaves.every((leaf) => leaf instanceof Tensor)).toBe(true);
      return { structure, leaves: leaves.map(({ shape, dtype }) => [shape, dtype]) };
    };
    expect(describeState(next)).toEqual(describeState(state));
    const sizes = (tree: unknown) => treeLeaves<Tensor>(tree).reduce((sum, leaf) => sum + leaf.size, 0);
    const measured = sizes(state.buffers) / sizes(params);
    if (record.factors === undefined) expect(measured).toBeCloseTo(record.buffers(), 1);
    else expect(measured).toBeGreaterThanOrEqual(record.buffers());
  });

  it("goes down a bowl", async () => {
    // Sizes of steps mean different things; one of these suits.
    const rates = record.without.includes("learningRate") ? [undefined] : [0.05, 0.5, 5, 50];
    const reached: number[] = [];
    const before = await bowl(initial()).item();
    for (const learningRate of rates) {
      const optimizer = record.create(
        learningRate === undefined ? {} : knownOptions(record, { learningRate, restLearningRate: learningRate }),
      );
      const { run } = training(optimizer, bowl);
      const state = run(begin(optimizer, initial()), 0, 300);
      expect(await state.optimizer.step.item()).toBe(300);
      reached.push(await bowl(evalParams(optimizer, state.optimizer, state.params)).item());
      if (reached.some((after) => after < before / 20)) return;
    }
    expect(Math.min(...reached)).toBeLessThan(before / 20);
  });

  it("goes on bit for bit from a file written at step 7", async () => {
    const options = knownOptions(record, { learningRate: 0.05, weightDecay: 0.1 });
    const optimizer = record.create(options);
    const { run } = training(optimizer, bowl);
    const middle = run(begin(optimizer, initial()), 0, 7);
    const file = await toSafetensors(middle);
    const state = run(middle, 7, 20);
    // A fresh state tells structure, shapes and types; its numbers are of no account.
    const resumed = fromSafetensors(file, begin(record.create(options), initial()));
    expect(await numbers(training(optimizer, bowl).run(resumed, 7, 20))).toEqual(await numbers(state));
  });

  it("leaves parameters without gradient where they are", async () => {
    const optimizer = record.create(knownOptions(record, { weightDecay: 0 }));
    const flat = ({ weight }: Params) => weight.mul(0).sum();
    const all = training(optimizer, flat).run(begin(optimizer, initial()), 0, 4);
    expect(await numbers(all.params)).toEqual(await numbers(initial()));
    // And beside others that have one.
    const partly = training(optimizer, ({ weight, bias, scale }: Params) =>
      weight.square().sum().add(bias.mul(0).sum()).add(scale.mul(0)),
    );
    const { params } = partly.run(begin(optimizer, initial()), 0, 4);
    expect(await numbers([params.bias, params.scale])).toEqual(await numbers([initial().bias, initial().scale]));
    expect((await numbers(params.weight)).flat().every(Number.isFinite)).toBe(true);
  });

  it.runIf(["nothing", "elementwise"].includes(record.cost))(
    "updates each tensor alike, whatever stands beside it",
    async () => {
      const optimizer = record.create();
      const x = normal(key(1), [6]);
      const g = normal(key(2), [6]);
      const update = (gradients: Tensor[], params: Tensor[]) =>
        optimizer.update(gradients, optimizer.init(params), params, {
          ...extrasOf((own: Tensor[]) => (own[0] as Tensor).sum(), params),
          curvatureDiagonal: () => gradients,
        })[0];
      const whole = await numbers(update([g], [x]));
      const halves = [x.slice([0], [2]), x.slice([2])];
      const parts = await numbers(update([g.slice([0], [2]), g.slice([2])], halves));
      expect(parts.flat()).toEqual(whole.flat());
    },
  );
});
