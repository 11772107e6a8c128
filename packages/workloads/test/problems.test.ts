import { evaluate, formatPath, key, type Tensor, treeFlatten, treeLeaves } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { datasetTensors, gatherBatch, phaseIndices } from "../src/batching";
import { divide, type ImageDataset } from "../src/datasets/image-dataset";
import { loadDataset } from "../src/datasets/registry";
import { fashionMnistSource } from "../src/fetch/sources";
import { findProblem, problems } from "../src/problems/registry";
import { realFiles } from "./real-data";

/** Standard deviation of a standard normal that is truncated at two. */
const truncatedStd = 0.8796256610342398;
/** Its fourth central moment over the square of its variance: from this follows the error of a sample variance. */
const truncatedKurtosis = 2.3656;

/** Standard deviation of a kernel's elements, from its description. */
function expectedStd(initializer: string, shape: readonly number[]): number {
  const truncated = /^TN\((.+)\)$/.exec(initializer);
  if (truncated) return Number(truncated[1]) * truncatedStd;
  if (initializer === "He normal")
    return Math.sqrt(2 / shape.slice(0, -1).reduce((product, extent) => product * extent, 1));
  return 0;
}

describe.each(Object.values(problems))("the initial parameters of $name", (problem) => {
  it("have mean and variance of their distributions", async () => {
    const { leaves, paths } = treeFlatten<Tensor>(problem.init(key(42)).params);
    await evaluate(leaves);
    const described = new Map(problem.layers.flatMap(({ parameters }) => parameters.map((own) => [own.path, own])));
    for (const [index, leaf] of leaves.entries()) {
      const values = Float64Array.from(await leaf.data());
      const path = formatPath(paths[index] ?? []);
      const initializer = described.get(path)?.initializer ?? "";
      const constant = /^constant (.+)$/.exec(initializer);
      const std = expectedStd(initializer, leaf.shape);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      if (constant) {
        expect([...new Set(values)], path).toEqual([Math.fround(Number(constant[1]))]);
        continue;
      }
      // Four standard errors, and no value beyond the truncation.
      expect(Math.abs(mean), path).toBeLessThan((4 * std) / Math.sqrt(values.length));
      const errorOfVariance = std ** 2 * Math.sqrt((truncatedKurtosis - 1) / values.length);
      expect(Math.abs(variance - std ** 2), path).toBeLessThan(4 * errorOfVariance);
      const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largest, path).toBeLessThanOrEqual((2 * std * (1 + 1e-6)) / truncatedStd);
    }
  });
});

/** Test images of the shape of MNIST, with grey values from a fixed formula. */
const toyImages: ImageDataset = {
  name: "toy",
  split: "1.1",
  splits: divide(20, 20, "1.1"),
  shape: [28, 28, 1],
  classes: 10,
  images: Uint8Array.from({ length: 40 * 784 }, (_, index) => (index * 7919) % 256),
  labels: Uint8Array.from({ length: 40 }, (_, index) => index % 10),
  checksums: {},
};

/** Mean loss over a batch of test images before training: for each seed its own parameters and its own batch. */
async function initialLosses(
  name: string,
  dataset: ImageDataset,
  seeds: readonly number[],
  batchSize: number,
): Promise<readonly number[]> {
  const problem = findProblem(name);
  const data = datasetTensors(dataset);
  const losses: number[] = [];
  for (const seed of seeds) {
    const { params, state } = problem.init(key(seed));
    await evaluate(treeLeaves<Tensor>(params));
    const indices = phaseIndices(dataset, "test", { batch: seed, batchSize });
    const { perExample } = problem.losses(params, state, gatherBatch(data, dataset.shape, indices), "eval", key(0));
    losses.push(await perExample.mean().item());
  }
  for (const leaf of treeLeaves<Tensor>(data)) leaf.dispose();
  return losses;
}

describe("the loss before training", () => {
  it.each([
    // All logits are 0: only rounding is left.
    ["fmnist_logreg", 1e-6],
    // The small kernels keep the logits near 0.
    ["fmnist_mlp", 0.05],
  ])("of %s is log 10", async (name, relative) => {
    const [loss] = await initialLosses(name, toyImages, [0], 20);
    expect(Math.abs((loss as number) / Math.log(10) - 1)).toBeLessThan(relative);
  });

  it("of fmnist_2c2d has the published mean within the range of twenty seeds", async (context) => {
    const real = realFiles(fashionMnistSource);
    if ("reason" in real) return context.skip(real.reason);
    const seeds = Array.from({ length: 20 }, (_, seed) => seed);
    const losses = await initialLosses("fmnist_2c2d", await loadDataset("fmnist", real), seeds, 16);
    // The mean of ten seeds over all test images, in the baselines of DeepOBS 1.1.
    expect(Math.min(...losses)).toBeLessThan(2.3545);
    expect(Math.max(...losses)).toBeGreaterThan(2.3545);
    expect(Math.max(...losses)).toBeLessThan(3);
    // Slow on software adapters.
  }, 120_000);
});
