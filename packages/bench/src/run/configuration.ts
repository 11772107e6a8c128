import type { ImageDataset, TestProblem } from "@thalweg/workloads";
import { UsageError } from "../errors";
import type { Budget, Metric, Phase, RunConfiguration, Target } from "../records/schema";
import {
  completeHyperparameters,
  describeSchedule,
  findOptimizer,
  type Hyperparameters,
  type LearningRateSteps,
} from "./optimizer";
import { stepsPerEpoch } from "./programs";

/** A target whose phase and metric may be left to the workload: its own metric on the test set. */
export interface TargetRequest {
  readonly phase?: Phase | undefined;
  readonly metric?: Metric | undefined;
  readonly value: number;
}

/** An optimizer with a setting. */
export interface AlgorithmRequest {
  /** Name in the registry of `@thalweg/optim`. */
  readonly optimizer: string;
  /** Those that differ from the defaults. */
  readonly hyperparameters?: Hyperparameters | undefined;
  readonly schedule?: LearningRateSteps | undefined;
}

/** What all runs of a comparison have in common. */
export interface Protocol {
  /** Without one, runs train for as long as their budget lasts. */
  readonly target?: TargetRequest | undefined;
  /** Default: the number of epochs that belongs to the workload. */
  readonly budget?: Budget | undefined;
  /** Default: the workload's. */
  readonly batchSize?: number | undefined;
  /** Default: the workload's. */
  readonly l2?: number | undefined;
  /** Steps between evaluations. Default: one epoch. */
  readonly evaluationInterval?: number | undefined;
  /** Steps between recorded training losses. Default 10. */
  readonly trainLogInterval?: number | undefined;
}

/** The full description of one run: what was asked for, and the defaults of all else. @throws UsageError */
export function configureRun(
  problem: TestProblem,
  dataset: ImageDataset,
  algorithm: AlgorithmRequest,
  protocol: Protocol,
  seed: number,
): RunConfiguration {
  const { batchSize = problem.defaults.batchSize, l2 = problem.defaults.l2 } = protocol;
  const steps = stepsPerEpoch({ dataset, batchSize });
  return {
    workload: problem.name,
    workloadVersion: problem.version,
    split: dataset.split,
    dataChecksums: dataset.checksums,
    optimizer: algorithm.optimizer,
    hyperparameters: completeHyperparameters(findOptimizer(algorithm.optimizer), algorithm.hyperparameters ?? {}),
    schedule: describeSchedule(algorithm.schedule),
    batchSize,
    stepsPerEpoch: steps,
    l2,
    seed,
    target: protocol.target === undefined ? null : completeTarget(problem, dataset, protocol.target),
    budget: protocol.budget ?? { epochs: problem.defaults.epochs },
    evaluationInterval: protocol.evaluationInterval ?? steps,
    trainLogInterval: protocol.trainLogInterval ?? 10,
  };
}

function completeTarget(problem: TestProblem, dataset: ImageDataset, request: TargetRequest): Target {
  const { phase = "test", metric = problem.metric, value } = request;
  if (metric === "accuracy" && problem.metric !== "accuracy") {
    throw new UsageError(`${problem.name} has no accuracy. Set a target on the loss, such as test-loss=${value}.`);
  }
  if (metric === "accuracy" && !(value >= 0 && value <= 1)) {
    throw new UsageError(`an accuracy of ${value} does not exist. Give a fraction from 0 to 1, such as 0.9 or 90%.`);
  }
  if (dataset.splits[phase].count === 0) {
    throw new UsageError(
      `${problem.name} with split ${dataset.split} has no ${phase} examples. Set the target on test.`,
    );
  }
  return { phase, metric, value };
}
