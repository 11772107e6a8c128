// Benchmarks are data: a workload, algorithms, a target; records are lines on disk; a report is a function of records.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { race } from "@thalweg/bench";
import { defaultDevice } from "@thalweg/tensor";

const folder = await mkdtemp(join(tmpdir(), "thalweg-race-"));
const { race: results } = await race({
  workload: "digits",
  algorithms: [
    { optimizer: "momentum", hyperparameters: { learningRate: 0.08 } },
    { optimizer: "adam", hyperparameters: { learningRate: 0.02 } },
  ],
  seeds: [42],
  target: { value: 0.8 },
  budget: { steps: 120 },
  evaluationInterval: 40,
  folder,
});
for (const contestant of results?.contestants ?? []) {
  console.log(`${contestant.label}: ${contestant.stepsToTarget?.median} steps to the target`);
}

await rm(folder, { recursive: true });
defaultDevice()?.destroy();
