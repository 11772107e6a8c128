// How far one gets without a learning rate: methods that need none, untuned, against SGD, momentum and Adam with tuned
// ones. Writes its tables to docs/optimizers/without-learning-rate.md.
//
//   node --import ./scripts/run-sources.mjs packages/bench/bench/without-learning-rate.bench.ts [digits|fmnist_mlp ...]
//       [--methods a,b] [--out results/without-learning-rate]
//
// Protocol. The tuned ones: ten draws each of a random search over the spaces of their records (Crowded Valley's), all with
// seed 42; the draw with the fewest steps to the target wins (the best metric, if none reaches it). The untuned ones: their
// default hyperparameters. Then all of them with five other seeds. Only steps are compared, so that it does not matter what
// else the machine does meanwhile. --methods limits the untuned ones: to those that were chosen on another workload. Runs that the folder holds already are not repeated.
import { parseArgs } from "node:util";
import {
  type AlgorithmRequest,
  type Contestant,
  drawHyperparameters,
  type Hyperparameters,
  race,
} from "@thalweg/bench";
import { folderStore } from "@thalweg/bench/node";
import { optimizers } from "@thalweg/optim";
import { init } from "@thalweg/tensor";
import { describeRun, formatQuartiles, formatReached, markdownTable, writeSection } from "./report";

/** A workload, how far it is trained, and what counts as there. */
interface Setting {
  readonly target: number;
  readonly steps: number;
  readonly interval: number;
}

const settings: Readonly<Record<string, Setting>> = {
  digits: { target: 0.95, steps: 2000, interval: 25 },
  // Half an epoch of DeepOBS's hundred.
  fmnist_mlp: { target: 0.76, steps: 200, interval: 25 },
};
const tuned = ["sgd", "momentum", "adam"];
const draws = 10;
const tuningSeed = 42;
const seeds = [43, 44, 45, 46, 47];

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { methods: { type: "string" }, out: { type: "string", default: "results/without-learning-rate" } },
});
const untuned =
  flags.methods?.split(",") ??
  Object.values(optimizers)
    .filter(({ without }) => without.includes("learningRate"))
    .map(({ name }) => name);

const device = await init({ notice: () => {} });
for (const workload of positionals.length > 0 ? positionals : Object.keys(settings)) {
  const setting = settings[workload];
  if (setting === undefined) throw new Error(`There is no setting for ${workload}.`);
  const winners = new Map<string, { readonly drawn: Hyperparameters; readonly spent: number }>();
  for (const optimizer of tuned) winners.set(optimizer, await tune(workload, setting, optimizer));
  const entries: { readonly name: string; readonly contestant: Contestant; readonly spent: number }[] = [];
  for (const [optimizer, { drawn, spent }] of winners) {
    const contestant = await run(workload, setting, { optimizer, hyperparameters: drawn }, seeds);
    entries.push({ name: `\`${optimizer}\`, ${describeSetting(drawn)}`, contestant, spent });
  }
  for (const optimizer of untuned) {
    entries.push({
      name: `\`${optimizer}\``,
      contestant: await run(workload, setting, { optimizer }, seeds),
      spent: 0,
    });
  }
  report(workload, setting, entries);
}
device.destroy();

/** The best of the draws, and the steps that all of them took. */
async function tune(workload: string, setting: Setting, optimizer: string) {
  const record = optimizers[optimizer] ?? fail(optimizer);
  const results: { readonly drawn: Hyperparameters; readonly contestant: Contestant }[] = [];
  let spent = 0;
  for (let index = 0; index < draws; index++) {
    const drawn = await drawHyperparameters(record, { seed: tuningSeed, index });
    const contestant = await run(workload, setting, { optimizer, hyperparameters: drawn }, [tuningSeed]);
    spent += contestant.runs.reduce((sum, { end }) => sum + (end?.step ?? 0), 0);
    results.push({ drawn, contestant });
  }
  const [best] = results.toSorted((a, b) => rank(a.contestant, b.contestant));
  return { drawn: (best as (typeof results)[number]).drawn, spent };
}

/** Fewer steps first, then the better accuracy. */
function rank(a: Contestant, b: Contestant): number {
  const [first, second] = [a, b].map(({ stepsToTarget }) => stepsToTarget?.median ?? Number.POSITIVE_INFINITY);
  return first === second ? b.best.median - a.best.median : (first as number) - (second as number);
}

async function run(
  workload: string,
  { target, steps, interval }: Setting,
  algorithm: AlgorithmRequest,
  runSeeds: readonly number[],
): Promise<Contestant> {
  const { race: result } = await race({
    workload,
    algorithms: [algorithm],
    seeds: runSeeds,
    target: { value: target },
    budget: { steps },
    evaluationInterval: interval,
    store: folderStore(flags.out),
    onRun: (record) => console.error(`${workload}: ${describeRun(record)}`),
  });
  return result?.contestants[0] as Contestant;
}

function report(
  workload: string,
  { target, steps, interval }: Setting,
  entries: readonly { readonly name: string; readonly contestant: Contestant; readonly spent: number }[],
): void {
  const sorted = entries.toSorted((a, b) => rank(a.contestant, b.contestant));
  const table = markdownTable(
    ["method", "reached", "steps to target (quartiles)", "best accuracy", "steps spent on tuning"],
    sorted.map(({ name, contestant, spent }) => [
      name,
      formatReached(contestant),
      formatQuartiles(contestant.stepsToTarget ?? contestant.best, 0),
      `${(100 * contestant.best.median).toFixed(1)} %`,
      spent === 0 ? "none" : String(spent),
    ]),
  );
  const text = `## ${workload}

Target ${100 * target} % test accuracy, looked for every ${interval} steps, at most ${steps} steps; seeds ${seeds.join(", ")}.

${table}`;
  console.log(text);
  writeSection("docs/optimizers/without-learning-rate.md", workload, text, "# Without a learning rate\n");
}

function describeSetting(hyperparameters: Hyperparameters): string {
  return Object.entries(hyperparameters)
    .map(([name, value]) => `${name} ${typeof value === "number" ? value.toPrecision(3) : value}`)
    .join(", ");
}

function fail(name: string): never {
  throw new Error(`There is no optimizer ${name}.`);
}
