// Every optimizer with its default hyperparameters on the generated digits: steps and time to the target over three seeds,
// and what a step costs beside one of SGD. Writes the table of docs/optimizers/comparison.md.
//
//   node --import ./scripts/run-sources.mjs packages/bench/bench/optimizers.bench.ts [--out results/optimizers] [--only a,b]
//
// Runs that the folder holds already are not repeated. The cost of a step is measured apart from them: all optimizers in
// turn, fifty steps at a time, so that a drifting clock hits all alike; rare work such as the roots of a preconditioner is
// in it at its own interval. The time to the target is the steps times that cost.
import { parseArgs } from "node:util";
import { type Contestant, configureRun, createPrograms, race } from "@thalweg/bench";
import { folderStore } from "@thalweg/bench/node";
import { optimizers } from "@thalweg/optim";
import { init, type Tensor, treeLeaves } from "@thalweg/tensor";
import { datasetTensors, findProblem, loadDataset } from "@thalweg/workloads";
import { localFiles } from "@thalweg/workloads/node";
import { quartiles } from "../src/report/statistics";
import { initialState, runKeys } from "../src/run/programs";
import { describeRun, formatQuartiles, formatReached, markdownTable, writeSection } from "./report";

const { values: flags } = parseArgs({
  options: { out: { type: "string", default: "results/optimizers" }, only: { type: "string" } },
});
const names = flags.only?.split(",") ?? Object.keys(optimizers);
const workload = "digits";
const seeds = [42, 43, 44];
const target = 0.95;
const budget = 2000;
const evaluationInterval = 25;
const [rounds, stepsPerRound, warmUpRounds] = [7, 50, 1];

const device = await init();
// One race for each optimizer, since all programs of a race are in memory at once.
const contestants = new Map<string, Contestant>();
for (const name of names) {
  const { race: result } = await race({
    workload,
    algorithms: [name],
    seeds,
    target: { value: target },
    budget: { steps: budget },
    evaluationInterval,
    store: folderStore(flags.out),
    onRun: (record) => console.error(describeRun(record)),
  });
  contestants.set(name, result?.contestants[0] as Contestant);
}

const milliseconds = await measureSteps();
const baseline = milliseconds.get("sgd") ?? Number.NaN;
const rows = names.map((name) => {
  const contestant = contestants.get(name) as Contestant;
  const steps = contestant.stepsToTarget ?? { lower: Number.NaN, median: Number.NaN, upper: Number.NaN };
  const cost = (milliseconds.get(name) as number) / baseline;
  const relative = { lower: steps.lower * cost, median: steps.median * cost, upper: steps.upper * cost };
  return { name, contestant, steps, cost, relative };
});
rows.sort(
  (a, b) =>
    a.relative.median - b.relative.median ||
    b.contestant.reached - a.contestant.reached ||
    b.contestant.best.median - a.contestant.best.median,
);
const table = markdownTable(
  ["optimizer", "reached", "steps (quartiles)", "cost of a step", "time (quartiles)", "best accuracy"],
  rows.map(({ name, contestant, steps, cost, relative }) => [
    `\`${name}\``,
    formatReached(contestant),
    formatQuartiles(steps, 0),
    cost.toFixed(2),
    formatQuartiles(relative, 0),
    `${(100 * contestant.best.median).toFixed(1)} %`,
  ]),
);
const text = `${table}

Generated digits, target ${100 * target} % test accuracy, at most ${budget} steps of 128 examples, seeds ${seeds.join(", ")}, default
hyperparameters: nothing is tuned, so a low rank is a statement about defaults on one small problem. Cost of a step: relative
to SGD's, median of ${rounds} rounds of ${stepsPerRound} steps. Time: steps times cost, in steps of SGD. Adapter:
${device.adapter.description}${device.adapter.isSoftware ? ", a software adapter: on a GPU the costs are others" : ""}.`;
console.log(text);
if (flags.only === undefined) writeSection("docs/optimizers/comparison.md", "comparison", text, "# Comparison\n");
const diverged = rows.filter(({ contestant }) => contestant.diverged > 0).map(({ name }) => name);
if (diverged.length > 0) throw new Error(`With default hyperparameters diverged: ${diverged.join(", ")}.`);
device.destroy();

/** Median milliseconds of a step, by optimizer. */
async function measureSteps(): Promise<ReadonlyMap<string, number>> {
  const problem = findProblem(workload);
  const dataset = await loadDataset(problem.dataset, { files: localFiles() });
  const data = datasetTensors(dataset);
  const keys = runKeys(0);
  const contenders = [];
  for (const name of ["sgd", ...names.filter((other) => other !== "sgd")]) {
    const { batchSize, l2, trainLogInterval, hyperparameters } = configureRun(
      problem,
      dataset,
      { optimizer: name },
      {},
      0,
    );
    const optimizer = optimizers[name]?.create(hyperparameters) ?? fail(name);
    const programs = createPrograms({ problem, dataset, optimizer, batchSize, l2, trainLogInterval });
    await programs.warmUp(data, keys);
    contenders.push({ name, programs, state: initialState(programs.parts, keys), step: 0, times: [] as number[] });
  }
  for (let round = -warmUpRounds; round < rounds; round++) {
    for (const own of contenders) {
      await device.idle();
      const start = performance.now();
      for (const end = own.step + stepsPerRound; own.step < end; own.step++) {
        own.state = own.programs.train(own.state, data, keys, own.step);
      }
      await device.idle();
      if (round >= 0) own.times.push((performance.now() - start) / stepsPerRound);
    }
  }
  for (const { programs, state } of contenders) {
    for (const leaf of treeLeaves<Tensor>(state)) leaf.dispose();
    programs.dispose();
  }
  return new Map(contenders.map(({ name, times }) => [name, quartiles(times).median]));
}

function fail(name: string): never {
  throw new Error(`There is no optimizer ${name}.`);
}
