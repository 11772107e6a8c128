import { grad, valueAndGrad } from "@thalweg/autograd";
import * as nn from "@thalweg/nn";
import { compile, type Device, init, key, placeholder, softmax, type Tensor } from "@thalweg/tensor";
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

const rows = [4096, 1024];
const images = [128, 32, 32, 64];

/** What all kernels of a program move, in sizes of its first argument. */
async function traffic(fn: (...inputs: Tensor[]) => unknown, inputs: readonly Tensor[]): Promise<number> {
  // Only the plan is looked at; no driver has to compile it.
  vi.spyOn(device, "pipelineAsync").mockResolvedValue({} as GPUComputePipeline);
  const program = compile(fn as never) as unknown as {
    prepare(...inputs: readonly Tensor[]): Promise<void>;
    statistics(): { readonly kernels: readonly { readonly bytes: number }[] };
  };
  await program.prepare(...inputs);
  const moved = program.statistics().kernels.reduce((sum, { bytes }) => sum + bytes, 0);
  return moved / (4 * (inputs[0] as Tensor).size);
}

/** A layer, and the cotangents of its input and parameters for a cotangent of its result. */
function withLayer(layer: nn.Layer<nn.NormParams, object>, shape: readonly number[]) {
  const params = layer.init(key(0), { shape });
  const state = layer.initState({ shape });
  const apply = (x: Tensor, scale: Tensor, bias: Tensor) =>
    layer.applyWithState({ scale, bias }, state, x, { train: true })[0];
  const like = placeholder(shape, "f32");
  const leaves = [params.scale, params.bias].map((leaf) => placeholder(leaf.shape, "f32"));
  return {
    forward: () => traffic((x, scale, bias) => apply(x as Tensor, scale as Tensor, bias as Tensor), [like, ...leaves]),
    both: () =>
      traffic(
        (x, c, scale, bias) =>
          grad(([own, s, b]: readonly [Tensor, Tensor, Tensor]) =>
            apply(own, s, b)
              .mul(c as Tensor)
              .sum(),
          )([x as Tensor, scale as Tensor, bias as Tensor]),
        [like, placeholder(shape, "f32"), ...leaves],
      ),
  };
}

/** Partial sums and parameters. */
const little = 0.1;

describe.each(["CPU", "GPU"])("passes over memory on a %s", (adapter) => {
  const target = () => retarget(device, { isSoftware: adapter === "CPU" });

  it("softmax reads and writes once, its gradient reads twice and writes once", async () => {
    target();
    const x = placeholder(rows, "f32");
    expect(await traffic((own) => softmax(own as Tensor, { axis: -1 }), [x])).toBeLessThan(2 + little);
    const gradient = (own: Tensor, c: Tensor) => grad((at: Tensor) => softmax(at, { axis: -1 }).mul(c).sum())(own);
    expect(await traffic(gradient as never, [x, placeholder(rows, "f32")])).toBeLessThan(3 + little);
  });

  it("cross entropy with its gradient reads logits once and writes once", async () => {
    target();
    const loss = (x: Tensor, labels: Tensor) =>
      valueAndGrad((own: Tensor) => nn.softmaxCrossEntropy(own, labels).mean())(x);
    const inputs = [placeholder(rows, "f32"), placeholder([4096], "u32")];
    expect(await traffic(loss as never, inputs)).toBeLessThan(2 + little);
  });

  it("layer norm forward is one pass; with the gradients of input and parameters, two more", async () => {
    target();
    const layer = withLayer(nn.layerNorm() as never, rows);
    expect(await layer.forward()).toBeLessThan(2 + little);
    expect(await layer.both()).toBeLessThan(5 + little);
  });

  it.each([
    ["batch norm", nn.batchNorm()],
    ["group norm", nn.groupNorm({ groups: 8 })],
  ])("%s reads twice and writes once; with gradients, twice as much", async (_, norm) => {
    target();
    const layer = withLayer(norm as never, images);
    expect(await layer.forward()).toBeLessThan(3 + little);
    expect(await layer.both()).toBeLessThan(7 + little);
  });
});
