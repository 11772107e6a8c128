// GB/s of reductions and normalizations beside a copy in the same run, by the GPU's own clock.
//
//   node --import ./scripts/run-sources.mjs packages/tensor/bench/rows.bench.ts [runs] [elements]
//
// Bytes are those of inputs and results, once each: what a perfect kernel would move. A case that reads its input twice
// can reach two thirds of the copy's rate. `elements` is the size of every tensor: far larger than the caches of a GPU,
// or it measures those; the default suits CPU adapters. All cases are run in turn, so that a drifting clock hits all
// alike. To run it on another machine, bundle it: it imports nothing but the engine.
import {
  compile,
  defaultDevice,
  init,
  key,
  logSoftmax,
  type Program,
  softmax,
  type Tensor,
  uniform,
} from "@thalweg/tensor";

const runs = Number(process.argv[2] ?? 7);
const device = await init();
const elements = Number(process.argv[3] ?? (device.adapter.isSoftware ? 2 ** 20 : 2 ** 25));
const random = (...shape: number[]): Tensor => uniform(key(shape.length), shape, { low: -1, high: 1 });

interface Case {
  readonly name: string;
  readonly program: Program<readonly Tensor[], readonly Tensor[]>;
  readonly inputs: readonly Tensor[];
  readonly rates: number[];
  kernels: string;
}

const bench = (name: string, fn: (...inputs: Tensor[]) => readonly Tensor[], ...inputs: Tensor[]): Case => ({
  name,
  program: compile(fn as (...inputs: readonly Tensor[]) => readonly Tensor[]),
  inputs,
  rates: [],
  kernels: "",
});

/** (x - mean) / deviation and its derivative for a cotangent, over axes. */
function normalized(x: Tensor, axis: number | readonly number[]): { readonly y: Tensor; readonly scale: Tensor } {
  const scale = x.variance({ axis, keepDims: true }).add(1e-5).rsqrt();
  return { y: x.sub(x.mean({ axis, keepDims: true })).mul(scale), scale };
}

function normalizedBackward(x: Tensor, g: Tensor, axis: number | readonly number[]): Tensor {
  const { y, scale } = normalized(x, axis);
  const along = y.mul(g.mul(y).mean({ axis, keepDims: true }));
  return g
    .sub(g.mean({ axis, keepDims: true }))
    .sub(along)
    .mul(scale);
}

function crossEntropy(x: Tensor, labels: Tensor): readonly Tensor[] {
  const hot = x.iotaLike(1).equal(labels.expandDims(1));
  const logs = logSoftmax(x);
  const gradient = logs
    .exp()
    .sub(hot.cast("f32"))
    .mul(1 / (x.shape[0] as number));
  return [hot.where(logs, 0).sum({ axis: 1 }).neg(), gradient];
}

const cases = [bench("copy", (x) => [x.add(1)], random(elements))];
for (const length of [32, 128, 1024, 8192, 65_536].filter((own) => own <= elements / 4)) {
  const rows = elements / length;
  const [x, g] = [random(rows, length), random(rows, length)];
  const size = `[${rows}, ${length}]`;
  const labels = uniform(key(5), [rows]).mul(length).cast("i32");
  cases.push(
    bench(`sums of rows ${size}`, (a) => [(a as Tensor).sum({ axis: 1 })], x),
    bench(`sums of columns ${size}`, (a) => [(a as Tensor).sum({ axis: 0 })], x),
    bench(`softmax ${size}`, (a) => [softmax(a as Tensor)], x),
    bench(`cross entropy and gradient ${size}`, (a, b) => crossEntropy(a as Tensor, b as Tensor), x, labels),
    bench(`layer norm ${size}`, (a) => [normalized(a as Tensor, 1).y], x),
    bench(`layer norm, gradient ${size}`, (a, b) => [normalizedBackward(a as Tensor, b as Tensor, 1)], x, g),
  );
}
for (const channels of [16, 64, 256]) {
  const [x, g] = [random(elements / channels, channels), random(elements / channels, channels)];
  const size = `[${elements / channels}, ${channels}]`;
  cases.push(
    bench(`batch norm ${size}`, (a) => [normalized(a as Tensor, 0).y], x),
    bench(`batch norm, gradient ${size}`, (a, b) => [normalizedBackward(a as Tensor, b as Tensor, 0)], x, g),
  );
}
cases.push(
  bench("sum of everything", (x) => [(x as Tensor).sum()], random(elements)),
  bench("variance of everything", (x) => [(x as Tensor).variance()], random(elements)),
);

for (let run = 0; run <= runs; run++) {
  for (const own of cases) {
    const { result, rows } = await own.program.profile(...own.inputs);
    own.kernels = rows.map(({ label }) => label).join(", ");
    const bytes = [...own.inputs, ...result].reduce((sum, { size }) => sum + 4 * size, 0);
    for (const tensor of result) tensor.dispose();
    // The first run compiles.
    if (run === 0) continue;
    own.rates.push(bytes / rows.reduce((sum, row) => sum + row.ns, 0));
  }
}

const median = (rates: readonly number[]): number => [...rates].sort((a, b) => a - b)[rates.length >> 1] ?? Number.NaN;
const copy = median((cases[0] as Case).rates);
console.log(`${device.adapter.description}, ${runs} runs, ${elements} elements`);
for (const { name, rates, kernels } of cases) {
  const own = median(rates);
  const share = `${((100 * own) / copy).toFixed(0)} %`;
  console.log(`${name.padEnd(44)} ${own.toFixed(2).padStart(8)} GB/s ${share.padStart(6)} of copy   ${kernels}`);
}
defaultDevice()?.destroy();
