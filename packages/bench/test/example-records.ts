import { configurationId } from "../src/records/codec";
import type {
  EndLine,
  EvaluationLine,
  HeaderLine,
  RecordLine,
  RunConfiguration,
  RunEnvironment,
  TrainingLine,
} from "../src/records/schema";
import { recordVersion } from "../src/records/schema";

export const environment: RunEnvironment = {
  adapter: { description: "test adapter", fallback: true },
  packages: { "@thalweg/bench": "0.1.0" },
  runtime: "node 20.20.2",
  platform: "linux x64",
};

export const configuration: RunConfiguration = {
  workload: "digits",
  workloadVersion: "1.0.0",
  split: "1.2",
  dataChecksums: { digits: "00ff" },
  optimizer: "adam",
  hyperparameters: { learningRate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
  schedule: "constant",
  batchSize: 64,
  stepsPerEpoch: 50,
  l2: 0,
  seed: 42,
  target: { phase: "test", metric: "accuracy", value: 0.9 },
  budget: { epochs: 4 },
  evaluationInterval: 50,
  trainLogInterval: 10,
};

export function header(changes: Partial<RunConfiguration> = {}): HeaderLine {
  const changed = { ...configuration, ...changes };
  return {
    type: "header",
    version: recordVersion,
    id: configurationId(changed),
    startedAt: "2026-11-23T20:00:00.000Z",
    configuration: changed,
    environment,
  };
}

export function evaluation(step: number, loss: number, accuracy: number): EvaluationLine {
  const result = { loss, dataLoss: loss, accuracy };
  return {
    type: "evaluation",
    step,
    epoch: step / 50,
    trainingSeconds: step * 0.01,
    gpuSeconds: null,
    evaluationSeconds: 0.2,
    regularizer: 0,
    phases: { trainEval: result, valid: result, test: result },
  };
}

export const training = (step: number, loss: number): TrainingLine => ({ type: "training", step, loss, accuracy: 0.5 });

export function end(step: number, changes: Partial<EndLine> = {}): EndLine {
  return {
    type: "end",
    status: "budget",
    step,
    epoch: step / 50,
    divergedStep: null,
    timeToTarget: null,
    seconds: { training: step * 0.01, evaluation: 1, compilation: 0.5, data: 0.25 },
    gpuSeconds: null,
    reason: null,
    ...changes,
  };
}

/** How fast an invented optimizer falls, and what becomes of it. */
export interface Curve {
  readonly optimizer: string;
  readonly seed: number;
  /** Steps in which the loss falls by e. */
  readonly rate: number;
  readonly divergesAt?: number;
}

/** An invented run with a smooth curve: 200 steps, evaluated every 50, target accuracy 0.9. */
export function inventedRun({ optimizer, seed, rate, divergesAt }: Curve): readonly RecordLine[] {
  const lines: RecordLine[] = [header({ optimizer, seed })];
  // A deterministic wobble per seed, so that seeds differ without a random generator.
  const wobble = (step: number) => 1 + 0.12 * Math.sin(seed * 12.9898 + step * 0.7);
  const lossAt = (step: number) => (0.2 + 2.1 * Math.exp(-step / rate)) * wobble(step);
  for (let step = 0; step <= 200; step++) {
    if (divergesAt !== undefined && step >= divergesAt) {
      lines.push(training(step, Number.NaN), end(step, { status: "diverged", divergedStep: step }));
      return lines;
    }
    if (step % 50 === 0) {
      const line = evaluation(step, lossAt(step), 1 - lossAt(step) / 2.5);
      lines.push(line);
      if ((line.phases.test?.accuracy ?? 0) >= 0.9) {
        const timeToTarget = { seconds: line.trainingSeconds, steps: step, epochs: line.epoch };
        return [...lines, end(step, { status: "reached", timeToTarget })];
      }
    }
    if (step % 10 === 0 && step < 200) lines.push(training(step, lossAt(step) * 1.1));
  }
  return [...lines, end(200)];
}
