// Milliseconds of sorting, cumulative sums, scattering and linear algebra, by the GPU's own clock where it has one.
//
//   node --import ./scripts/run-sources.mjs packages/tensor/bench/linalg.bench.ts [runs] [part of a name]
//
// Cumulative sums and sorts stand beside a copy of the same elements, Cholesky factors and inverse roots beside a matrix
// product of the same extent, and scattering beside comparing every index with every row, which small sizes do: where
// the two meet is the threshold in primitives/gather.ts. All cases run in turn, so that a drifting clock hits all alike.
import { compile, init, key, linalg, type Program, randomBits, type Tensor, uniform } from "@thalweg/tensor";

const runs = Number(process.argv[2] ?? 5);
const wanted = process.argv[3] ?? "";
const device = await init();
const { isSoftware } = device.adapter;

interface Case {
  readonly name: string;
  readonly program: Program<readonly Tensor[], readonly Tensor[]>;
  readonly inputs: readonly Tensor[];
  readonly times: number[];
  dispatches: number;
}

const cases: Case[] = [];

function bench(name: string, fn: (...inputs: Tensor[]) => readonly Tensor[], ...inputs: Tensor[]): void {
  if (!name.includes(wanted)) return;
  const program = compile(fn as (...inputs: readonly Tensor[]) => readonly Tensor[]);
  cases.push({ name, program, inputs, times: [], dispatches: 0 });
}

const random = (...shape: number[]): Tensor => uniform(key(shape.length), shape, { low: -1, high: 1 });

for (const elements of isSoftware ? [2 ** 18] : [2 ** 20, 2 ** 24]) {
  const x = random(elements);
  const rows = x.reshape([elements / 1024, 1024]);
  bench(`copy [${elements}]`, (a) => [(a as Tensor).add(1)], x);
  bench(`cumsum [${elements}]`, (a) => [(a as Tensor).cumsum({ axis: 0 })], x);
  bench(`cumsum [${elements / 1024}, 1024]`, (a) => [(a as Tensor).cumsum({ axis: 1 })], rows);
  bench(`cumsum of columns [${elements / 1024}, 1024]`, (a) => [(a as Tensor).cumsum({ axis: 0 })], rows);
  bench(`sort [${elements}]`, (a) => [(a as Tensor).sort({ axis: 0 })], x);
  bench(`sort [${elements / 1024}, 1024]`, (a) => [(a as Tensor).sort({ axis: 1 })], rows);
  bench(`ten largest of [${elements}]`, (a) => [(a as Tensor).topK(10, { axis: 0 }).values], x);
}

/** What scattering is without sorting. */
function compared(updates: Tensor, indices: Tensor, extent: number): Tensor {
  const [count, width] = updates.shape as [number, number];
  const spread = [extent, width, count];
  const target = indices.reshape([1, 1, count]).expand(spread);
  const rows = updates.transpose().expandDims(0).expand(spread);
  return target.iotaLike(0, "i32").equal(target).where(rows, 0).sum({ axis: 2 });
}

for (const [count, extent, width] of [
  [64, 32, 16],
  [256, 64, 64],
  [1024, 32, 64],
  [1024, 128, 64],
  [8192, 17, 64],
  [8192, 100, 128],
  ...(isSoftware ? [] : [[65_536, 32_768, 256] as const]),
] as const) {
  const updates = random(count, width);
  const indices = randomBits(key(3), [count]).rem(extent).cast("i32");
  const name = `[${count}, ${width}] into ${extent} rows`;
  bench(`scatter ${name}`, (a, at) => [(a as Tensor).scatterSum(at as Tensor, { axis: 0, extent })], updates, indices);
  if (count * extent * width > 2 ** (isSoftware ? 27 : 34)) continue;
  bench(`compare ${name}`, (a, at) => [compared(a as Tensor, at as Tensor, extent)], updates, indices);
}

for (const [count, extent] of isSoftware
  ? ([
      [1, 64],
      [16, 64],
      [1, 256],
    ] as const)
  : ([
      [1, 64],
      [64, 64],
      [1, 512],
      [1, 2048],
    ] as const)) {
  const x = random(count, extent, extent);
  const definite = x.matmul(x.transpose()).mul(1 / extent);
  const shape = `[${count}, ${extent}, ${extent}]`;
  bench(`product ${shape}`, (a) => [(a as Tensor).matmul(a as Tensor)], x);
  bench(`Cholesky ${shape}`, (a) => [linalg.cholesky(a as Tensor)], definite);
  bench(`triangular solve ${shape}`, (a) => [linalg.triangularSolve(a as Tensor, a as Tensor)], definite.add(1));
  bench(`inverse fourth root ${shape}`, (a) => [linalg.inverseRoot(a as Tensor, 4).root], definite);
  bench(`orthogonalize ${shape}`, (a) => [linalg.orthogonalize(a as Tensor)], x);
  if (extent <= 512) bench(`eigenvectors ${shape}`, (a) => [linalg.eigh(a as Tensor).vectors], definite);
}

for (let run = 0; run <= runs; run++) {
  for (const own of cases) {
    const { result, rows } = await own.program.profile(...own.inputs);
    own.dispatches = own.program.statistics().dispatches;
    for (const tensor of result) tensor.dispose();
    // The first run compiles.
    if (run > 0) own.times.push(rows.reduce((sum, row) => sum + row.ns, 0) / 1e6);
  }
}

console.log(`${device.adapter.description}, ${runs} runs`);
for (const { name, times, dispatches } of cases) {
  const median = times.sort((a, b) => a - b)[times.length >> 1] ?? Number.NaN;
  console.log(`${name.padEnd(52)} ${median.toFixed(3).padStart(10)} ms ${String(dispatches).padStart(5)} dispatches`);
}
device.destroy();
