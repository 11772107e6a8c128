import {
  type HyperparameterValue,
  type Metric,
  medianCurve,
  type Phase,
  type Point,
  type RunConfiguration,
  type RunCurve,
  type RunEnvironment,
  type RunRecord,
  runCurve,
  type Target,
} from "@thalweg/bench";
import type { Catalogue, RaceRequest } from "../worker/protocol";
import { spokenName } from "./hyperparameters";
import type { LiveRun } from "./session";

/** What all runs of one race have in common: only such runs can be compared. */
export interface RaceIdentity {
  readonly key: string;
  readonly workload: string;
  readonly target: Target | null;
}

/** The runs of one optimizer with one setting in one environment: what has a line in the legend and in the table. */
export interface Lane {
  readonly key: string;
  readonly optimizer: string;
  /** The hyperparameters that tell it from others: `learning rate 0.4`. */
  readonly detail: string;
  /** Where its runs took place; empty for runs of this page. */
  readonly environment: string;
  /** Number of its colour: one per optimizer and setting, wherever it ran. */
  readonly color: number;
  /** Number of its pattern: 0 for this page, and one for each other environment. */
  readonly dash: number;
  readonly records: readonly RunRecord[];
  readonly live: LiveRun | undefined;
}

/** What lanes are made of. */
export interface LaneSources {
  readonly race: RaceIdentity;
  readonly request: RaceRequest | undefined;
  readonly own: readonly RunRecord[];
  readonly live: LiveRun | undefined;
  readonly imported: readonly RunRecord[];
  readonly catalogue: Catalogue | undefined;
}

/** The race that a configuration belongs to. */
export function raceOf({ workload, workloadVersion, split, target }: RunConfiguration): RaceIdentity {
  return { key: JSON.stringify([workload, workloadVersion, split, target]), workload, target };
}

/** Where a run took place, in a few words: `chrome 147, NVIDIA H200`. */
export function environmentOf({ runtime, adapter }: RunEnvironment): string {
  return `${runtime.replace(/^(\S+ \d+)\..*$/, "$1")}, ${adapter.description}`;
}

/** The lanes of a race: those of this page in the order in which they were entered, then those of other environments. */
export function lanesOf({ race, request, own, live, imported, catalogue }: LaneSources): readonly Lane[] {
  const lanes = new Map<string, Lane & { readonly records: RunRecord[] }>();
  const colors = new Map<string, number>();
  const environments: string[] = [];
  const laneOf = (setting: Setting, environment: string) => {
    const settingKey = keyOf(setting);
    const key = JSON.stringify([environment, settingKey]);
    const known = lanes.get(key);
    if (known !== undefined) return known;
    if (!colors.has(settingKey)) colors.set(settingKey, colors.size);
    if (environment !== "" && !environments.includes(environment)) environments.push(environment);
    const lane = {
      key,
      optimizer: setting.optimizer,
      detail: detailOf(setting, catalogue),
      environment,
      color: colors.get(settingKey) ?? 0,
      dash: environments.indexOf(environment) + 1,
      records: [],
      live: undefined,
    };
    lanes.set(key, lane);
    return lane;
  };
  for (const setting of enteredSettings(request, catalogue)) laneOf(setting, "");
  for (const record of own) laneOf(record.header.configuration, "").records.push(record);
  if (live !== undefined) {
    const lane = laneOf(live.configuration, "");
    lanes.set(lane.key, { ...lane, live });
  }
  for (const record of imported) {
    const { configuration, environment } = record.header;
    if (raceOf(configuration).key === race.key) laneOf(configuration, environmentOf(environment)).records.push(record);
  }
  return [...lanes.values()];
}

/** What tells the lanes of one environment apart. */
type Setting = Pick<RunConfiguration, "optimizer" | "hyperparameters" | "schedule" | "batchSize">;

function enteredSettings(request: RaceRequest | undefined, catalogue: Catalogue | undefined): readonly Setting[] {
  if (request === undefined || catalogue === undefined) return [];
  const workload = catalogue.workloads.find(({ name }) => name === request.workload);
  return request.algorithms.map(({ optimizer, hyperparameters = {} }) => ({
    optimizer,
    hyperparameters: { ...defaultsOf(optimizer, catalogue), ...(hyperparameters as Setting["hyperparameters"]) },
    schedule: "constant",
    batchSize: request.batchSize ?? workload?.defaults.batchSize ?? 0,
  }));
}

function defaultsOf(
  optimizer: string,
  catalogue: Catalogue | undefined,
): Readonly<Record<string, HyperparameterValue>> {
  const specs = catalogue?.optimizers.find(({ name }) => name === optimizer)?.hyperparameters ?? {};
  return Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, spec.default]));
}

function keyOf({ optimizer, hyperparameters, schedule, batchSize }: Setting): string {
  const sorted = Object.entries(hyperparameters).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([optimizer, schedule, batchSize, sorted]);
}

function detailOf(
  { optimizer, hyperparameters, schedule, batchSize }: Setting,
  catalogue: Catalogue | undefined,
): string {
  const defaults = defaultsOf(optimizer, catalogue);
  const shown = Object.entries(hyperparameters).filter(
    ([name, value]) => name === "learningRate" || (Object.hasOwn(defaults, name) && defaults[name] !== value),
  );
  const parts = shown.map(([name, value]) => `${spokenName(name)} ${formatValue(value)}`);
  if (schedule !== "constant") parts.push(schedule);
  const usual = catalogue?.workloads.some(({ defaults: own }) => own.batchSize === batchSize) ?? true;
  if (!usual) parts.push(`batch ${batchSize}`);
  return parts.join(", ");
}

function formatValue(value: HyperparameterValue): string {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
}

/** What a race is compared by: the target's quantity, or test accuracy. */
export function measureOf({ target }: RaceIdentity): { readonly phase: Phase; readonly metric: Metric } {
  return target ?? { phase: "test", metric: "accuracy" };
}

/** The curves of a lane: one per run, and the median of those that are over, if there is more than one. */
export function curvesOf(
  lane: Lane,
  phase: Phase,
  metric: Metric,
  abscissa: "seconds" | "steps",
): { readonly runs: readonly RunCurve[]; readonly median: readonly Point[] } {
  const over = lane.records.map((record) => runCurve(record, phase, metric, abscissa));
  const runs =
    lane.live === undefined
      ? over
      : [
          ...over,
          runCurve(
            { header: { configuration: lane.live.configuration }, evaluations: lane.live.evaluations, end: undefined },
            phase,
            metric,
            abscissa,
          ),
        ];
  const known = over.filter(({ points }) => points.length > 0);
  return { runs, median: known.length > 1 ? medianCurve(known, metric) : [] };
}
