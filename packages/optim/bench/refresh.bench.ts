// What the rare work of Shampoo and SOAP costs beside a training step of a ResNet-20, at its own interval.
//
//   node --import ./scripts/run-sources.mjs packages/optim/bench/refresh.bench.ts [batch] [runs]
//
// The net is the one for images of 32 x 32 with 16, 32 and 64 channels (He et al., 2015). The plain program and the one
// with the refresh run in turn, from an idle device to an idle device; their difference, divided by the steps between two
// refreshes, is what a refresh costs per step. Batch 128 is the usual one: smaller batches make steps cheaper and
// refreshes look dearer.
import { valueAndGrad } from "@thalweg/autograd";
import {
  batchNorm,
  conv2d,
  dense,
  globalAveragePool,
  relu,
  residual,
  sequential,
  softmaxCrossEntropy,
} from "@thalweg/nn";
import { applyUpdates, type OptimizerState, type Refresh, shampoo, soap } from "@thalweg/optim";
import {
  compile,
  init,
  key,
  evaluate as realize,
  type Tensor,
  tensor,
  treeLeaves,
  treeMap,
  uniform,
} from "@thalweg/tensor";

const [batch = 128, runs = 5] = process.argv.slice(2).map(Number);
const device = await init();

/** A block of two convolutions; where channels or extents change, without the shortcut, which has no parameters. */
const block = (features: number, stride: number) => {
  const layers = sequential({
    conv1: conv2d({ features, kernel: 3, stride, padding: "same", bias: false }),
    norm1: batchNorm(),
    act: relu,
    conv2: conv2d({ features, kernel: 3, padding: "same", bias: false }),
    norm2: batchNorm(),
  });
  return stride === 1 ? residual(layers) : layers;
};
const stage = (features: number, stride: number) =>
  sequential({ a: block(features, stride), b: block(features, 1), c: block(features, 1) });
const model = sequential({
  conv: conv2d({ features: 16, kernel: 3, padding: "same", bias: false }),
  norm: batchNorm(),
  act: relu,
  stage1: stage(16, 1),
  stage2: stage(32, 2),
  stage3: stage(64, 2),
  pool: globalAveragePool,
  head: dense({ features: 10, role: "head" }),
});

const images = uniform(key(1), [batch, 32, 32, 3]);
const labels = tensor(new Uint32Array(batch).map((_, index) => index % 10));
const input = { shape: [batch, 32, 32, 3] };
const [params, model0] = [model.init(key(0), input), model.initState(input)];
type Params = typeof params;
const count = treeLeaves<Tensor>(params).reduce((sum, { size }) => sum + size, 0);
console.log(`${device.adapter.description}: ResNet-20, ${count} parameters, batch ${batch}, median of ${runs}`);
console.log("optimizer   interval  dispatches plain/refresh   ms plain  ms refresh   refresh per step");
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

for (const [name, optimizer] of Object.entries({ shampoo: shampoo(), soap: soap() })) {
  const step = compile(
    (own: { params: Params; optimizer: OptimizerState }, x: Tensor, y: Tensor, refresh: Refresh) => {
      const lossOf = (p: Params) =>
        softmaxCrossEntropy(model.applyWithState(p, model0, x, { mode: "train" })[0], y).mean();
      const [loss, gradients] = valueAndGrad(lossOf)(own.params);
      const [updates, next] = optimizer.update(gradients, own.optimizer, own.params, { refresh, loss });
      return { params: applyUpdates(own.params, updates), optimizer: next };
    },
    { donate: [0], name },
  );
  let state = { params: treeCopy(params), optimizer: optimizer.init(params) };
  await realize([...treeLeaves<Tensor>(state), images]);
  const run = async (refresh: Refresh): Promise<number> => {
    await device.idle();
    const start = performance.now();
    state = step(state, images, labels, refresh);
    await device.idle();
    return performance.now() - start;
  };
  const times: Record<"plain" | "refresh", number[]> = { plain: [], refresh: [] };
  const dispatches: number[] = [];
  for (const refresh of [false, true]) {
    await run(refresh);
    dispatches.push(step.statistics().dispatches);
  }
  for (let index = 0; index < runs; index++) {
    times.plain.push(await run(false));
    times.refresh.push(await run(true));
  }
  // How often the refreshing program runs, from the optimizer itself, after the start.
  const due = Array.from({ length: 10_000 }, (_, index) => optimizer.refreshesAt(index + 1)).filter(Boolean).length;
  const interval = 10_000 / due;
  const [plain, refreshing] = [median(times.plain), median(times.refresh)];
  const share = (refreshing - plain) / interval / plain;
  console.log(
    `${name.padEnd(12)}${interval.toFixed(0).padStart(8)}${dispatches.join(" / ").padStart(26)}${plain.toFixed(0).padStart(11)}` +
      `${refreshing.toFixed(0).padStart(12)}${`${(100 * share).toFixed(0)} %`.padStart(19)}`,
  );
  for (const leaf of treeLeaves<Tensor>(state)) leaf.dispose();
  step.dispose();
}
device.destroy();

function treeCopy(tree: Params): Params {
  return treeMap((x: Tensor) => x.add(0), tree) as Params;
}
