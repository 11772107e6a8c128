// What per-sample quantities and Kronecker factors cost beside the gradient, and how much memory they take.
//
//   node --import ./scripts/run-sources.mjs packages/curvature/bench/cost.bench.ts [batch] [runs] [nets] [--write]
//       [--gpu] [--without reorder]
//
// Every program computes the gradient and one quantity from one graph; its time is divided by that of the usual loss and
// gradient, which run in turn with it. Operations and memory are those of the plan, so they are exact and the same on every
// run; with 0 runs they are all there is, and nothing is computed. `nets` are names joined with commas: mlp, 2c2d, 3c3d, resnet20, vit. With --write their tables go into
// docs/curvature/cost.md, where BackPACK's figures stand beside them; those of other nets stay as they are. With 0 runs, --gpu
// plans for a GPU with this adapter's limits, and --without leaves out a pass of the compiler.
//
// On a software adapter, times are those of the process on all processors, in which other processes do not count.
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { valueAndGrad } from "@thalweg/autograd";
import {
  type CurvatureProblem,
  crossEntropy,
  type KroneckerOptions,
  kroneckerCurvature,
  perSampleGradients,
  perSampleStatistics,
} from "@thalweg/curvature";
import * as nn from "@thalweg/nn";
import { compile, evaluate, init, key, type Program, type Tensor, tensor, treeLeaves, uniform } from "@thalweg/tensor";
import { type CompileTarget, retarget } from "@thalweg/tensor/testing";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { write: { type: "boolean" }, gpu: { type: "boolean" }, without: { type: "string" } },
});
const [batch = 128, runs = 5] = positionals.slice(0, 2).map(Number);
const chosen = (positionals[2] ?? "mlp,2c2d,3c3d,resnet20,vit").split(",");
const device = await init();
if (runs === 0) {
  const without = (flags.without?.split(",") ?? []) as NonNullable<CompileTarget["without"]>;
  retarget(device, { isSoftware: device.adapter.isSoftware && !flags.gpu, without });
  // What is looked at is the plan: no kernel has to be compiled.
  device.pipelineAsync = async () => ({}) as GPUComputePipeline;
}

const conv = (features: number, kernel: number, padding: "same" | "valid" = "same", stride = 1) =>
  nn.conv2d({ features, kernel, padding, stride });
const pool = (x: Tensor) => nn.maxPool({ window: 3, stride: 2, padding: "same" })(x);
const block = (features: number, stride: number) => {
  const layers = nn.sequential({
    conv1: conv(features, 3, "same", stride),
    norm1: nn.groupNorm({ groups: 8 }),
    act: nn.relu,
    conv2: conv(features, 3),
    norm2: nn.groupNorm({ groups: 8 }),
  });
  return stride === 1 ? nn.residual(layers) : layers;
};
const stage = (features: number, stride: number) =>
  nn.sequential({ a: block(features, stride), b: block(features, 1), c: block(features, 1) });
const encoder = (features: number) =>
  nn.sequential({
    attention: nn.residual(
      nn.sequential({
        norm: nn.layerNorm(),
        mix: nn.multiHeadAttention({ heads: 4, features }) as unknown as nn.Layer,
      }),
    ),
    feedForward: nn.residual(
      nn.sequential({
        norm: nn.layerNorm(),
        up: nn.dense({ features: 4 * features }),
        act: nn.gelu,
        down: nn.dense({ features }),
      }),
    ),
  });

const nets: Readonly<Record<string, { readonly shape: readonly number[]; readonly model: nn.Layer }>> = {
  mlp: {
    shape: [784],
    model: nn.sequential({
      dense1: nn.dense({ features: 1000 }),
      act1: nn.relu,
      dense2: nn.dense({ features: 500 }),
      act2: nn.relu,
      dense3: nn.dense({ features: 100 }),
      act3: nn.relu,
      head: nn.dense({ features: 10 }),
    }),
  },
  "2c2d": {
    shape: [28, 28, 1],
    model: nn.sequential({
      conv1: conv(32, 5),
      act1: nn.relu,
      pool1: pool,
      conv2: conv(64, 5),
      act2: nn.relu,
      pool2: pool,
      flatten: nn.flatten,
      dense: nn.dense({ features: 1024 }),
      act3: nn.relu,
      head: nn.dense({ features: 10 }),
    }),
  },
  "3c3d": {
    shape: [32, 32, 3],
    model: nn.sequential({
      conv1: conv(64, 5, "valid"),
      act1: nn.relu,
      pool1: pool,
      conv2: conv(96, 3, "valid"),
      act2: nn.relu,
      pool2: pool,
      conv3: conv(128, 3),
      act3: nn.relu,
      pool3: pool,
      flatten: nn.flatten,
      dense1: nn.dense({ features: 512 }),
      act4: nn.relu,
      dense2: nn.dense({ features: 256 }),
      act5: nn.relu,
      head: nn.dense({ features: 10 }),
    }),
  },
  // Group norm in place of batch norm, whose examples are not independent.
  resnet20: {
    shape: [32, 32, 3],
    model: nn.sequential({
      conv: conv(16, 3),
      norm: nn.groupNorm({ groups: 8 }),
      act: nn.relu,
      stage1: stage(16, 1),
      stage2: stage(32, 2),
      stage3: stage(64, 2),
      pool: (x: Tensor) => x.mean({ axis: [1, 2] }),
      head: nn.dense({ features: 10 }),
    }),
  },
  vit: {
    shape: [32, 32, 3],
    model: nn.sequential({
      patch: conv(192, 4, "valid", 4),
      tokens: (x: Tensor) => x.reshape([x.shape[0] as number, 64, 192]),
      block1: encoder(192),
      block2: encoder(192),
      block3: encoder(192),
      block4: encoder(192),
      norm: nn.layerNorm(),
      pool: (x: Tensor) => x.mean({ axis: 1 }),
      head: nn.dense({ features: 10 }),
    }),
  },
};

interface Examples {
  readonly inputs: Tensor;
  readonly targets: Tensor;
}

/** Multiples of the gradient that BackPACK 1.6 on PyTorch 1.13 takes (two CPU cores; mlp at batch 128, 3c3d at 32). */
const published: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  mlp: { "squared norms": 1.1, "second moment": 1.5, variance: 2, "K-FAC expand (1 draw)": 2.7 },
  "3c3d": { "squared norms": 2.2, "second moment": 4.8, variance: 7.1, "K-FAC expand (1 draw)": 7.6 },
};

function quantitiesOf(model: nn.Layer, params: object, examples: Examples) {
  const single = (p: object, { inputs, targets }: Examples): Tensor =>
    crossEntropy.value(model.apply(p, inputs.expandDims(0)), targets.expandDims(0)).sum();
  const statistics = (p: object, own: Examples) => perSampleStatistics(perSampleGradients(single, p, own));
  const problem: CurvatureProblem<object> = { model: (p, x) => model.apply(p, x), loss: crossEntropy };
  const factors = (options: KroneckerOptions) => {
    const curvature = kroneckerCurvature(problem, params, examples, options);
    return (p: object, own: Examples): unknown => {
      const { gradients, factors: all } = curvature.evaluate(p, own, { key: key(7) });
      return { gradients, all };
    };
  };
  return {
    gradient: (p: object, own: Examples): unknown => statistics(p, own).mean,
    "squared norms": (p: object, own: Examples): unknown => pick(statistics(p, own), ["mean", "squaredNorm"]),
    "second moment": (p: object, own: Examples): unknown => pick(statistics(p, own), ["mean", "secondMoment"]),
    variance: (p: object, own: Examples): unknown => pick(statistics(p, own), ["mean", "variance"]),
    "all of these": (p: object, own: Examples): unknown =>
      pick(statistics(p, own), ["mean", "squaredNorm", "secondMoment", "variance"]),
    "K-FAC reduce (empirical)": factors({ flavour: "reduce", fisher: "empirical" }),
    "K-FAC reduce (1 draw)": factors({ flavour: "reduce", fisher: "mc" }),
    "K-FAC expand (empirical)": factors({ flavour: "expand", fisher: "empirical" }),
    "K-FAC expand (1 draw)": factors({ flavour: "expand", fisher: "mc" }),
    "K-FAC reduce (1 draw, a quarter)": factors({ flavour: "reduce", fisher: "mc", examples: Math.ceil(batch / 4) }),
    "K-FAC expand (1 draw, a quarter)": factors({ flavour: "expand", fisher: "mc", examples: Math.ceil(batch / 4) }),
  };
}

const pick = <T, K extends keyof T>(from: T, names: readonly K[]): Partial<T> =>
  Object.fromEntries(names.map((name) => [name, from[name]])) as unknown as Partial<T>;

type Measured = Program<[object, Examples], unknown>;

/** Milliseconds since some moment: of the machine, or of the process where it computes itself. */
function clock(): number {
  if (!device.adapter.isSoftware) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function time(program: Measured, params: object, examples: Examples): Promise<number> {
  const start = clock();
  const leaves = treeLeaves<Tensor>(program(params, examples));
  await (leaves.at(-1) as Tensor).data();
  const elapsed = clock() - start;
  for (const leaf of leaves) leaf.dispose();
  return elapsed;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

/** What a call costs by its plan. */
function planned(program: Measured) {
  const { kernels, dispatches, bytesPeak } = program.statistics();
  return { operations: kernels.reduce((sum, { flops, runs: times }) => sum + flops * times, 0), dispatches, bytesPeak };
}

/** The lines of a net's table. */
async function measure(name: string, model: nn.Layer, shape: readonly number[]): Promise<string[]> {
  const params = model.init(key(0), { shape: [batch, ...shape] });
  const examples: Examples = {
    inputs: uniform(key(1), [batch, ...shape]),
    targets: tensor(Int32Array.from({ length: batch }, (_, index) => index % 10)),
  };
  if (runs > 0) await evaluate([...treeLeaves<Tensor>(params), examples.inputs]);
  const gradient = (p: object, own: Examples) =>
    valueAndGrad((at: object) => crossEntropy.value(model.apply(at, own.inputs), own.targets).mean())(p);
  const plain = compile(gradient) as Measured;
  const start = async (program: Measured): Promise<unknown> =>
    runs > 0 ? time(program, params, examples) : program.prepare(params, examples);
  await start(plain);
  const usual = planned(plain);
  const lines: string[] = [];
  const say = (line: string) => {
    console.log(line);
    lines.push(line);
  };
  const [gflop, mebibytes] = [(usual.operations / 1e9).toFixed(2), (usual.bytesPeak / 2 ** 20).toFixed(1)];
  say(
    `**${name}**, batch ${batch}: the gradient alone takes ${gflop} GFLOP, ${mebibytes} MiB, ${usual.dispatches} dispatches.`,
  );
  say(`${device.adapter.description}, ${runs > 0 ? `median of ${runs} runs` : "by plan only"}.`);
  say("");
  say("| beside the gradient | time | operations | memory | dispatches | BackPACK, time |");
  say("| --- | --- | --- | --- | --- | --- |");
  for (const [quantity, of] of Object.entries(quantitiesOf(model, params, examples))) {
    const both = compile(of) as Measured;
    await start(both);
    const times: number[] = [];
    for (let run = 0; run < runs; run++) {
      const alone = await time(plain, params, examples);
      times.push((await time(both, params, examples)) / alone);
    }
    const { operations, dispatches, bytesPeak } = planned(both);
    const ratios = [operations / usual.operations, bytesPeak / usual.bytesPeak].map((ratio) => ratio.toFixed(2));
    const measured = runs > 0 ? median(times).toFixed(2) : "";
    say(`| ${[quantity, measured, ...ratios, dispatches, published[name]?.[quantity] ?? ""].join(" | ")} |`);
    both.dispose();
  }
  plain.dispose();
  return lines;
}

/** Puts the lines of a net between its marks in the document. */
function write(name: string, lines: readonly string[]): void {
  const path = new URL("../../../docs/curvature/cost.md", import.meta.url);
  const text = readFileSync(path, "utf8");
  const marks = [`<!-- cost ${name} -->`, `<!-- /cost ${name} -->`];
  const [start, end] = marks.map((mark) => text.indexOf(mark)) as [number, number];
  if (start < 0 || end < start) throw new TypeError(`${path.pathname} has no ${marks.join(" … ")} to write between.`);
  writeFileSync(path, `${text.slice(0, start)}${marks[0]}\n\n${lines.join("\n")}\n\n${text.slice(end)}`);
}

for (const name of chosen) {
  const net = nets[name];
  if (net === undefined) throw new TypeError(`There is no net "${name}". Known: ${Object.keys(nets).join(", ")}.`);
  const lines = await measure(name, net.model, net.shape);
  if (flags.write) write(name, lines);
}
process.exit(0);
