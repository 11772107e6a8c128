import type { RunRecord } from "../records/reader";
import type { RunTimes, Target, TimeToTarget } from "../records/schema";
import type { Race } from "../report/aggregate";
import type { Quartiles } from "../report/statistics";

/** A race for machines. Times that were never reached are null, as JSON has no infinity. */
export interface RaceSummary {
  readonly workload: string;
  readonly workloadVersion: string;
  readonly split: string;
  readonly target: Target | null;
  /** The best first. */
  readonly optimizers: readonly {
    readonly label: string;
    readonly optimizer: string;
    readonly hyperparameters: Readonly<Record<string, unknown>>;
    readonly runs: readonly RunSummary[];
    readonly reached: number;
    readonly missed: number;
    readonly diverged: number;
    readonly secondsToTarget: NullableQuartiles | null;
    readonly stepsToTarget: NullableQuartiles | null;
    readonly best: NullableQuartiles;
    readonly stepsPerSecond: number | null;
  }[];
}

/** {@link Quartiles}, with null for infinity. */
export type NullableQuartiles = { readonly [K in keyof Quartiles]: number | null };

/** One run for machines. */
export interface RunSummary {
  readonly id: string;
  readonly seed: number;
  readonly record: string;
  /** `running` where the record has no end line. */
  readonly status: string;
  readonly steps: number;
  readonly divergedStep: number | null;
  readonly timeToTarget: TimeToTarget | null;
  readonly seconds: RunTimes | null;
}

/** The results of a race as plain data. */
export function raceSummary({ workload, workloadVersion, split, target, contestants }: Race): RaceSummary {
  return {
    workload,
    workloadVersion,
    split,
    target,
    optimizers: contestants.map((contestant) => ({
      label: contestant.label,
      optimizer: contestant.optimizer,
      hyperparameters: contestant.hyperparameters,
      runs: contestant.runs.map(runSummary),
      reached: contestant.reached,
      missed: contestant.missed,
      diverged: contestant.diverged,
      secondsToTarget: contestant.secondsToTarget && finite(contestant.secondsToTarget),
      stepsToTarget: contestant.stepsToTarget && finite(contestant.stepsToTarget),
      best: finite(contestant.best),
      stepsPerSecond: contestant.stepsPerSecond,
    })),
  };
}

/** One run as plain data. */
export function runSummary({ path, header, evaluations, end }: RunRecord): RunSummary {
  return {
    id: header.id,
    seed: header.configuration.seed,
    record: path,
    status: end?.status ?? "running",
    steps: end?.step ?? evaluations.at(-1)?.step ?? 0,
    divergedStep: end?.divergedStep ?? null,
    timeToTarget: end?.timeToTarget ?? null,
    seconds: end?.seconds ?? null,
  };
}

function finite({ lower, median, upper }: Quartiles): NullableQuartiles {
  const orNull = (value: number) => (Number.isFinite(value) ? value : null);
  return { lower: orNull(lower), median: orNull(median), upper: orNull(upper) };
}
