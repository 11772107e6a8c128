import { valueAndGrad } from "@thalweg/autograd";
import * as nn from "@thalweg/nn";
import { applyUpdates, momentum } from "@thalweg/optim";
import { compile, type Device, init, key, placeholder, type Tensor, treeLeaves, treeMap, zeros } from "@thalweg/tensor";
import { retarget } from "@thalweg/tensor/testing";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";

let device: Device;
beforeAll(async () => {
  device = await init({ notice: () => {} });
});
afterEach(() => {
  retarget(device, undefined);
  vi.restoreAllMocks();
});

const vocabulary = 256;

const block = (features: number) =>
  nn.compose(
    "block",
    {
      attentionNorm: nn.layerNorm(),
      attention: nn.multiHeadAttention({ heads: 4, features, causal: true }),
      networkNorm: nn.layerNorm(),
      expand: nn.dense({ features: 4 * features }),
      contract: nn.dense({ features }),
    },
    (layers, x: Tensor) => {
      const attended = x.add(layers.attention(layers.attentionNorm(x)));
      return attended.add(layers.contract(nn.gelu(layers.expand(layers.networkNorm(attended)))));
    },
  );

/** A language model with pre-norm blocks, and its training step with momentum. */
function transformer(blocks: number, features: number, positions: number, batch: number) {
  const model = nn.sequential({
    tokens: nn.embedding({ count: vocabulary, features }),
    ...Object.fromEntries(Array.from({ length: blocks }, (_, index) => [`block${index}`, block(features)])),
    norm: nn.layerNorm(),
    head: nn.dense({ features: vocabulary }),
  });
  const params = model.init(key(0), { shape: [batch, positions], dtype: "i32" });
  const optimizer = momentum({ learningRate: 0.01 });
  type Params = typeof params;
  const step = compile(
    (own: Params, state: ReturnType<typeof optimizer.init>, tokens: Tensor, next: Tensor) => {
      const lossOf = (at: Params) => nn.softmaxCrossEntropy(model.apply(at, tokens, { train: true }), next).mean();
      const [loss, gradients] = valueAndGrad(lossOf)(own);
      const [updates, after] = optimizer.update(gradients, state, own);
      return [applyUpdates(own, updates), after, loss] as const;
    },
    { donate: [0, 1] },
  );
  return { params, state: optimizer.init(params), step };
}

const like = <T>(tree: T): T => treeMap((leaf: Tensor) => placeholder(leaf.shape, leaf.dtype), tree as never) as T;

describe("a training step of a transformer of 4 layers, 128 features and 128 positions", { timeout: 120_000 }, () => {
  it.each([
    ["CPU", 4],
    ["GPU", 16],
  ])(
    "takes at most 100 dispatches in one submit on a %s, and little more memory than it needs",
    async (adapter, batch) => {
      retarget(device, adapter === "CPU" ? { isSoftware: true } : { isSoftware: false, maxBindings: 16 });
      // Only the plan is looked at; no driver has to compile it.
      vi.spyOn(device, "pipelineAsync").mockResolvedValue({} as GPUComputePipeline);
      const { params, state, step } = transformer(4, 128, 128, batch);
      const tokens = placeholder([batch, 128], "i32");
      await step.prepare(like(params), like(state), tokens, tokens);
      const { dispatches, submits, bytesPeak, bytesLowerBound } = step.statistics();
      expect(dispatches).toBeLessThanOrEqual(100);
      expect(submits).toBe(1);
      expect(bytesPeak).toBeLessThanOrEqual(1.2 * bytesLowerBound);
    },
  );
});

describe("training steps of a small transformer", { timeout: 240_000 }, () => {
  it("learn, and create nothing", async () => {
    const { step, ...start } = transformer(1, 16, 8, 2);
    const tokens = zeros([2, 8], { dtype: "i32" });
    let [params, state, loss] = step(start.params, start.state, tokens, tokens);
    const first = await loss.item();
    for (let steps = 0; steps < 3; steps++) {
      loss.dispose();
      [params, state, loss] = step(params, state, tokens, tokens);
    }
    const { buffersCreated, bindGroupsCreated, pipelinesCreated } = device.counters.snapshot();
    for (let steps = 0; steps < 3; steps++) {
      loss.dispose();
      [params, state, loss] = step(params, state, tokens, tokens);
    }
    expect(device.counters.snapshot()).toMatchObject({ buffersCreated, bindGroupsCreated, pipelinesCreated });
    expect(await loss.item()).toBeLessThan(first);
    for (const leaf of treeLeaves<Tensor>([params, state] as never)) leaf.dispose();
  });
});
