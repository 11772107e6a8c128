import { grad } from "@thalweg/autograd";
import { compile, init, key, normal, type Tensor } from "@thalweg/tensor";
import { retarget } from "@thalweg/tensor/testing";
import fc from "fast-check";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  addDecayedWeights,
  applyUpdates,
  chain,
  clipByGlobalNorm,
  type GradientTransformation,
  scaleByAdam,
  scaleByLearningRate,
  scaleByMomentum,
} from "../src/index";

let device: Awaited<ReturnType<typeof init>>;
beforeAll(async () => {
  device = await init({ notice: () => {} });
});
afterEach(() => {
  retarget(device, undefined);
});

const adamwWithClip = () =>
  chain(
    clipByGlobalNorm({ maxNorm: 0.5 }),
    scaleByAdam({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }),
    addDecayedWeights({ weightDecay: 0.1 }),
    scaleByLearningRate(0.01),
  );
const momentumWithClip = () =>
  chain(clipByGlobalNorm({ maxNorm: 0.5 }), scaleByMomentum({ momentum: 0.9 }), scaleByLearningRate(0.01));

/** Matrices and vectors by turns. */
const parameters = (sizes: readonly number[]): Tensor[] =>
  sizes.map((size, index) => normal(key(index), index % 2 === 0 ? [size] : [3, size]));

/** A bowl for each tensor; the global norm of the gradients ties all of them together. */
const bowls = (params: readonly Tensor[]): Tensor =>
  params.map((own) => own.sub(0.5).square().sum()).reduce((a, b) => a.add(b));

const training = (optimizer: GradientTransformation) =>
  compile(
    (params: readonly Tensor[], state: ReturnType<GradientTransformation["init"]>) => {
      const [updates, next] = optimizer.update(grad(bowls)(params), state, params);
      return [applyUpdates(params, updates), next] as const;
    },
    { donate: [0, 1] },
  );

/** Parameters after three steps, all in one array, and the dispatches of a step. */
async function train(optimizer: GradientTransformation, sizes: readonly number[]) {
  const step = training(optimizer);
  let params: readonly Tensor[] = parameters(sizes);
  let state = optimizer.init(params);
  for (let steps = 0; steps < 3; steps++) [params, state] = step(params, state);
  const values: number[] = [];
  for (const own of params) values.push(...(await own.data()));
  const { kernels } = step.statistics();
  const updates = kernels.filter(({ label }) => label.startsWith("segments_"));
  step.dispose();
  return { values, dispatches: kernels.length, updates: updates.length };
}

describe("updates of many tensors behind a global norm", { timeout: 120_000 }, () => {
  it.each([
    // Matrices decay and vectors do not: two rules.
    ["AdamW", adamwWithClip, 2],
    ["momentum", momentumWithClip, 1],
  ])("of %s are a dispatch per rule, and the same numbers as one for each tensor", async (_, optimizer, rules) => {
    const sizes = Array.from({ length: 40 }, (_, index) => 2 + ((index * 37) % 301));
    const joint = await train(optimizer(), sizes);
    retarget(device, { without: ["pack"] });
    const single = await train(optimizer(), sizes);
    expect(joint.updates).toBe(rules);
    expect(single.updates).toBe(0);
    expect(single.dispatches - joint.dispatches).toBeGreaterThanOrEqual(40 - rules);
    expect(joint.values).toEqual(single.values);
  });

  it("take no more dispatches for a hundred tensors than for ten", async () => {
    const few = await train(
      adamwWithClip(),
      Array.from({ length: 10 }, (_, index) => 1000 + index),
    );
    const many = await train(
      adamwWithClip(),
      Array.from({ length: 100 }, (_, index) => 1000 + index),
    );
    expect([few.updates, many.updates]).toEqual([2, 2]);
  });

  it("agree with single ones on any sizes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 3, maxLength: 8 }), async (sizes) => {
        retarget(device, undefined);
        const joint = await train(adamwWithClip(), sizes);
        retarget(device, { without: ["pack"] });
        expect(joint.values).toEqual((await train(adamwWithClip(), sizes)).values);
      }),
      { numRuns: 5 },
    );
  });
});
