import type { RunRecord } from "../records/reader";
import type { EvaluationLine, RunConfiguration, Target } from "../records/schema";
import { metricName, metricOf } from "../report/aggregate";
import { formatCount, formatMetric, formatSeconds } from "../report/format";
import type { RunProgress } from "../run/train";
import type { ProgressState } from "./progress";

/** What the progress line says of a run. */
export function progressState(progress: RunProgress): ProgressState {
  const { configuration, activity, step, epoch, training, evaluation, stepsPerSecond, fraction } = progress;
  const activities = { compiling: "compiling", evaluating: "evaluating", training: undefined } as const;
  const doing = activities[activity];
  return {
    label: `${configuration.optimizer}, seed ${configuration.seed}${doing === undefined ? "" : ` (${doing})`}`,
    step,
    epoch,
    loss: training?.loss,
    accuracy: training?.accuracy ?? undefined,
    evaluated: evaluation && describeEvaluation(evaluation, configuration),
    stepsPerSecond,
    fraction,
  };
}

/** How a run ended, in a line. */
export function describeRun({ header, evaluations, end }: RunRecord): string {
  const { configuration } = header;
  const { optimizer, seed } = configuration;
  const last = evaluations.at(-1);
  const where = last === undefined ? "" : `, ${describeEvaluation(last, configuration)}`;
  const training = `${formatSeconds(end?.seconds.training ?? last?.trainingSeconds ?? 0)} of training`;
  const steps = `${formatCount(end?.step ?? last?.step ?? 0)} steps`;
  const what = {
    reached: "reached the target",
    finished: "finished",
    budget: "out of budget",
    diverged: `diverged at step ${formatCount(end?.divergedStep ?? 0)}`,
    killed: "stopped",
  }[end?.status ?? "killed"];
  return `${optimizer}, seed ${seed}: ${what} after ${training} (${steps})${where}`;
}

/** A target in words: `90 % test accuracy`, `test loss 87.5`. */
export function describeTarget({ phase, metric, value }: Target): string {
  const name = metricName(phase, metric);
  return metric === "accuracy" ? `${Number((value * 100).toPrecision(6))} % ${name}` : `${name} ${value}`;
}

function describeEvaluation(evaluation: EvaluationLine, { target }: RunConfiguration): string | undefined {
  const phase = target?.phase ?? "test";
  const metric = target?.metric ?? (evaluation.phases.test?.accuracy == null ? "loss" : "accuracy");
  const value = metricOf(evaluation, phase, metric);
  return value === undefined ? undefined : `${metricName(phase, metric)} ${formatMetric(metric, value)}`;
}
