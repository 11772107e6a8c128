import { type Device, init } from "@thalweg/tensor";
import type { Command } from "commander";
import { type Budget, phases } from "../records/schema";
import type { Protocol, TargetRequest } from "../run/configuration";
import { parseBudget, parseChoice, parseNumber, parseTarget } from "./parse";

/** Options that decide how a run is done, as commander gives them. */
export interface ProtocolFlags {
  readonly target?: TargetRequest;
  readonly budget?: Budget;
  readonly batchSize?: number;
  readonly l2?: number;
  readonly evalEvery?: number;
  readonly trainLogInterval?: number;
  readonly split?: "1.1" | "1.2";
  readonly adapter?: string;
  readonly tune?: boolean;
}

/** Adds the options that `bench`, `run` and `profile` share. */
export function addProtocolOptions(command: Command): Command {
  const count = (option: string) => (text: string) => parseNumber(text, { option, integer: true, min: 1 });
  return command
    .option("--bs, --batch-size <n>", "examples per step; default: the workload's", count("--batch-size"))
    .option("--wd, --l2 <factor>", "L2 factor of the workload's regularizer; default: the workload's", (text) =>
      parseNumber(text, { option: "--l2", min: 0 }),
    )
    .option("--eval-every <steps>", "steps between evaluations; default: one epoch", count("--eval-every"))
    .option(
      "--train-log-interval <steps>",
      "steps between recorded training losses; default: 10",
      count("--train-log-interval"),
    )
    .option(
      "--split <version>",
      "division of the training files, 1.2 or 1.1 (no validation set); default: 1.2",
      (text) => parseChoice(text, ["1.1", "1.2"] as const, "split", "Use 1.2 or 1.1."),
    )
    .option("--adapter <name>", "GPU adapter: auto, software, or a part of its name; default: auto")
    .option("--tune", "first measure which variants of kernels are the fastest on the adapter; kept for later runs");
}

/** The device that the options ask for, as the default one. */
export const openDevice = (flags: ProtocolFlags, notice: (line: string) => void): Promise<Device> =>
  init({ adapter: flags.adapter ?? "auto", tune: flags.tune ?? false, notice });

/** Adds target and budget, for commands that train. */
export function addGoalOptions(command: Command): Command {
  const quantities = phases.map((phase) => `${phase}-accuracy, ${phase}-loss`).join(", ");
  return command
    .option(
      "--target <value>",
      `stop at this value of the workload's metric on the test set, such as 0.9 or 90%; or QUANTITY=VALUE with ${quantities}`,
      parseTarget,
    )
    .option(
      "--budget <amount>",
      "stop a run after 60s or 5min of training, 20epochs or 2000steps; default: the workload's epochs",
      parseBudget,
    );
}

/** The protocol that the options ask for. */
export function protocolOf(flags: ProtocolFlags): Protocol {
  return {
    target: flags.target,
    budget: flags.budget,
    batchSize: flags.batchSize,
    l2: flags.l2,
    evaluationInterval: flags.evalEvery,
    trainLogInterval: flags.trainLogInterval,
  };
}
