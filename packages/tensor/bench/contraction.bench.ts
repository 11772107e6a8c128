// GFLOPS of contractions and convolutions as they occur in training steps, by the GPU's own clock.
//
//   node --import ./scripts/run-sources.mjs packages/tensor/bench/contraction.bench.ts [runs]
//
// Every case is one compiled program; all are run in turn, `runs` times, so that a drifting clock hits all alike.
import { compile, conv, defaultDevice, init, key, type Program, type Tensor, uniform } from "@thalweg/tensor";

const runs = Number(process.argv[2] ?? 7);
const device = await init();
const random = (...shape: number[]): Tensor => uniform(key(shape.length), shape, { low: -1, high: 1 });

interface Case {
  readonly name: string;
  readonly program: Program<readonly Tensor[], Tensor>;
  readonly inputs: readonly Tensor[];
  readonly rates: number[];
}

const bench = (name: string, fn: (...inputs: readonly Tensor[]) => Tensor, ...inputs: Tensor[]): Case => ({
  name,
  program: compile(fn),
  inputs,
  rates: [],
});

const matmul = (a?: Tensor, b?: Tensor) => (a as Tensor).dot(b as Tensor);
const cases = [
  bench("forward 128x1000x784", matmul, random(128, 784), random(784, 1000)),
  bench("input gradient 128x1000x500 (b transposed)", (a, b) => matmul(a, b?.T), random(128, 500), random(1000, 500)),
  bench("kernel gradient 784x1000x128 (a transposed)", (a, b) => matmul(a?.T, b), random(128, 784), random(128, 1000)),
  bench("square 512", matmul, random(512, 512), random(512, 512)),
  bench(
    "conv 5x5 32 to 64, 14x14, batch 64",
    (x, kernel) => conv(x as Tensor, kernel as Tensor, { padding: "same" }),
    random(64, 14, 14, 32),
    random(5, 5, 32, 64),
  ),
  bench(
    "conv 3x3 1 to 8, 20x20, batch 64",
    (x, kernel) => conv(x as Tensor, kernel as Tensor, { padding: "same" }),
    random(64, 20, 20, 1),
    random(3, 3, 1, 8),
  ),
];

for (let run = 0; run <= runs; run++) {
  for (const { program, inputs, rates } of cases) {
    const { rows } = await program.profile(...inputs);
    // The first run compiles.
    if (run === 0) continue;
    const ns = rows.reduce((sum, row) => sum + row.ns, 0);
    rates.push(rows.reduce((sum, row) => sum + row.flops, 0) / ns);
  }
}

console.log(`${device.adapter.description}, ${runs} runs`);
for (const { name, rates } of cases) {
  const sorted = [...rates].sort((a, b) => a - b);
  const at = (quantile: number) => (sorted[Math.round(quantile * (sorted.length - 1))] ?? Number.NaN).toFixed(2);
  console.log(`${name.padEnd(48)} ${at(0.5).padStart(8)} GFLOPS (quartiles ${at(0.25)} to ${at(0.75)}, best ${at(1)})`);
}
defaultDevice()?.destroy();
