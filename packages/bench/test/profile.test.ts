import { type Device, init, type Tensor, treeLeaves } from "@thalweg/tensor";
import { retarget } from "@thalweg/tensor/testing";
import { datasetTensors, findProblem, type ImageDataset } from "@thalweg/workloads";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createOptimizer, findOptimizer } from "../src/run/optimizer";
import { createPrograms, initialState, runKeys } from "../src/run/programs";
import { runCommand } from "./fake-terminal";

let device: Device;

beforeAll(async () => {
  device = await init({ notice: () => {} });
});

afterEach(() => {
  retarget(device, undefined);
  vi.restoreAllMocks();
});

/** Images like those of Fashion-MNIST, all black: what a step costs does not depend on what they show. */
function blackImages(count: number): ImageDataset {
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
}

// Plans and shaders for a GPU are the same wherever they are made. Here nothing of them runs, so no driver compiles them.
describe("the training step", { timeout: 120_000 }, () => {
  it.each([
    ["fmnist_mlp", "CPU", 128, 15],
    ["fmnist_2c2d", "CPU", 128, 24],
    ["fmnist_mlp", "GPU", 128, 15],
    ["fmnist_2c2d", "GPU", 128, 24],
  ])("of %s with momentum takes few dispatches on a %s", async (name, adapter, batchSize, limit) => {
    retarget(device, adapter === "CPU" ? { isSoftware: true } : { isSoftware: false, maxBindings: 16 });
    vi.spyOn(device, "pipelineAsync").mockResolvedValue({} as GPUComputePipeline);
    const dataset = blackImages(2 * batchSize);
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
    const state = initialState(programs.parts, keys);
    const data = datasetTensors(dataset);
    await programs.step.prepare(state, data, { shuffling: keys.shuffling, sampling: keys.sampling }, false);
    const { dispatches, submits, bytesPeak, bytesLowerBound } = programs.step.statistics();
    expect(dispatches).toBeLessThanOrEqual(limit);
    expect(submits).toBe(1);
    expect(bytesPeak).toBeGreaterThanOrEqual(bytesLowerBound);
    for (const leaf of treeLeaves<Tensor>([state, data, keys])) leaf.dispose();
    programs.dispose();
  });
});

describe("thalweg profile", { timeout: 120_000 }, () => {
  it("--json says what one step costs: one submit, and after warm-up nothing is created or read", async () => {
    const { code, out } = await runCommand("profile digits --optimizer momentum --steps 10 --json".split(" "));
    expect(code).toBe(0);
    const profile = JSON.parse(out);
    expect(profile).toMatchObject({
      workload: "digits",
      optimizer: "momentum",
      steps: 10,
      submits: 1,
      buffersCreated: 0,
      bindGroupsCreated: 0,
      pipelinesCreated: 0,
      readbacks: 0,
    });
    expect(profile.kernels).toHaveLength(profile.dispatches);
    expect(profile.msPerStep).toBeGreaterThan(0);
    expect(profile.bytesPeak).toBeGreaterThanOrEqual(profile.bytesLowerBound);
  });
});
