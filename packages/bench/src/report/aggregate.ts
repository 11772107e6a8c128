import type { RunRecord } from "../records/reader";
import type { EvaluationLine, HyperparameterValue, Metric, Phase, RunConfiguration, Target } from "../records/schema";
import { type Quartiles, quartiles } from "./statistics";

/** The runs of one optimizer with one setting in one place, over its seeds. */
export interface Contestant {
  /** The optimizer's name, with what tells it from others of the same name: hyperparameters, runtime, adapter. */
  readonly label: string;
  readonly optimizer: string;
  readonly hyperparameters: Readonly<Record<string, HyperparameterValue>>;
  /** In the order of seeds. */
  readonly runs: readonly RunRecord[];
  /** Runs that reached the target, that did not, and among the latter those that diverged or were cut off. */
  readonly reached: number;
  readonly missed: number;
  readonly diverged: number;
  readonly unfinished: number;
  /** Over all runs, where a run that missed the target counts as infinite. Null where there is no target. */
  readonly secondsToTarget: Quartiles | null;
  readonly stepsToTarget: Quartiles | null;
  /** Best value of the metric that each run had at any evaluation; a diverged run counts as the worst value. */
  readonly best: Quartiles;
  /** Training steps per second of training time, or null if nothing was timed. */
  readonly stepsPerSecond: number | null;
}

/** All runs of one workload towards one target: what can be compared. */
export interface Race {
  readonly workload: string;
  readonly workloadVersion: string;
  readonly split: string;
  readonly target: Target | null;
  /** What the contestants are compared by: the target's, or else test accuracy (test loss where there is none). */
  readonly phase: Phase;
  readonly metric: Metric;
  /** The best first. */
  readonly contestants: readonly Contestant[];
}

/**
 * Groups records into races and ranks the contestants of each.
 *
 * The order is that of the median time to the target, in which a miss is infinite; then of the number of runs that
 * reached it, then of the best value of the metric. Diverged runs count as misses and with the worst value, so that
 * they cannot win.
 */
export function aggregate(records: readonly RunRecord[]): readonly Race[] {
  const races = groupBy(records, ({ header: { configuration: c } }) =>
    JSON.stringify([c.workload, c.workloadVersion, c.split, c.target]),
  );
  return races.map(raceOf);
}

/** The evaluations' values of a metric that a comparison goes by; undefined where the record lacks it. */
export function metricOf(evaluation: EvaluationLine, phase: Phase, metric: Metric): number | undefined {
  return evaluation.phases[phase]?.[metric] ?? undefined;
}

/** Whether smaller or larger values are better. */
export function isBetter(metric: Metric, a: number, b: number): boolean {
  return metric === "accuracy" ? a > b : a < b;
}

/** The value that a diverged run counts as. */
export function worstValue(metric: Metric): number {
  return metric === "accuracy" ? 0 : Number.POSITIVE_INFINITY;
}

/** `test accuracy`, `validation loss`, as prose has it. */
export function metricName(phase: Phase, metric: Metric): string {
  return `${{ trainEval: "training", valid: "validation", test: "test" }[phase]} ${metric}`;
}

function raceOf(records: readonly RunRecord[]): Race {
  // Groups are never empty.
  const { configuration } = (records[0] as RunRecord).header;
  const { workload, workloadVersion, split, target } = configuration;
  const { phase, metric } = target ?? defaultMetric(records);
  const settings = groupBy(records, (record) => {
    const { optimizer, schedule, batchSize, hyperparameters } = record.header.configuration;
    const { runtime, adapter } = placeOf(record);
    return JSON.stringify([optimizer, schedule, batchSize, hyperparameters, runtime, adapter]);
  });
  const labels = labelsOf(settings);
  const contestants = settings.map((runs, index) => contestantOf(labels[index] ?? "", runs, target, phase, metric));
  return { workload, workloadVersion, split, target, phase, metric, contestants: rank(contestants, metric) };
}

function defaultMetric(records: readonly RunRecord[]): { phase: Phase; metric: Metric } {
  const hasAccuracy = records.some(({ evaluations }) => typeof evaluations[0]?.phases.test?.accuracy === "number");
  return { phase: "test", metric: hasAccuracy ? "accuracy" : "loss" };
}

function contestantOf(
  label: string,
  unordered: readonly RunRecord[],
  target: Target | null,
  phase: Phase,
  metric: Metric,
): Contestant {
  const runs = unordered.toSorted((a, b) => a.header.configuration.seed - b.header.configuration.seed);
  // A group is never empty, and all its runs have one optimizer and one setting.
  const { optimizer, hyperparameters } = (runs[0] as RunRecord).header.configuration;
  const times = runs.map(({ end }) => end?.timeToTarget ?? undefined);
  const reached = times.filter((time) => time !== undefined).length;
  return {
    label,
    optimizer,
    hyperparameters,
    runs,
    reached,
    missed: runs.length - reached,
    diverged: runs.filter(({ end }) => end?.status === "diverged").length,
    unfinished: runs.filter(({ end }) => end === undefined || end.status === "killed").length,
    secondsToTarget: target && quartiles(times.map((time) => time?.seconds ?? Number.POSITIVE_INFINITY)),
    stepsToTarget: target && quartiles(times.map((time) => time?.steps ?? Number.POSITIVE_INFINITY)),
    best: quartiles(runs.map((run) => bestValue(run, phase, metric))),
    stepsPerSecond: stepsPerSecond(runs),
  };
}

function bestValue({ evaluations, end }: RunRecord, phase: Phase, metric: Metric): number {
  let best = worstValue(metric);
  if (end?.status === "diverged") return best;
  for (const evaluation of evaluations) {
    const value = metricOf(evaluation, phase, metric);
    if (value !== undefined && isBetter(metric, value, best)) best = value;
  }
  return best;
}

function stepsPerSecond(runs: readonly RunRecord[]): number | null {
  const last = runs.map(({ evaluations }) => evaluations.at(-1)).filter((line) => line !== undefined);
  const seconds = last.reduce((sum, line) => sum + line.trainingSeconds, 0);
  return seconds > 0 ? last.reduce((sum, line) => sum + line.step, 0) / seconds : null;
}

function rank(contestants: readonly Contestant[], metric: Metric): readonly Contestant[] {
  const compare = (a: number, b: number) => (a === b ? 0 : a - b);
  return contestants.toSorted(
    (a, b) =>
      compare(a.secondsToTarget?.median ?? 0, b.secondsToTarget?.median ?? 0) ||
      b.reached - a.reached ||
      compare(a.best.median, b.best.median) * (metric === "accuracy" ? -1 : 1),
  );
}

/**
 * Where a run took place, as far as it makes times incomparable: the runtime, whose version changes between two sessions
 * of one race, and the adapter.
 */
function placeOf({ header: { environment } }: RunRecord): { readonly runtime: string; readonly adapter: string } {
  const [runtime = ""] = environment.runtime.split(" ");
  return { runtime, adapter: environment.adapter.description };
}

/** Names the settings of one optimizer by what differs between them, and by their places if there are several. */
function labelsOf(settings: readonly (readonly RunRecord[])[]): readonly string[] {
  // Groups are never empty.
  const first = settings.map((runs) => runs[0] as RunRecord);
  const places = first.map(placeOf);
  const configurations = first.map(({ header }) => header.configuration);
  return configurations.map((own, index) => {
    const { runtime, adapter } = places[index] as (typeof places)[number];
    const inRuntime = places.some((other) => other.runtime !== runtime) ? ` in ${runtime}` : "";
    // Runtimes differ in what they say of one and the same adapter.
    const isAmbiguous = places.some((other) => other.runtime === runtime && other.adapter !== adapter);
    return `${settingLabel(own, configurations)}${inRuntime}${isAmbiguous ? ` on ${adapter}` : ""}`;
  });
}

function settingLabel(own: RunConfiguration, configurations: readonly RunConfiguration[]): string {
  const siblings = configurations.filter(({ optimizer }) => optimizer === own.optimizer);
  const values = (c: RunConfiguration): Record<string, HyperparameterValue> => ({
    ...c.hyperparameters,
    schedule: c.schedule,
    batchSize: c.batchSize,
  });
  const differing = Object.entries(values(own)).filter(([name, value]) =>
    siblings.some((sibling) => values(sibling)[name] !== value),
  );
  if (differing.length === 0) return own.optimizer;
  return `${own.optimizer} (${differing.map(([name, value]) => `${name} ${value}`).join(", ")})`;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): readonly (readonly T[])[] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return [...groups.values()];
}

/** The best value of the target's quantity in any evaluation of any run that did not diverge. */
export function bestReached(records: readonly RunRecord[], { phase, metric }: Target): number | undefined {
  const values = records
    .filter(({ end }) => end?.status !== "diverged")
    .flatMap(({ evaluations }) => evaluations.map((line) => metricOf(line, phase, metric)))
    .filter((value) => value !== undefined);
  return values.length === 0
    ? undefined
    : values.reduce((best, value) => (isBetter(metric, value, best) ? value : best));
}
