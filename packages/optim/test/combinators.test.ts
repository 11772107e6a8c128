import { ArgumentError, init, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import { numbersOf } from "../src/constant";
import * as optim from "../src/index";
import {
  accumulate,
  adam,
  chain,
  constant,
  mapTensors,
  masked,
  partition,
  scale,
  sgd,
  transformation,
} from "../src/index";

beforeAll(async () => {
  await init();
});

const params = () => ({
  weight: tensor([
    [1, 2],
    [3, 4],
  ]),
  bias: tensor([5, 6]),
});
const gradients = () => ({
  weight: tensor([
    [1, -1],
    [2, -2],
  ]),
  bias: tensor([3, -3]),
});
type Params = ReturnType<typeof params>;

const isMatrix = ({ shape }: optim.ParameterInfo) => shape.length >= 2;
const values = (tree: unknown) => evaluateReference(treeLeaves<Tensor>(tree)).map((own) => Array.from(own.values));

/** Updates of so many steps with the same gradients. */
function run(optimizer: optim.GradientTransformation, steps = 1) {
  let state = optimizer.init(params());
  let updates: Params | undefined;
  for (let i = 0; i < steps; i++) [updates, state] = optimizer.update(gradients(), state, params());
  return { updates: values(updates), state };
}

describe("chain", () => {
  it("applies from left to right", () => {
    expect(run(chain(optim.clipByValue({ maxValue: 1 }), scale(10))).updates).toEqual([
      [10, -10, 10, -10],
      [10, -10],
    ]);
    expect(run(chain(scale(10), optim.clipByValue({ maxValue: 1 }))).updates).toEqual([
      [1, -1, 1, -1],
      [1, -1],
    ]);
  });

  it("keeps hyperparameters of one name apart", () => {
    const twice = chain(scale(2), scale(3));
    expect(run(twice).updates).toEqual([
      [6, -6, 12, -12],
      [18, -18],
    ]);
    expect(twice.rule.constants.map(({ name }) => name)).toEqual(["scale.factor", "scale2.factor"]);
    const state = optim.setHyperparameters(twice, twice.init(params()), { "scale2.factor": 5 });
    expect(values(twice.update(gradients(), state, params())[0])).toEqual([
      [10, -10, 20, -20],
      [30, -30],
    ]);
  });

  it("nests", () => {
    const nested = chain(chain(scale(2), scale(3)), chain(scale(5)));
    expect(run(nested).updates).toEqual([
      [30, -30, 60, -60],
      [90, -90],
    ]);
  });
});

describe("masked and partition", () => {
  it("masked leaves the others alone and keeps no state for them", () => {
    const { updates, state } = run(masked(adam({ learningRate: 1, epsilon: 0 }), isMatrix));
    expect((updates[0] as number[]).map(Math.round)).toEqual([-1, 1, -1, 1]);
    expect(updates[1]).toEqual([3, -3]);
    expect(treeLeaves<Tensor>(state.buffers).map(({ shape }) => shape)).toEqual([
      [2, 2],
      [2, 2],
    ]);
  });

  it("partition gives each parameter its own", () => {
    const label = (parameter: optim.ParameterInfo) => (isMatrix(parameter) ? "matrix" : "vector");
    const both = partition({ vector: scale(2), matrix: sgd({ learningRate: 0.5 }) }, label);
    const { updates } = run(both);
    expect(updates).toEqual([
      [-0.5, 0.5, -1, 1],
      [6, -6],
    ]);
  });

  it("partition of one rule with two masks is masked decay", () => {
    const decay = optim.addDecayedWeights({ weightDecay: 0.5, decayMask: "all" });
    const label = (parameter: optim.ParameterInfo) => (isMatrix(parameter) ? "yes" : "no");
    const parted = partition({ yes: decay, no: scale(1) }, label);
    expect(run(parted).updates).toEqual(run(optim.addDecayedWeights({ weightDecay: 0.5 })).updates);
  });

  it("partition refuses unknown labels", () => {
    const wrong = partition<string>({ matrix: scale(1) }, () => "matricx");
    expect(() => wrong.init(params())).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: Unknown label of weight "matricx". Did you mean "matrix"? Known: matrix.]`,
    );
  });
});

describe("accumulate", () => {
  it("over equal gradients is one step in so many calls", () => {
    const three = run(accumulate(adam(), { every: 3 }), 9);
    const { updates } = run(adam(), 3);
    for (const [index, tensor] of three.updates.entries()) {
      for (const [position, value] of tensor.entries()) expect(value).toBeCloseTo(updates[index]?.[position] ?? 0, 8);
    }
  });
});

describe("schedules", () => {
  const at = (schedule: optim.Schedule, steps: readonly number[]) =>
    steps.map((step) => evaluateReference([schedule(tensor(Uint32Array.of(step), { shape: [] }))])[0]?.values[0]);

  it("piecewiseConstant holds each factor from its boundary on", () => {
    const schedule = optim.piecewiseConstant({ initial: 2, boundaries: [3, 5], factors: [0.5, 0.25] });
    expect(at(schedule, [0, 2, 3, 4, 5, 100])).toEqual([2, 2, 1, 1, 0.5, 0.5]);
  });

  it("join restarts the count at each boundary", () => {
    const ramp = optim.warmupConstant({ peak: 1, warmupSteps: 4 });
    const schedule = optim.join([ramp, ramp, optim.constantSchedule({ peak: 3 })], [2, 5]);
    expect(at(schedule, [0, 1, 2, 3, 4, 5, 6])).toEqual([0, 0.25, 0, 0.25, 0.5, 3, 3]);
  });

  it("growing cycles have whole lengths", () => {
    const schedule = optim.cosineRestarts({ peak: 1, firstCycle: 3, cycleFactor: 1.5 });
    const starts = at(
      schedule,
      Array.from({ length: 20 }, (_, step) => step),
    ).flatMap((value, step) => (value === 1 ? [step] : []));
    // 3, 4.5 → 5, 7.5 → 8 steps.
    expect(starts).toEqual([0, 3, 8, 16]);
  });

  it("the square trapezoid falls fast first", () => {
    const schedule = optim.trapezoid({ peak: 1, decaySteps: 4, totalSteps: 10, shape: "square" });
    expect(at(schedule, [6, 8, 10])).toEqual([1, 0.25, 0]);
  });

  it("any function of the step is one", async () => {
    const optimizer = sgd({ learningRate: (step) => step.cast("f32").add(1).mul(0.5) });
    expect(run(optimizer, 3).updates[1]).toEqual([-4.5, 4.5]);
  });

  it("the learning rate is that of the step's index", () => {
    const optimizer = sgd({ learningRate: optim.warmupConstant({ peak: 1, warmupSteps: 2 }) });
    expect(run(optimizer, 1).updates[1]?.map(Math.abs)).toEqual([0, 0]);
    expect(run(optimizer, 2).updates[1]).toEqual([-1.5, 1.5]);
    expect(numbersOf(optimizer.rule.constants).map(({ name }) => name)).toEqual([
      "learningRate.peak",
      "learningRate.warmupSteps",
      "learningRate.start",
    ]);
  });
});

describe("a transformation of one's own", () => {
  const byLoss = transformation({
    name: "byLoss",
    constants: [constant("byLoss", "power", 2, {})],
    needs: ["loss"],
    update: (updates, buffers, { extra, constant: number }) => {
      const factor = (extra.loss as Tensor).mul(number("power")[0] as Tensor);
      return [mapTensors((g) => g.mul(factor), updates), buffers];
    },
  });

  it("gets what it needs, also within a chain", () => {
    const optimizer = chain(byLoss, scale(-1));
    const [updates] = optimizer.update(gradients(), optimizer.init(params()), params(), { loss: tensor(0.5) });
    expect(values(updates)).toEqual([
      [-1, 1, -2, 2],
      [-3, 3],
    ]);
  });

  it("says what is missing", () => {
    const state = byLoss.init(params());
    expect(() => byLoss.update(gradients(), state, params())).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: byLoss needs the loss: pass { loss } as fourth argument of update.]`,
    );
    expect(() => byLoss.update(gradients(), state, params())).toThrow(ArgumentError);
  });
});

describe("half precision", () => {
  const half = () => ({ weight: tensor([1, 2], { dtype: "f16" }) });

  it("has f32 state and updates, and parameters stay f16", () => {
    const optimizer = adam();
    const [updates, state] = optimizer.update(half(), optimizer.init(half()), half());
    expect(updates.weight.dtype).toBe("f32");
    expect(treeLeaves<Tensor>(state.buffers).map(({ dtype }) => dtype)).toEqual(["f32", "f32"]);
    expect(optim.applyUpdates(half(), updates).weight.dtype).toBe("f16");
  });
});

describe("tree norms", () => {
  it("are over all elements", () => {
    expect(values(optim.treeNorm({ a: tensor([3]), b: [tensor([[4]]), null] }))).toEqual([[5]]);
    expect(() => optim.treeNorm({})).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: treeSquaredNorm: the tree has no tensor. Give at least one.]`,
    );
  });
});

describe("long runs", () => {
  it("have finite bias corrections and a step counter that is exact past 2^24", async () => {
    const optimizer = adam({ learningRate: 1 });
    const start = optimizer.init(params());
    const late = { ...start, step: tensor(Uint32Array.of(2 ** 24 + 1), { shape: [] }) };
    const [updates, next] = optimizer.update(gradients(), late, params());
    expect(await next.step.item()).toBe(2 ** 24 + 2);
    // Without bias to correct: m = .1 g and v = .001 g².
    const [first] = await updates.bias.data();
    expect(first).toBeCloseTo(-0.1 / Math.sqrt(0.001), 4);
  });
});
