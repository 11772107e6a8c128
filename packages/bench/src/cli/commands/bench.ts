import type { Command } from "commander";
import { UsageError } from "../../errors";
import { type StandardRace, standardOptimizers, standardRaces } from "../../protocols/standard";
import { readRecords } from "../../records/reader.node.js";
import { bestReached, metricName } from "../../report/aggregate";
import { formatMetric } from "../../report/format";
import { type ReportFormat, reportFormats, writeReport } from "../../report/report.node.js";
import { renderTable } from "../../report/table";
import type { AlgorithmRequest, Protocol } from "../../run/configuration";
import { findOptimizer, type Hyperparameters, unknownName } from "../../run/optimizer";
import { exitCodes } from "../failure";
import { raceSummary } from "../json";
import { addGoalOptions, addProtocolOptions, type ProtocolFlags, protocolOf } from "../options";
import { parseAssignment, parseChoice, parseHyperparameter, parseNames, parseSeeds } from "../parse";
import { addPlaceOptions, type PlaceFlags, raceInPlace } from "../place";
import { Progress } from "../progress";
import { describeTuning } from "../tuning";
import { describeRun, describeTarget, progressState } from "../watch";
import type { CommandContext } from "./context";
import { timestampedFolder } from "./folder";

interface BenchFlags extends ProtocolFlags, PlaceFlags {
  readonly optimizers?: readonly string[];
  readonly seeds: readonly number[];
  readonly lr: readonly string[];
  readonly set: readonly string[];
  readonly out?: string;
  readonly report: readonly ReportFormat[];
  readonly json?: boolean;
}

/** `thalweg bench`: the race. */
export function addBenchCommand(program: Command, context: CommandContext): void {
  const collect = (text: string, before: readonly string[]) => [...before, ...text.split(",")];
  const command = program
    .command("bench")
    .description("Compare optimizers by the time they take to reach a target on a workload.")
    .argument("<workload>", "name of a workload; thalweg list workloads shows them")
    .option("--optimizers <names>", `names with commas; default: ${standardOptimizers.join(",")}`, (text: string) =>
      parseNames(text, "--optimizers"),
    )
    .option("--seeds <n|list>", "a number of seeds from 42 on, or a list such as 42,43", parseSeeds, parseSeeds("3"))
    .option("--lr <optimizer=rate>", "learning rate of an optimizer; may be repeated", collect, [])
    .option("--set <optimizer.name=value>", "any other hyperparameter; may be repeated", collect, []);
  addPlaceOptions(addProtocolOptions(addGoalOptions(command)))
    .option("--out <folder>", "folder for records and report; a folder of an interrupted race continues it")
    .option(
      "--report <formats>",
      `files to write: any of ${reportFormats.join(",")}`,
      (text: string) =>
        parseNames(text, "--report").map((name) =>
          parseChoice(name, reportFormats, "format", `Use any of ${reportFormats.join(", ")}.`),
        ),
      [...reportFormats],
    )
    .option("--json", "write the results as one JSON document on stdout")
    .action((workload: string, flags: BenchFlags) => benchCommand(workload, flags, context));
}

async function benchCommand(
  workload: string,
  flags: BenchFlags,
  { terminal, setExitCode }: CommandContext,
): Promise<void> {
  const standard = Object.hasOwn(standardRaces, workload) ? standardRaces[workload] : undefined;
  const algorithms = algorithmsOf(flags, standard);
  const protocol = protocolWith(protocolOf(flags), standard);
  const folder = flags.out ?? timestampedFolder(workload);
  const progress = new Progress(terminal, algorithms.length * flags.seeds.length);
  const { records, interrupted, tuning } = await raceInPlace(flags, {
    ...protocol,
    workload,
    algorithms,
    seeds: flags.seeds,
    folder,
    split: flags.split,
    signal: terminal.signal,
    onNotice: (line) => progress.line(line),
    onStart: () => progress.line(describeStart(workload, algorithms, protocol, flags.seeds, folder)),
    onProgress: (state) => progress.update(progressState(state)),
    onRun: (record) => progress.finish(describeRun(record)),
  });
  progress.clear();
  for (const line of describeTuning(tuning)) terminal.error(`${line}\n`);
  // The report is of the whole folder, so that a race that was continued with more optimizers shows them all.
  const { races, files } = writeReport(readRecords(folder), { folder, formats: flags.report });
  if (flags.json) {
    terminal.out(`${JSON.stringify({ folder, interrupted, races: races.map(raceSummary), files }, null, 2)}\n`);
  } else {
    terminal.out(`\n${races.map(renderTable).join("\n\n")}\n\n${files.map((file) => `wrote ${file}\n`).join("")}`);
  }
  if (interrupted) {
    terminal.error(`stopped. The same command with --out ${folder} goes on where it stopped.\n`);
    return;
  }
  const target = records[0]?.header.configuration.target;
  if (target && !records.some(({ end }) => end?.status === "reached")) {
    const best = bestReached(records, target);
    const found =
      best === undefined
        ? "all runs diverged"
        : `best ${metricName(target.phase, target.metric)} ${formatMetric(target.metric, best)}`;
    terminal.error(
      `error: no run reached ${describeTarget(target)} (${found}). Give a larger --budget, a lower --target or other learning rates; all runs are recorded in ${folder}.\n`,
    );
    setExitCode(exitCodes.targetMissed);
  }
}

function describeStart(
  workload: string,
  algorithms: readonly AlgorithmRequest[],
  { target }: Protocol,
  seeds: readonly number[],
  folder: string,
): string {
  const names = algorithms.map(({ optimizer }) => optimizer).join(", ");
  const goal = target === undefined ? "" : ` to ${target.value}`;
  return `${workload}${goal}: ${names}, seeds ${seeds.join(", ")}. Records in ${folder}`;
}

/** What the command line leaves open is as in the workload's standard race. */
function protocolWith(protocol: Protocol, standard: StandardRace | undefined): Protocol {
  if (standard === undefined) return protocol;
  const { target, budget, evaluationInterval } = protocol;
  return {
    ...protocol,
    target: target ?? standard.target,
    budget: budget ?? standard.budget,
    evaluationInterval: evaluationInterval ?? standard.evaluationInterval,
  };
}

function algorithmsOf(
  { optimizers, lr, set }: BenchFlags,
  standard: StandardRace | undefined,
): readonly AlgorithmRequest[] {
  const names = optimizers ?? (standard === undefined ? standardOptimizers : Object.keys(standard.algorithms));
  const settings = new Map<string, Record<string, Hyperparameters[string]>>(
    names.map((name) => [findOptimizer(name).name, { ...standard?.algorithms[name] }]),
  );
  const assign = (option: string, optimizer: string, name: string, text: string): void => {
    const values = settings.get(optimizer);
    if (values === undefined) {
      throw new UsageError(
        `${option}: ${optimizer} does not take part. The optimizers are ${[...settings.keys()].join(", ")}.`,
      );
    }
    const { hyperparameters } = findOptimizer(optimizer);
    const spec = Object.hasOwn(hyperparameters, name) ? hyperparameters[name] : undefined;
    if (spec === undefined) {
      const known = Object.keys(hyperparameters);
      throw unknownName(`hyperparameter of ${optimizer}`, name, known, `${optimizer} has ${known.join(", ")}.`);
    }
    values[name] = parseHyperparameter(text, spec, `${option} ${optimizer}`);
  };
  for (const assignment of lr) {
    const [optimizer, value] = parseAssignment(assignment, "--lr");
    assign("--lr", optimizer, "learningRate", value);
  }
  for (const assignment of set) {
    const [path, value] = parseAssignment(assignment, "--set");
    const [optimizer = "", name = ""] = path.split(".", 2);
    assign("--set", optimizer, name, value);
  }
  return [...settings].map(([optimizer, hyperparameters]) => ({ optimizer, hyperparameters }));
}
