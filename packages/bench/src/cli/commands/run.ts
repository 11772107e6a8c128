import { type HyperparameterSpec, type OptimizerRecord, optimizers } from "@thalweg/optim";
import { type Command, Option } from "commander";
import { UsageError } from "../../errors";
import type { HyperparameterValue } from "../../records/schema";
import { metricName } from "../../report/aggregate";
import { findOptimizer, type LearningRateSteps } from "../../run/optimizer";
import { exitCodes } from "../failure";
import { runSummary } from "../json";
import { addGoalOptions, addProtocolOptions, type ProtocolFlags, protocolOf } from "../options";
import { parseHyperparameter, parseNumber } from "../parse";
import { addPlaceOptions, type PlaceFlags, raceInPlace } from "../place";
import { Progress } from "../progress";
import { describeTuning } from "../tuning";
import { describeRun, describeTarget, progressState } from "../watch";
import type { CommandContext } from "./context";
import { timestampedFolder } from "./folder";

interface RunFlags extends ProtocolFlags, PlaceFlags {
  readonly seed: number;
  readonly epochs?: number;
  readonly lrSchedEpochs?: readonly number[];
  readonly lrSchedFactors?: readonly number[];
  readonly out?: string;
  readonly json?: boolean;
}

/**
 * `thalweg run`: one run. The optimizer's hyperparameters are options of their own, so they are made when the command
 * line names the optimizer.
 *
 * @param args the command line, where the name is looked for.
 */
export function addRunCommand(program: Command, context: CommandContext, args: readonly string[]): void {
  const named = args[0] === "run" ? args.find((arg) => Object.hasOwn(optimizers, arg)) : undefined;
  const optimizer = named === undefined ? undefined : findOptimizer(named);
  const numbers = (option: string) => (text: string) =>
    text.split(",").map((part) => parseNumber(part, { option, min: 0 }));
  const command = program
    .command("run")
    .description(
      optimizer === undefined
        ? "Train once. Name an optimizer to see its hyperparameters: thalweg run digits adam --help"
        : `Train once with ${optimizer.title}.`,
    )
    .argument("<workload>", "name of a workload; thalweg list workloads shows them")
    .argument("<optimizer>", "name of an optimizer; thalweg list optimizers shows them");
  for (const [name, spec] of Object.entries(optimizer?.hyperparameters ?? {})) {
    command.addOption(hyperparameterOption(name, spec));
  }
  // Without an optimizer every hyperparameter would be an unknown option, which is not what is wrong.
  if (optimizer === undefined) command.allowUnknownOption();
  command
    .option("-r, --seed <n>", "seed of initialisation, order of examples and sampling", parseSeed, 42)
    .option("-N, --epochs <n>", "train for so many epochs; the same as --budget <n>epochs", (text) =>
      parseNumber(text, { option: "--epochs", integer: true, min: 1 }),
    )
    .option(
      "--lr-sched-epochs <list>",
      "epochs at which the learning rate changes, such as 50,100",
      numbers("--lr-sched-epochs"),
    )
    .option(
      "--lr-sched-factors <list>",
      "factors on the base rate from these epochs on, such as 0.1,0.01",
      numbers("--lr-sched-factors"),
    );
  addPlaceOptions(addProtocolOptions(addGoalOptions(command)))
    .option("--out <folder>", "folder for the record; an interrupted run that it holds goes on")
    .option("--json", "write the result as one JSON document on stdout")
    .action((workload: string, name: string, flags: RunFlags & Readonly<Record<string, unknown>>) =>
      runCommand(workload, findOptimizer(name), flags, context),
    );
}

async function runCommand(
  workload: string,
  optimizer: OptimizerRecord,
  flags: RunFlags & Readonly<Record<string, unknown>>,
  { terminal, setExitCode }: CommandContext,
): Promise<void> {
  const hyperparameters: Record<string, HyperparameterValue> = {};
  for (const name of Object.keys(optimizer.hyperparameters)) {
    // The option's parser has made a value of the hyperparameter's type of it.
    if (flags[name] !== undefined) hyperparameters[name] = flags[name] as HyperparameterValue;
  }
  if (flags.epochs !== undefined && flags.budget?.epochs !== undefined) {
    throw new UsageError("--epochs and --budget both limit the epochs. Give one of them.");
  }
  const protocol = protocolOf(flags);
  const budget = flags.epochs === undefined ? protocol.budget : { ...protocol.budget, epochs: flags.epochs };
  const folder = flags.out ?? timestampedFolder(`${workload}-${optimizer.name}`);
  const progress = new Progress(terminal, 1);
  const { records, interrupted, tuning } = await raceInPlace(flags, {
    ...protocol,
    budget,
    workload,
    algorithms: [{ optimizer: optimizer.name, hyperparameters, schedule: scheduleOf(flags) }],
    seeds: [flags.seed],
    folder,
    split: flags.split,
    signal: terminal.signal,
    onNotice: (line) => progress.line(line),
    onProgress: (state) => progress.update(progressState(state)),
  });
  progress.clear();
  for (const line of describeTuning(tuning)) terminal.error(`${line}\n`);
  const [record] = records;
  if (record === undefined) return;
  if (flags.json) terminal.out(`${JSON.stringify(runSummary(record), null, 2)}\n`);
  else terminal.out(`${describeRun(record)}\nrecord ${record.path}\n`);
  if (interrupted) {
    terminal.error(`stopped. The same command with --out ${folder} goes on where it stopped.\n`);
    return;
  }
  const { target } = record.header.configuration;
  if (target !== null && record.end?.status !== "reached") {
    terminal.error(
      `error: the run did not reach ${describeTarget(target)}. Give a larger --budget, a lower --target or other hyperparameters.\n`,
    );
    setExitCode(exitCodes.targetMissed);
  } else if (record.end?.status === "diverged") {
    terminal.error(`error: the ${metricName("trainEval", "loss")} is not finite. Give a lower learning rate.\n`);
    setExitCode(exitCodes.failure);
  }
}

function parseSeed(text: string): number {
  return parseNumber(text, { option: "--seed", integer: true, min: 0, max: 2 ** 32 - 1 });
}

function scheduleOf({ lrSchedEpochs, lrSchedFactors }: RunFlags): LearningRateSteps | undefined {
  if (lrSchedEpochs === undefined && lrSchedFactors === undefined) return undefined;
  if (lrSchedEpochs?.length !== lrSchedFactors?.length || lrSchedEpochs === undefined || lrSchedFactors === undefined) {
    throw new UsageError("--lr-sched-epochs and --lr-sched-factors belong together. Give both, of one length.");
  }
  const rising = lrSchedEpochs.every((epoch, index) => index === 0 || epoch > (lrSchedEpochs[index - 1] ?? 0));
  if (!rising) throw new UsageError(`--lr-sched-epochs: ${lrSchedEpochs.join(",")} do not rise.`);
  return { epochs: lrSchedEpochs, factors: lrSchedFactors };
}

/** `--learning-rate <number>`, with `--lr` for the best known of them; commander gives it back in camelCase. */
function hyperparameterOption(name: string, spec: HyperparameterSpec): Option {
  const long = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const flag = name === "learningRate" ? `--lr, ${long}` : long;
  const value = spec.type === "choice" ? spec.choices.join("|") : spec.type === "boolean" ? "true|false" : "number";
  const { min, max, open } = "min" in spec || "max" in spec ? spec : {};
  const range = [
    min === undefined ? "" : `${open === "min" || open === "both" ? "above" : "from"} ${min}`,
    max === undefined ? "" : `${open === "max" || open === "both" ? "to below" : "to"} ${max}`,
  ];
  const limits = range.filter((part) => part !== "").join(" ");
  return new Option(
    `${flag} <${value}>`,
    `${spec.description}${limits === "" ? "" : `, ${limits}`} (default: ${spec.default})`,
  ).argParser((text) => parseHyperparameter(text, spec, long));
}
