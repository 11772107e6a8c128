import { valueAndGrad } from "@thalweg/autograd";
import { ArgumentError, compile, init, key, normal, type Tensor, tensor, treeMap } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import * as optim from "../src/index";
import {
  adam,
  adamw,
  applyUpdates,
  type GradientTransformation,
  optimizers,
  setHyperparameters,
  sgd,
} from "../src/index";
import { knownOptions } from "./training";

beforeAll(async () => {
  await init();
});

const message = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(ArgumentError);
    return (error as Error).message;
  }
  throw new ArgumentError("Nothing was thrown.");
};

describe("a wrong hyperparameter is refused", () => {
  it("outside of its range", () => {
    expect(message(() => adam({ learningRate: -1 }))).toMatchInlineSnapshot(
      `"adam: learningRate is -1, expected a number in [0, ∞)."`,
    );
    expect(message(() => adam({ beta1: 1 }))).toMatchInlineSnapshot(`"adam: beta1 is 1, expected a number in [0, 1)."`);
    expect(message(() => adam({ epsilon: Number.NaN }))).toMatchInlineSnapshot(
      `"adam: epsilon is NaN, expected a number in [0, ∞)."`,
    );
    expect(message(() => optim.momentum({ momentum: -0.1 }))).toMatchInlineSnapshot(
      `"momentum: momentum is -0.1, expected a number in [0, 1)."`,
    );
    expect(message(() => optim.scaleByAdam({ beta1: 0.9, beta2: 1.5, epsilon: 0 }))).toMatchInlineSnapshot(
      `"scaleByAdam: beta2 is 1.5, expected a number in [0, 1)."`,
    );
    expect(message(() => optim.clipByGlobalNorm({ maxNorm: 0 }))).toMatchInlineSnapshot(
      `"clipByGlobalNorm: maxNorm is 0, expected a number in (0, ∞)."`,
    );
  });

  it("of an unknown name", () => {
    expect(message(() => optimizers.adam?.create({ beta3: 0.9 }))).toMatchInlineSnapshot(
      `"Unknown hyperparameter of adam "beta3". Did you mean "beta1"? Known: learningRate, beta1, beta2, epsilon, epsilonRoot, epsilonHat, weightDecay, decoupled, decayMask."`,
    );
    expect(message(() => optimizers.sgd?.create({ learnigRate: 0.9 }))).toMatchInlineSnapshot(
      `"Unknown hyperparameter of sgd "learnigRate". Did you mean "learningRate"? Known: learningRate, weightDecay, decoupled, decayMask."`,
    );
  });

  it("of another type", () => {
    expect(message(() => optimizers.adam?.create({ beta1: "0.9" }))).toMatchInlineSnapshot(
      `"adam: beta1 is "0.9", expected a number in [0, 1)."`,
    );
    expect(message(() => optimizers.rmsprop?.create({ centered: 1 }))).toMatchInlineSnapshot(
      `"rmsprop: centered is 1, expected true or false."`,
    );
    expect(message(() => optimizers.nadam?.create({ form: "plan" }))).toMatchInlineSnapshot(
      `"nadam: form is "plan", expected one of schedule, plain, next; did you mean "plain"?"`,
    );
    expect(message(() => optimizers.adamw?.create({ decayMask: "vectors" }))).toMatchInlineSnapshot(
      `"adamw: decayMask is "vectors", expected one of matrices, all."`,
    );
  });

  it("in a schedule", () => {
    expect(message(() => optim.cosine({ peak: 1, totalSteps: 2.5 }))).toMatchInlineSnapshot(
      `"cosine: totalSteps is 2.5, expected a whole number of steps from 1 on."`,
    );
    expect(message(() => optim.linear({ peak: 1, totalSteps: 5, warmupSteps: 9 }))).toMatchInlineSnapshot(
      `"linear: 9 warmupSteps are more than 5 totalSteps. Give fewer."`,
    );
    expect(message(() => optim.join([optim.constantSchedule({ peak: 1 })], [3]))).toMatchInlineSnapshot(
      `"join: 1 schedules and 1 boundaries. Give one boundary between any two schedules."`,
    );
    expect(
      message(() => optim.piecewiseConstant({ initial: 1, boundaries: [5, 2], factors: [0.1, 0.01] })),
    ).toMatchInlineSnapshot(`"piecewiseConstant: boundaries[1] is 2, expected a whole number of steps from 5 on."`);
    expect(message(() => optim.cosineRestarts({ peak: 1, firstCycle: 10, cycleFactor: 1.001 }))).toMatchInlineSnapshot(
      `"cosineRestarts: with firstCycle 10 and cycleFactor 1.001 there are more than 256 cycles. Give a longer first cycle, or a larger factor or 1."`,
    );
  });
});

/** A layer with a squared loss: its weight's gradient is a matrix product. */
const x = normal(key(3), [8, 5]);
const y = normal(key(4), [8, 3]);
const start = () => ({ weight: normal(key(5), [5, 3]), bias: tensor([0, 0, 0]) });
type Params = ReturnType<typeof start>;
const loss = ({ weight, bias }: Params): Tensor => x.dot(weight).add(bias).sub(y).square().mean();

const training = (optimizer: GradientTransformation) =>
  compile(
    (state: { readonly params: Params; readonly optimizer: optim.OptimizerState }) => {
      const [value, gradients] = valueAndGrad(loss)(state.params);
      const [updates, next] = optimizer.update(gradients, state.optimizer, state.params);
      return [{ params: applyUpdates(state.params, updates), optimizer: next }, value] as const;
    },
    { donate: [0] },
  );

const begin = (optimizer: GradientTransformation) => {
  const params = start();
  return { params, optimizer: optimizer.init(params) };
};

describe("hyperparameters are in the state", () => {
  it("so that others need no other program", async () => {
    const optimizer = adamw({ learningRate: 0.1 });
    const step = training(optimizer);
    const [first] = step(begin(optimizer));
    const before = treeMap((leaf: Tensor) => leaf.add(0), first.params) as Params;
    const frozen = setHyperparameters(optimizer, first.optimizer, { learningRate: 0 });
    const values = await before.weight.data();
    const programs = step.statistics().kernels.map(({ code }) => code);
    const [second] = step({ ...first, optimizer: frozen });
    expect(await second.params.weight.data()).toEqual(values);
    expect(step.statistics().kernels.map(({ code }) => code)).toEqual(programs);
  });

  it("so that two values share their kernels", () => {
    const codes = [0.1, 0.02].map((learningRate) => {
      const optimizer = adam({ learningRate, beta1: learningRate, epsilon: learningRate });
      const step = training(optimizer);
      step(begin(optimizer));
      return step.statistics().kernels.map(({ code }) => code);
    });
    expect(codes[1]).toEqual(codes[0]);
  });

  it("and so are the numbers of a schedule", () => {
    const codes = [0.1, 0.02].map((peak) => {
      const optimizer = sgd({
        learningRate: optim.cosine({ peak, totalSteps: 1000 * peak, warmupSteps: 10 * peak * 10 }),
      });
      const step = training(optimizer);
      step(begin(optimizer));
      return step.statistics().kernels.map(({ code }) => code);
    });
    expect(codes[1]).toEqual(codes[0]);
  });

  it("and a new value is as exact as a first one", async () => {
    const [old, fresh] = [adam({ beta2: 0.9 }), adam({ beta2: 0.9999 })];
    const changed = setHyperparameters(old, old.init(start()), { beta2: 0.9999 });
    expect(await changed.hyperparameters?.data()).toEqual(await fresh.init(start()).hyperparameters?.data());
  });

  it("and unknown names or values out of range are refused", () => {
    const optimizer = adam();
    const state = optimizer.init(start());
    expect(message(() => setHyperparameters(optimizer, state, { beta: 0.5 }))).toMatchInlineSnapshot(
      `"Unknown hyperparameter of adam "beta". Did you mean "beta1"? Known: beta1, beta2, epsilon, learningRate."`,
    );
    expect(message(() => setHyperparameters(optimizer, state, { beta1: 1 }))).toMatchInlineSnapshot(
      `"adam: beta1 is 1, expected a number in [0, 1)."`,
    );
  });
});

describe("a compiled step", () => {
  it("computes updates in the kernels of the gradients", () => {
    const elementwise = Object.values(optimizers).filter(({ cost }) => ["nothing", "elementwise"].includes(cost));
    for (const record of elementwise) {
      if (record.needs().length > 0) continue;
      const optimizer = record.create(knownOptions(record, { weightDecay: 0.1 }));
      const step = training(optimizer);
      step(begin(optimizer));
      const { dispatches, submits } = step.statistics();
      expect(submits).toBe(1);
      // As many as the loss and its gradients need by themselves; adapters that bind more buffers share some of them.
      expect(dispatches).toBeLessThanOrEqual(5);
    }
  });
});
