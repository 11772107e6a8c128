// Benchmarks are data: a workload, algorithms, a target; a report is a function of records. In Node a
// `store: folderStore("results")` of "@thalweg/bench/node" keeps the records as lines on disk.
import { race } from "@thalweg/bench";
import { defaultDevice } from "@thalweg/tensor";

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
});
for (const contestant of results?.contestants ?? []) {
  console.log(`${contestant.label}: ${contestant.stepsToTarget?.median} steps to the target`);
}

defaultDevice()?.destroy();
