import { valueAndGrad } from "@thalweg/autograd";
import {
  dense,
  embedding,
  gelu,
  layerNorm,
  multiHeadAttention,
  residual,
  sequential,
  softmaxCrossEntropy,
} from "@thalweg/nn";
import { applyUpdates, momentum } from "@thalweg/optim";
import { compile, type Device, init, key, type ProgramStatistics, type Tensor, zeros } from "@thalweg/tensor";
import { retarget } from "@thalweg/tensor/testing";
import { datasetTensors, findProblem, type ImageDataset } from "@thalweg/workloads";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createOptimizer, findOptimizer } from "../src/run/optimizer";
import { createPrograms, initialState, runKeys } from "../src/run/programs";

let device: Device;

beforeAll(async () => {
  device = await init({ notice: () => {} });
  // What is looked at is the plan. It never runs, so that no kernel has to be compiled.
  vi.spyOn(device, "pipelineAsync").mockResolvedValue({} as GPUComputePipeline);
  return () => vi.restoreAllMocks();
});

afterEach(() => {
  retarget(device, undefined);
});

const images = (count: number): ImageDataset => {
  const all = { start: 0, count };
  return {
    name: "black",
    split: "1.1",
    splits: { train: all, trainEval: all, valid: { start: 0, count: 0 }, test: all },
    images: new Uint8Array(count * 28 * 28),
    labels: new Uint8Array(count),
    shape: [28, 28, 1],
    classes: 10,
    checksums: {},
  };
};

/** The training step of a workload as the runner compiles it. */
async function workloadStep(name: string, batchSize: number): Promise<ProgramStatistics> {
  const dataset = images(2 * batchSize);
  const optimizer = createOptimizer(findOptimizer("momentum"), { learningRate: 0.01 }, undefined, 2);
  const programs = createPrograms({
    problem: findProblem(name),
    dataset,
    optimizer,
    batchSize,
    l2: 0,
    trainLogInterval: 10,
  });
  const keys = runKeys(1);
  const stepKeys = { shuffling: keys.shuffling, sampling: keys.sampling };
  await programs.step.prepare(initialState(programs.parts, keys), datasetTensors(dataset), stepKeys, false);
  return programs.step.statistics();
}

/** A causal language model with four blocks of 128 features on sequences of 128. */
async function transformerStep(batchSize: number): Promise<ProgramStatistics> {
  const block = () =>
    sequential({
      attend: residual(
        sequential({ norm: layerNorm(), attention: multiHeadAttention({ heads: 4, features: 128, causal: true }) }),
      ),
      feed: residual(
        sequential({ norm: layerNorm(), up: dense({ features: 512 }), gelu, down: dense({ features: 128 }) }),
      ),
    });
  const model = sequential({
    embedding: embedding({ count: 256, features: 128 }),
    block1: block(),
    block2: block(),
    block3: block(),
    block4: block(),
    norm: layerNorm(),
    head: dense({ features: 256 }),
  });
  const tokens = zeros([batchSize, 128], { dtype: "i32" });
  const params = model.init(key(1), { shape: tokens.shape, dtype: "i32" });
  const optimizer = momentum({ learningRate: 0.01 });
  const initial = { params, optimizer: optimizer.init(params) };
  const step = compile(
    (state: typeof initial, x: Tensor, y: Tensor) => {
      const [loss, gradients] = valueAndGrad((own: typeof params) =>
        softmaxCrossEntropy(model.apply(own, x), y).mean(),
      )(state.params);
      const [updates, next] = optimizer.update(gradients, state.optimizer, state.params);
      return [{ params: applyUpdates(state.params, updates), optimizer: next }, loss] as const;
    },
    { donate: [0] },
  );
  await step.prepare(initial, tokens, tokens);
  return step.statistics();
}

/** Peak over lower bound of the schedule: state, results and temporaries. */
describe.each([
  ["a CPU", true],
  ["a GPU", false],
])(
  "planned for %s, the bytes that a training step holds are within 1.2 times what its kernels need",
  (_, isSoftware) => {
    it.each([
      ["fmnist_mlp", () => workloadStep("fmnist_mlp", 128)],
      ["fmnist_2c2d", () => workloadStep("fmnist_2c2d", 128)],
      ["a 4-layer transformer", () => transformerStep(8)],
    ])("%s", async (_name, statistics) => {
      retarget(device, { isSoftware });
      const { bytesPeak, bytesLowerBound } = await statistics();
      expect(bytesPeak).toBeGreaterThanOrEqual(bytesLowerBound);
      expect(bytesPeak / bytesLowerBound).toBeLessThanOrEqual(1.2);
    });
  },
);
