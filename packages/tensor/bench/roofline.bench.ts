// How close kernels come to what the adapter can do.
//
//   node --import ./scripts/run-sources.mjs packages/tensor/bench/roofline.bench.ts [options]
//
//   --json FILE          also write the results, for docs/performance/*.json
//   --size small|large   extents of the cases; default: small on software adapters, where it takes about a minute
//   --runs N             timed runs of every case, of which the median counts; default 7
//   --only TEXT          cases with that text in their name
//   --tune               measure variants of kernels first, and use the fastest
//
// First the ceilings: bytes per second of a copy (read and written), multiply-adds per second of a loop in registers, the
// time of a dispatch and of a submission with its readback. Then kernels: the time that the ceilings allow, from the
// operations and bytes that the result needs at least, over the time that it took. Times are the sum over the kernels by the
// GPU's own clock, or by the host's over batches of calls where the adapter has no timestamps.
//
// The file: { kind: "roofline", adapter, date, versions, timing, ceilings, rows }, where a row is
// { case, ms, msQuartiles, gflops, gbps, percentOfCeiling, ceiling, kernels }.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { vjp } from "@thalweg/autograd";
import { scaledDotProductAttention } from "@thalweg/nn";
import {
  compile,
  conv,
  type Device,
  init,
  key,
  type PipelineSpec,
  type Program,
  softmax,
  standardize,
  type Tensor,
  uniform,
} from "@thalweg/tensor";
import manifest from "../package.json" with { type: "json" };

/** What the adapter reaches with kernels that do nothing else. */
interface Ceilings {
  /** Bytes read plus bytes written, 10^9 per second. */
  readonly copyGbps: number;
  /** A multiply-add counts as two, 10^9 per second. */
  readonly fmaGflops: number;
  /** Of one dispatch among many that wait for each other. */
  readonly dispatchMicroseconds: number;
  /** From handing over a tiny kernel to having its result on the host. */
  readonly roundTripMicroseconds: number;
}

/** One case. Operations and bytes are what the result needs at least, whatever the kernels do. */
interface Row {
  readonly case: string;
  readonly ms: number;
  readonly msQuartiles: readonly [number, number];
  readonly gflops: number;
  readonly gbps: number;
  /** Time that the ceilings allow over time taken. */
  readonly percentOfCeiling: number;
  /** The ceiling that allows less. */
  readonly ceiling: "arithmetic" | "memory";
  /** Kernels of one call. */
  readonly kernels: number;
}

interface Case {
  readonly name: string;
  readonly fn: (...inputs: readonly Tensor[]) => Tensor;
  readonly shapes: readonly (readonly number[])[];
  readonly flops: number;
  readonly bytes: number;
}

// The globals with these numbers are missing in Node.
const bufferUsage = { queryResolve: 0x200, copySource: 0x4 };

const { values: options } = parseArgs({
  options: {
    json: { type: "string" },
    size: { type: "string" },
    runs: { type: "string", default: "7" },
    only: { type: "string", default: "" },
    tune: { type: "boolean", default: false },
  },
});
const runs = Number(options.runs);
const device = await init({ tune: options.tune, notice: () => undefined });
const isLarge = (options.size ?? (device.adapter.isSoftware ? "small" : "large")) === "large";
const hasTimestamps = device.features.has("timestamp-query");
const { adapter } = device;
const adapterName = adapter.description || `${adapter.vendor} ${adapter.architecture}`.trim() || "unknown adapter";

console.log(`${adapterName}, ${isLarge ? "large" : "small"} cases, median of ${runs} runs, ${timing()}`);
const ceilings = await measureCeilings(device);
console.log(`copy            ${ceilings.copyGbps.toFixed(1)} GB/s (read and written)`);
console.log(`multiply-add    ${ceilings.fmaGflops.toFixed(1)} GFLOPS`);
console.log(`dispatch        ${ceilings.dispatchMicroseconds.toFixed(2)} us`);
console.log(`submit and read ${ceilings.roundTripMicroseconds.toFixed(0)} us\n`);

const header = ["case", "ms", "GFLOPS", "GB/s", "of ceiling", "kernels"];
const print = ([name = "", ...cells]: readonly string[]) =>
  console.log([name.padEnd(52), ...cells.map((cell) => cell.padStart(10))].join(" "));
print(header);
const rows: Row[] = [];
for (const own of cases(isLarge)) {
  if (!own.name.includes(options.only)) continue;
  const row = await measure(own);
  rows.push(row);
  const percent = `${row.percentOfCeiling.toFixed(0)} % ${row.ceiling === "memory" ? "mem" : "fma"}`;
  print([row.case, row.ms.toFixed(3), row.gflops.toFixed(1), row.gbps.toFixed(1), percent, String(row.kernels)]);
}
if (options.json !== undefined) {
  const { vendor, architecture, device: gpu, description, isSoftware } = adapter;
  const results = {
    kind: "roofline",
    adapter: { name: adapterName, vendor, architecture, device: gpu, description, isSoftware },
    date: new Date().toISOString().slice(0, 10),
    versions: { thalweg: manifest.version },
    timing: timing(),
    ceilings,
    rows,
  };
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  console.log(`\nwrote ${options.json}`);
}
device.destroy();

function timing(): string {
  return `${hasTimestamps ? "the adapter's clock" : "the host's clock"}, ${options.tune ? "tuned" : "not tuned"}`;
}

/** The cases, of which the small ones are for adapters that compute on the CPU. */
function cases(isLarge: boolean): Case[] {
  const mb = (elements: number) => 4 * elements;
  const first = (x?: Tensor) => x as Tensor;
  const matmul = (name: string, m: number, k: number, n: number, transposed?: "a" | "b"): Case => ({
    name,
    fn: (a, b) => (transposed === "a" ? first(a).T : first(a)).dot(transposed === "b" ? first(b).T : first(b)),
    shapes: [transposed === "a" ? [k, m] : [m, k], transposed === "b" ? [n, k] : [k, n]],
    flops: 2 * m * n * k,
    bytes: mb(m * k + k * n + m * n),
  });

  const squares = isLarge ? [256, 512, 1024, 2048, 4096] : [64, 128, 256, 512];
  const [batch, extent, channels] = isLarge ? [32, 56, 128] : [8, 14, 32];
  const image = [batch, extent, extent, channels];
  const kernel = [3, 3, channels, channels];
  const pixels = batch * extent * extent;
  const convolution = {
    flops: 2 * pixels * 9 * channels * channels,
    bytes: mb(2 * pixels * channels + 9 * channels * channels),
  };
  const same = (x: Tensor, w: Tensor) => conv(x, w, { padding: "same" });
  const named = `3x3, ${channels} channels, ${extent}x${extent}, batch ${batch}`;

  const elements = isLarge ? 2 ** 25 : 2 ** 20;
  const [tall, wide] = isLarge ? [8192, 4096] : [1024, 1024];
  const [tokens, features] = isLarge ? [32_768, 1024] : [1024, 512];
  const [sequences, length, heads, width] = isLarge ? [8, 1024, 8, 64] : [2, 128, 4, 32];
  const lines = (name: string, fn: Case["fn"], shape: readonly number[], written: number): Case => {
    const size = shape.reduce((product, own) => product * own, 1);
    return { name, fn, shapes: [shape], flops: size, bytes: mb(size + written) };
  };
  return [
    ...squares.map((n) => matmul(`matmul ${n}`, n, n, n)),
    matmul(`matmul ${squares.at(-2)}, a transposed`, ...cube(squares.at(-2) as number), "a"),
    matmul(`matmul ${squares.at(-2)}, b transposed`, ...cube(squares.at(-2) as number), "b"),
    matmul(`matrix vector ${isLarge ? 8192 : 1024}`, isLarge ? 8192 : 1024, isLarge ? 8192 : 1024, 1),
    matmul(`matmul as large as the convolution`, pixels, 9 * channels, channels),
    { name: `conv ${named}`, fn: (x, w) => same(first(x), first(w)), shapes: [image, kernel], ...convolution },
    {
      name: `conv input gradient ${named}`,
      fn: (x, w, g) => vjp((own: Tensor) => same(own, first(w)), first(x))[1](first(g))[0],
      shapes: [image, kernel, image],
      ...convolution,
    },
    {
      name: `conv kernel gradient ${named}`,
      fn: (x, w, g) => vjp((own: Tensor) => same(first(x), own), first(w))[1](first(g))[0],
      shapes: [image, kernel, image],
      ...convolution,
    },
    {
      name: `add ${elements}`,
      fn: (x, y) => first(x).add(first(y)),
      shapes: [[elements], [elements]],
      flops: elements,
      bytes: mb(3 * elements),
    },
    {
      name: `chain of 6 operations ${elements}`,
      fn: (x) => first(x).mul(1.5).add(0.25).relu().square().sub(0.5).abs(),
      shapes: [[elements]],
      flops: 6 * elements,
      bytes: mb(2 * elements),
    },
    lines(`sum of rows ${tall}x${wide}`, (x) => first(x).sum({ axis: 1 }), [tall, wide], tall),
    lines(`sum of columns ${tall}x${wide}`, (x) => first(x).sum({ axis: 0 }), [tall, wide], wide),
    lines(`sum of all ${tall}x${wide}`, (x) => first(x).sum(), [tall, wide], 1),
    lines(`softmax ${tokens}x${features}`, (x) => softmax(first(x)), [tokens, features], tokens * features),
    lines(
      `layer norm ${tokens}x${features}`,
      (x) => standardize(first(x), { axis: -1 }),
      [tokens, features],
      tokens * features,
    ),
    {
      name: `attention ${length}, ${heads} heads of ${width}, batch ${sequences}`,
      fn: (q, k, v) => scaledDotProductAttention(first(q), first(k), first(v)),
      shapes: [0, 1, 2].map(() => [sequences, length, heads, width]),
      flops: 4 * sequences * heads * length * length * width,
      bytes: mb(4 * sequences * heads * length * width),
    },
  ];
}

function cube(n: number): [number, number, number] {
  return [n, n, n];
}

async function measure({ name, fn, shapes, flops, bytes }: Case): Promise<Row> {
  const inputs = shapes.map((shape, index) => uniform(key(index), shape, { low: -1, high: 1 }));
  const program = compile(fn, { device, name });
  await program.prepare(...inputs);
  const times: number[] = [];
  const once = hasTimestamps ? timeByKernels : timeByCalls;
  // Caches fill, clocks rise, and some drivers compile at the first dispatch.
  for (let run = -3; run < runs; run++) {
    const ms = await once(program, inputs);
    if (run >= 0 && Number.isFinite(ms)) times.push(ms);
  }
  const [lower, ms, upper] = quartiles(times);
  const arithmetic = flops / (ceilings.fmaGflops * 1e6);
  const memory = bytes / (ceilings.copyGbps * 1e6);
  const kernels = program.statistics().dispatches;
  program.dispose();
  for (const input of inputs) input.dispose();
  return {
    case: name,
    ms,
    msQuartiles: [lower, upper],
    gflops: flops / (ms * 1e6),
    gbps: bytes / (ms * 1e6),
    percentOfCeiling: (100 * Math.max(arithmetic, memory)) / ms,
    ceiling: arithmetic > memory ? "arithmetic" : "memory",
    kernels,
  };
}

/** Milliseconds of the kernels of one call. */
async function timeByKernels(program: Program<readonly Tensor[], Tensor>, inputs: readonly Tensor[]): Promise<number> {
  const { result, rows } = await program.profile(...inputs);
  result.dispose();
  return rows.reduce((sum, { ns }) => sum + ns, 0) / 1e6;
}

/** Milliseconds of one call among several. */
async function timeByCalls(program: Program<readonly Tensor[], Tensor>, inputs: readonly Tensor[]): Promise<number> {
  const run = async (count: number): Promise<number> => {
    const start = performance.now();
    for (let call = 0; call < count; call++) program(...inputs).dispose();
    await device.idle();
    return (performance.now() - start) / count;
  };
  const single = await run(1);
  return run(Math.min(200, Math.max(1, Math.ceil(50 / single))));
}

function quartiles(values: readonly number[]): [number, number, number] {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (quantile: number) => sorted[Math.round(quantile * (sorted.length - 1))] ?? Number.NaN;
  return [at(0.25), at(0.5), at(0.75)];
}

async function measureCeilings(device: Device): Promise<Ceilings> {
  const { isSoftware } = device.adapter;
  const bytes = isSoftware ? 2 ** 24 : Math.min(2 ** 28, device.limits.maxStorageBufferBindingSize);
  const from = device.pool.allocate(bytes, "source");
  const to = device.pool.allocate(bytes, "destination");
  const range = ({ buffer, byteOffset }: typeof from, size = bytes) => ({ buffer, offset: byteOffset, size });
  const workgroupSize = isSoftware ? 64 : 256;

  const copies: number[] = [];
  for (const vectors of [1, 2, 4]) {
    const groups = bytes / 16 / workgroupSize / vectors;
    const grid = [Math.min(groups, 32_768), Math.ceil(groups / 32_768)] as const;
    const spec = copyKernel(workgroupSize, vectors);
    const ns = await timeKernel(device, spec, [range(from), range(to)], grid, 1);
    copies.push((2 * bytes) / ns);
  }

  const rates: number[] = [];
  const iterations = isSoftware ? 512 : 4096;
  const groups = isSoftware ? 64 : 4096;
  for (const accumulators of [4, 8, 12]) {
    for (const form of ["fma(x, scale, shift)", "x * scale + shift"]) {
      const spec = arithmeticKernel(workgroupSize, accumulators, iterations, form);
      const ns = await timeKernel(device, spec, [range(from, 256), range(to)], [groups, 1], 1);
      rates.push((2 * 4 * accumulators * iterations * workgroupSize * groups) / ns);
    }
  }

  const tiny = tinyKernel();
  const small = [range(to, 256)];
  const many = 1000;
  const perDispatch = (await timeKernel(device, tiny, small, [1, 1], many)) / many;
  const trips: number[] = [];
  for (let trip = 0; trip < 20; trip++) {
    const start = performance.now();
    await encode(device, tiny, small, [1, 1], 1);
    await device.read(to.buffer, to.byteOffset, 4);
    trips.push(performance.now() - start);
  }
  from.release();
  to.release();
  return {
    copyGbps: Math.max(...copies),
    fmaGflops: Math.max(...rates),
    dispatchMicroseconds: perDispatch / 1000,
    roundTripMicroseconds: quartiles(trips)[1] * 1000,
  };
}

type Ranges = Parameters<Device["bindGroup"]>[1];

async function encode(
  device: Device,
  spec: PipelineSpec,
  ranges: Ranges,
  [x, y]: readonly [number, number],
  dispatches: number,
  timestampWrites?: GPUComputePassTimestampWrites,
): Promise<void> {
  const pipeline = await device.pipelineAsync(spec);
  const group = device.bindGroup(spec, ranges, spec.label);
  const encoder = device.gpu.createCommandEncoder();
  const pass = encoder.beginComputePass(timestampWrites === undefined ? {} : { timestampWrites });
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  for (let dispatch = 0; dispatch < dispatches; dispatch++) pass.dispatchWorkgroups(x, y);
  pass.end();
  device.submit([encoder.finish()]);
}

/** Nanoseconds of a pass: the shortest of some, which for a ceiling is what counts. */
async function timeKernel(
  device: Device,
  spec: PipelineSpec,
  ranges: Ranges,
  grid: readonly [number, number],
  dispatches: number,
): Promise<number> {
  const times: number[] = [];
  const queries = hasTimestamps ? device.gpu.createQuerySet({ type: "timestamp", count: 2 }) : undefined;
  const ticks = device.gpu.createBuffer({ size: 256, usage: bufferUsage.queryResolve | bufferUsage.copySource });
  for (let run = 0; run < runs + 2; run++) {
    const start = performance.now();
    if (queries === undefined) {
      await encode(device, spec, ranges, grid, dispatches);
      await device.idle();
      times.push((performance.now() - start) * 1e6);
      continue;
    }
    const timestampWrites = { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    await encode(device, spec, ranges, grid, dispatches, timestampWrites);
    const encoder = device.gpu.createCommandEncoder();
    encoder.resolveQuerySet(queries, 0, 2, ticks, 0);
    device.submit([encoder.finish()]);
    const [begin = 0n, end = 0n] = new BigUint64Array(await device.read(ticks, 0, 16));
    // A real clock may go backwards between two passes.
    if (end > begin) times.push(Number(end - begin));
  }
  queries?.destroy();
  ticks.destroy();
  return Math.min(...times);
}

function copyKernel(workgroupSize: number, vectors: number): PipelineSpec {
  const line = (index: number) =>
    `  result[base + ${index * workgroupSize}u] = source[base + ${index * workgroupSize}u];`;
  return {
    label: `copy_${vectors}`,
    workgroupSize: [workgroupSize],
    bindings: ["read", "read_write"],
    code: `
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>;
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let base = (group.y * 32768u + group.x) * ${workgroupSize * vectors}u + local;
${Array.from({ length: vectors }, (_, index) => line(index)).join("\n")}
}
`,
  };
}

/** Independent chains of multiply-adds on vectors of four; what they start from and use is not known to the compiler. */
function arithmeticKernel(workgroupSize: number, accumulators: number, iterations: number, form: string): PipelineSpec {
  const each = (line: (index: number) => string) => Array.from({ length: accumulators }, (_, i) => line(i)).join("\n");
  return {
    label: `multiply_add_${accumulators}`,
    workgroupSize: [workgroupSize],
    bindings: ["read", "read_write"],
    code: `
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>;
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let scale = source[0] * 0.5 + 0.25;
  let shift = source[1] + 0.125;
${each((i) => `  var x${i} = source[${i % 4}] + vec4<f32>(f32(local) * ${i + 1}.0);`)}
  for (var i = 0; i < ${iterations}; i++) {
${each((i) => `    x${i} = ${form.replace("x", `x${i}`)};`)}
  }
  result[group.x * ${workgroupSize}u + local] = ${Array.from({ length: accumulators }, (_, i) => `x${i}`).join(" + ")};
}
`,
  };
}

/** Reads and writes one word, so that every dispatch waits for the one before it. */
function tinyKernel(): PipelineSpec {
  return {
    label: "tiny",
    workgroupSize: [1],
    bindings: ["read_write"],
    code: `
@group(0) @binding(0) var<storage, read_write> result: array<u32>;
@compute @workgroup_size(1)
fn main() { result[0] = result[0] + 1u; }
`,
  };
}
