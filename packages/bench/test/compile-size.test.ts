import { valueAndGrad } from "@thalweg/autograd";
import { applyUpdates, momentum } from "@thalweg/optim";
import { compile, type Device, init, key, placeholder, type Tensor, treeMap } from "@thalweg/tensor";
import { retarget } from "@thalweg/tensor/testing";
import { findProblem, type TensorTree } from "@thalweg/workloads";
import { afterEach, beforeAll, expect, it, vi } from "vitest";

let device: Device;

beforeAll(async () => {
  device = await init({ notice: () => {} });
  // What is looked at is the text. It never runs, so that no kernel has to be compiled.
  vi.spyOn(device, "pipelineAsync").mockResolvedValue({} as GPUComputePipeline);
  return () => vi.restoreAllMocks();
});

afterEach(() => {
  retarget(device, undefined);
});

/** Adapters whose texts are looked at, whichever adapter there is. */
const adapters = {
  llvmpipe: { isSoftware: true, likesTallTiles: true, broadcastLanes: 8, maxBindings: 16 },
  gpu: { isSoftware: false, maxBindings: 16 },
} as const;

/** Texts of a training step with momentum, each once. */
async function textsOf(name: string, adapter: keyof typeof adapters): Promise<string[]> {
  retarget(device, adapters[adapter]);
  const problem = findProblem(name);
  const optimizer = momentum({ learningRate: 0.01 });
  const { params, state } = problem.init(key(0));
  const like = <T>(tree: T): T => treeMap((leaf: Tensor) => placeholder(leaf.shape, leaf.dtype), tree as never) as T;
  const step = compile(
    (own: TensorTree, moments: ReturnType<typeof optimizer.init>, images: Tensor, labels: Tensor) => {
      const lossOf = (at: TensorTree) =>
        problem.losses(at, state, { images, labels }, "train", key(1)).perExample.mean();
      const [loss, gradients] = valueAndGrad(lossOf)(own);
      const [updates, next] = optimizer.update(gradients, moments, own);
      return [applyUpdates(own, updates), next, loss] as const;
    },
    { donate: [0, 1] },
  );
  const [images, labels] = [placeholder([128, 28, 28, 1], "f32"), placeholder([128], "u32")];
  await step.prepare(like(params), like(optimizer.init(params)), images, labels);
  return [...new Set(step.statistics().kernels.map(({ code }) => code))];
}

/** Lines of a kernel for each of its parts. */
const linesPerPart = (text: string) => text.split("\n").length / Math.max(1, text.match(/^fn part\d/gm)?.length ?? 0);

const bytes = (texts: readonly string[]) => texts.reduce((sum, { length }) => sum + length, 0);

it.each([
  ["fmnist_mlp", 12, 48_000],
  ["fmnist_2c2d", 22, 64_000],
] as const)("a step of %s has few shaders and short ones on llvmpipe", async (name, shaders, most) => {
  const texts = await textsOf(name, "llvmpipe");
  expect(texts.length).toBeLessThanOrEqual(shaders);
  expect(bytes(texts)).toBeLessThanOrEqual(most);
  for (const text of texts) expect(linesPerPart(text)).toBeLessThan(200);
});

it.each(["fmnist_mlp", "fmnist_2c2d"])(
  "no part of a kernel of a step of %s is longer than 300 lines on GPUs",
  async (name) => {
    const texts = await textsOf(name, "gpu");
    for (const text of texts) expect(linesPerPart(text), text.slice(0, 400)).toBeLessThan(300);
  },
);
