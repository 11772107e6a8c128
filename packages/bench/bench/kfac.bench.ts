// K-FAC against a tuned AdamW: steps and time to a target, with equal tuning budgets. Writes docs/curvature/training.md.
//
//   node --import ./scripts/run-sources.mjs packages/bench/bench/kfac.bench.ts [digits|fmnist] [--draws 10] [--steps 600] [--seeds 5]
//
// Protocol. AdamW, K-FAC expand and K-FAC reduce have as many draws each of a random search (AdamW: learning rate and both
// decays; K-FAC: learning rate, damping and momentum), each with seeds 41 and 42; the draw whose two runs take the fewest
// steps to the target wins. Then the winners run with other seeds. Seconds are those of training steps, without compilation
// and evaluation.
import { parseArgs } from "node:util";
import { valueAndGrad } from "@thalweg/autograd";
import { type CurvatureProblem, crossEntropy, kroneckerCurvature } from "@thalweg/curvature";
import * as nn from "@thalweg/nn";
import {
  adamw,
  applyUpdates,
  type GradientTransformation,
  kfac,
  type OptimizerState,
  type Refresh,
} from "@thalweg/optim";
import { compile, evaluate, foldIn, init, key, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import {
  batchCount,
  type DatasetName,
  datasetTensors,
  gatherBatch,
  loadDataset,
  phaseIndices,
  trainingIndices,
} from "@thalweg/workloads";
import { markdownTable, writeSection } from "./report";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    draws: { type: "string", default: "10" },
    steps: { type: "string", default: "600" },
    seeds: { type: "string", default: "5" },
  },
});
const [draws, steps, seedCount] = [flags.draws, flags.steps, flags.seeds].map(Number) as [number, number, number];
const interval = 25;
const tuningSeeds = [41, 42];
const device = await init({ notice: () => {} });

const convolution = (features: number, kernel: number, padding: "same" | "valid") =>
  nn.conv2d({ features, kernel, padding, kernelInit: nn.heNormal });
/** DeepOBS's: windows of 3 that overlap. */
const pool = nn.maxPool({ window: 3, stride: 2, padding: "same" });
const settings = {
  digits: {
    dataset: "digits",
    target: 0.95,
    batchSize: 64,
    model: nn.sequential({
      conv1: convolution(8, 3, "valid"),
      relu1: nn.relu,
      pool1: pool,
      conv2: convolution(16, 3, "valid"),
      relu2: nn.relu,
      pool2: pool,
      flatten: nn.flatten,
      head: nn.dense({ features: 10 }),
    }),
  },
  fmnist: {
    dataset: "fmnist",
    target: 0.88,
    batchSize: 128,
    model: nn.sequential({
      conv1: convolution(32, 5, "same"),
      relu1: nn.relu,
      pool1: pool,
      conv2: convolution(64, 5, "same"),
      relu2: nn.relu,
      pool2: pool,
      flatten: nn.flatten,
      dense: nn.dense({ features: 1024 }),
      relu3: nn.relu,
      head: nn.dense({ features: 10 }),
    }),
  },
} as const satisfies Readonly<
  Record<
    string,
    { readonly dataset: DatasetName; readonly target: number; readonly batchSize: number; readonly model: nn.Layer }
  >
>;

const name = (positionals[0] ?? "digits") as keyof typeof settings;
const setting = settings[name];
if (setting === undefined)
  throw new Error(`There is no setting "${name}". Known: ${Object.keys(settings).join(", ")}.`);
const { target, batchSize } = setting;
const model: nn.Layer = setting.model;
const dataset = await loadDataset(setting.dataset);
const data = datasetTensors(dataset);
const shape = { shape: [batchSize, ...dataset.shape] };
type Params = object;
type State = { readonly params: Params; readonly own: OptimizerState };

const problem: CurvatureProblem<Params> = { model: (p, x) => model.apply(p, x), loss: crossEntropy };
const batchAt = (shuffling: Tensor, step: Tensor) => {
  const { images, labels } = gatherBatch(
    data,
    dataset.shape,
    trainingIndices(dataset, { key: shuffling, step, batchSize }),
  );
  return { inputs: images, targets: labels };
};
const accuracyOf = compile((params: Params, batch: Tensor) => {
  const indices = phaseIndices(dataset, "test", { batch, batchSize });
  const { images, labels } = gatherBatch(data, dataset.shape, indices);
  return nn.accuracy(model.apply(params, images), labels).mean();
});
const testBatches = Array.from({ length: batchCount(dataset, "test", batchSize) }, (_, index) =>
  tensor(Uint32Array.of(index)).reshape([]),
);

/** What a method does in a step, beside the optimizer. */
interface Method {
  readonly title: string;
  /** Hyperparameters from three numbers in [0, 1). */
  readonly draw: (u: number, v: number, w: number) => Readonly<Record<string, number>>;
  readonly create: (values: Readonly<Record<string, number>>) => GradientTransformation;
  readonly curvature?: ReturnType<typeof kroneckerCurvature<Params, Tensor>>;
}

const logUniform = (low: number, high: number, u: number): number => low * (high / low) ** u;
const example = batchAt(key(0), tensor(Uint32Array.of(0)).reshape([]));
const ofFlavour = (flavour: "expand" | "reduce"): Method => {
  const curvature = kroneckerCurvature(problem, model.init(key(0), shape), example, { flavour, fisher: "mc" });
  return {
    title: `K-FAC, ${flavour}`,
    curvature,
    draw: (u, v, w) => ({
      learningRate: logUniform(3e-3, 1, u),
      damping: logUniform(1e-4, 1, v),
      momentum: 1 - logUniform(0.05, 0.5, w),
    }),
    create: (values) =>
      kfac({ blocks: curvature.blocks, learningRate: 0.1, factorInterval: 1, inverseInterval: 10, clip: 0, ...values }),
  };
};
const methods: readonly Method[] = [
  {
    title: "AdamW",
    draw: (u, v, w) => ({
      learningRate: logUniform(1e-4, 1e-1, u),
      beta1: 1 - logUniform(0.001, 0.5, v),
      beta2: 1 - logUniform(0.001, 0.2, w),
    }),
    create: (values) => adamw(values),
  },
  ofFlavour("expand"),
  ofFlavour("reduce"),
];

interface Outcome {
  /** Undefined: the target was not reached. */
  readonly steps: number | undefined;
  readonly seconds: number;
  readonly best: number;
}

async function train(
  { create, curvature }: Method,
  values: Readonly<Record<string, number>>,
  seed: number,
): Promise<Outcome> {
  const optimizer = create(values);
  const [initial, shuffling, sampling] = [1, 2, 3].map((part) => foldIn(key(seed), part)) as [Tensor, Tensor, Tensor];
  const program = compile(
    ({ params, own }: State, refresh: Refresh): State => {
      const batch = batchAt(shuffling, own.step);
      if (curvature === undefined) {
        const lossOf = (p: Params) => crossEntropy.value(model.apply(p, batch.inputs), batch.targets).mean();
        const [, gradients] = valueAndGrad(lossOf)(params);
        const [updates, next] = optimizer.update(gradients, own, params);
        return { params: applyUpdates(params, updates), own: next };
      }
      const evaluation = curvature.evaluate(params, batch, { key: foldIn(sampling, own.step) });
      const extra = { kronecker: () => evaluation, refresh };
      const [updates, next] = optimizer.update(evaluation.gradients, own, params, extra);
      return { params: applyUpdates(params, updates), own: next };
    },
    { donate: [0] },
  );
  const start = model.init(initial, shape);
  let state: State = { params: start, own: optimizer.init(start) };
  await evaluate(treeLeaves<Tensor>(state));
  for (const refresh of [false, true] as const) await program.prepare(state, refresh);
  let [seconds, best] = [0, 0];
  let reached: number | undefined;
  for (let done = 0; done < steps && reached === undefined; done += interval) {
    const from = performance.now();
    for (let step = done; step < done + interval; step++) state = program(state, optimizer.refreshesAt(step));
    await (treeLeaves<Tensor>(state.params).at(-1) as Tensor).data();
    seconds += (performance.now() - from) / 1000;
    const parts = testBatches.map((batch) => accuracyOf(state.params, batch));
    const values = await Promise.all(parts.map((part) => part.item()));
    const accuracy = values.reduce((sum, value) => sum + value, 0) / values.length;
    best = Math.max(best, Number.isFinite(accuracy) ? accuracy : 0);
    if (accuracy >= target) reached = done + interval;
  }
  program.dispose();
  return { steps: reached, seconds, best };
}

const rank = ({ steps: own, best }: Outcome): number => (own === undefined ? steps + 1 + (1 - best) : own);
const quartile = (sorted: readonly number[], share: number): number => {
  const at = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)] as number, sorted[Math.ceil(at)] as number];
  return low + (at - Math.floor(at)) * (high - low);
};
const shown = (value: number): string => (Number.isFinite(value) ? value.toFixed(0) : "never");

/** Points that fill the unit cube evenly: fractional parts of multiples of the powers of a root of x⁴ = x + 1. */
const point = (index: number): readonly [number, number, number] =>
  [0.8191725134, 0.6710436067, 0.5497004779].map((step) => (0.5 + index * step) % 1) as [number, number, number];

const rows: string[][] = [];
for (const method of methods) {
  const trials: { readonly values: Readonly<Record<string, number>>; readonly rank: number }[] = [];
  for (let index = 1; index <= draws; index++) {
    const values = method.draw(...point(index));
    let total = 0;
    for (const seed of tuningSeeds) total += rank(await train(method, values, seed));
    trials.push({ values, rank: total });
  }
  const { values } = trials.reduce((best, other) => (other.rank < best.rank ? other : best));
  const outcomes: Outcome[] = [];
  for (let seed = 43; seed < 43 + seedCount; seed++) outcomes.push(await train(method, values, seed));
  const sorted = outcomes.map(({ steps: own }) => own ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
  const times = outcomes.map(({ seconds }) => seconds).sort((a, b) => a - b);
  const count = outcomes.filter(({ steps: own }) => own !== undefined).length;
  const setting = Object.entries(values).map(([own, value]) => `${own} ${value.toPrecision(3)}`);
  rows.push([
    method.title,
    setting.join(", "),
    `${count} of ${seedCount}`,
    `${shown(quartile(sorted, 0.5))} (${shown(quartile(sorted, 0.25))} – ${shown(quartile(sorted, 0.75))})`,
    quartile(times, 0.5).toFixed(1),
  ]);
  console.log(rows.at(-1)?.join(" | "));
}
const table = markdownTable(["method", "chosen", "reached", `steps to ${100 * target} % (quartiles)`, "seconds"], rows);
const text = `\n## ${name}\n\n${draws} draws, looked for every ${interval} steps, at most ${steps}, batch ${batchSize}, ${device.adapter.description}.\n\n${table}\n`;
writeSection(
  new URL("../../../docs/curvature/training.md", import.meta.url).pathname,
  name,
  text,
  "# K-FAC against AdamW\n\nWritten by `packages/bench/bench/kfac.bench.ts`, which says how.\n",
);
process.exit(0);
