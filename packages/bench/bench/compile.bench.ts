// What the first training step of a workload costs, and what of it the kernels' texts cost the driver.
//
//   MESA_SHADER_CACHE_DIR=$(mktemp -d) node --import ./scripts/run-sources.mjs packages/bench/bench/compile.bench.ts [workload]
//
// Run twice with one folder, the first run has an empty driver cache and the second one a warm one. "first run" contains
// the step itself; some drivers (Mesa's llvmpipe) translate a pipeline when it is first dispatched, so it contains that too.
import { valueAndGrad } from "@thalweg/autograd";
import { applyUpdates, momentum } from "@thalweg/optim";
import { compile, evaluate, init, key, type Tensor, tensor, treeLeaves, uniform } from "@thalweg/tensor";
import { findProblem, type TensorTree } from "@thalweg/workloads";

const batchSize = 128;
const problem = findProblem(process.argv[2] ?? "fmnist_2c2d");
const device = await init();
const optimizer = momentum({ learningRate: 0.01 });
const { params, state: model } = problem.init(key(0));
const images = uniform(key(1), [batchSize, 28, 28, 1]);
const labels = tensor(new Uint32Array(batchSize).map((_, index) => index % 10));

const step = compile(
  (state: { params: TensorTree; optimizer: ReturnType<typeof optimizer.init> }, x: Tensor, y: Tensor) => {
    const lossOf = (own: TensorTree) =>
      problem.losses(own, model, { images: x, labels: y }, "train", key(1)).perExample.mean();
    const [loss, gradients] = valueAndGrad(lossOf)(state.params);
    const [updates, next] = optimizer.update(gradients, state.optimizer, state.params);
    return [{ params: applyUpdates(state.params, updates), optimizer: next }, loss] as const;
  },
  { donate: [0] },
);

const initial = { params, optimizer: optimizer.init(params) };
await evaluate([...treeLeaves<Tensor>(initial), images]);
await device.idle();

const cpu = process.cpuUsage();
const times = [performance.now()];
const prepared = step.prepare(initial, images, labels);
times.push(performance.now());
await prepared;
times.push(performance.now());
const [state, loss] = step(initial, images, labels);
await loss.item();
times.push(performance.now());
const { user, system } = process.cpuUsage(cpu);
const [, second] = step(state, images, labels);
await second.item();
times.push(performance.now());

const { kernels, dispatches } = step.statistics();
const texts = [...new Set(kernels.map(({ code }) => code))];
const [compiler, pipelines, first, again] = times.slice(1).map((time, index) => time - (times[index] as number));
const ms = (time = Number.NaN) => `${time.toFixed(0)} ms`;
console.log(`${problem.name}, batch ${batchSize}, momentum, ${device.adapter.description}`);
console.log(`compiler ${ms(compiler)}, pipelines ${ms(pipelines)}, first run ${ms(first)}, second run ${ms(again)}`);
console.log(`first step ${ms((times[3] as number) - (times[0] as number))}, ${ms((user + system) / 1000)} of CPU time`);
const bytes = texts.reduce((sum, { length }) => sum + length, 0);
const longest = Math.max(...texts.map((text) => text.split("\n").length));
console.log(`${dispatches} dispatches, ${texts.length} shaders, ${bytes} bytes of text, longest ${longest} lines`);
device.destroy();
