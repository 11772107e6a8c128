// Products of a tensor with itself, in times of the same product of two tensors.
//
//   node --import ./scripts/run-sources.mjs packages/tensor/bench/gram.bench.ts [runs]
//
// On a software adapter, times are those of the process on all processors, in which other processes do not count.
import { compile, evaluate, init, key, type Tensor, uniform } from "@thalweg/tensor";
import { planWindows, unfold } from "../src/composites/window";

const runs = Number(process.argv[2] ?? 7);
const device = await init();

function clock(): number {
  if (!device.adapter.isSoftware) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function time(call: () => Tensor): Promise<number> {
  const start = clock();
  const result = call();
  await result.data();
  const elapsed = clock() - start;
  result.dispose();
  return elapsed;
}

const gram = (x: Tensor, y: Tensor): Tensor => x.dot(y, { contract: [[0], [0]] });

/** Products of pairs of taps of windows with padding, `[taps, taps, channels, taps, taps, channels]`. */
const windows = (taps: number) => (x: Tensor, y: Tensor) => {
  const axes = planWindows("gram", x.shape, 1, [taps, taps], { stride: 1, dilation: 1, padding: "same" });
  const [left, right] = [unfold(x, 1, axes).view, x === y ? undefined : unfold(y, 1, axes).view];
  const summed = [0, 1, 3];
  return left.dot(right ?? left, { contract: [summed, summed] });
};

const cases: readonly (readonly [string, readonly number[], (x: Tensor, y: Tensor) => Tensor])[] = [
  ["128 rows of 1000", [128, 1000], gram],
  ["128 rows of 1001", [128, 1001], gram],
  ["8192 rows of 192", [8192, 192], gram],
  ["3 x 3 over 32 x 32, 16 channels", [16, 32, 32, 16], windows(3)],
  ["3 x 3 over 16 x 16, 32 channels", [16, 16, 16, 32], windows(3)],
  ["3 x 3 over 8 x 8, 64 channels", [32, 8, 8, 64], windows(3)],
  ["5 x 5 over 14 x 14, 32 channels", [16, 14, 14, 32], windows(5)],
];

console.log(`${device.adapter.description}, shortest of ${runs} runs.\n`);
console.log("| product | with itself | operations |\n| --- | --- | --- |");
for (const [name, shape, product] of cases) {
  const [x, y] = [uniform(key(0), shape), uniform(key(1), shape)];
  await evaluate([x, y]);
  const own = compile((a: Tensor) => product(a, a));
  const other = compile(product);
  const calls = [() => own(x), () => other(x, y)] as const;
  for (const call of calls) await time(call);
  const times = calls.map((): number[] => []);
  for (let run = 0; run < runs; run++) {
    for (const [index, call] of calls.entries()) times[index]?.push(await time(call));
  }
  const [alone, both] = times.map((list) => Math.min(...list)) as [number, number];
  const [few, all] = [own, other].map((program) =>
    program.statistics().kernels.reduce((sum, kernel) => sum + kernel.flops, 0),
  ) as [number, number];
  console.log(`| ${name} | ${(alone / both).toFixed(2)} | ${(few / all).toFixed(2)} |`);
  own.dispose();
  other.dispose();
}
process.exit(0);
