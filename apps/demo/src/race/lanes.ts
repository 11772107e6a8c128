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
  /** Whether its runs are those of this page. */
  readonly isOwn: boolean;
  /** Where its runs took place; empty where all lanes are of this page. */
  readonly environment: string;
  /** Number of its colour: one per optimizer and setting, wherever it ran. */
  readonly color: number;
  /** Number of its pattern: one for each environment, the first one solid. */
  readonly dash: number;
  readonly records: readonly RunRecord[];
  readonly live: LiveRun | undefined;
}

/** What lanes are made of. */
export interface LaneSources {
  readonly race: RaceIdentity;
  /** The race of this page, or the one that is being set up: its entrants have the first colours, in their order. */
  readonly request: RaceRequest | undefined;
  /** Whether that is the race that is shown, so that its entrants have lanes before they have runs. */
  readonly isOwn: boolean;
  readonly own: readonly RunRecord[];
  readonly live: LiveRun | undefined;
  readonly imported: readonly RunRecord[];
  readonly catalogue: Catalogue | undefined;
}

/** The race that a configuration belongs to. */
export function raceOf({ workload, workloadVersion, split, target }: RunConfiguration): RaceIdentity {
  return { key: JSON.stringify([workload, workloadVersion, split, target]), workload, target };
}

/** Where a run took place: `chrome 147 on NVIDIA H200`. */
export function environmentOf({ runtime, adapter }: RunEnvironment): string {
  return `${shortRuntime(runtime)} on ${adapter.description}`;
}

/** `chrome 147`, for `chrome 147.0.7727.24`. */
function shortRuntime(runtime: string): string {
  return runtime.replace(/^(\S+ \d+)\..*$/, "$1");
}

/** A short name for each environment: the runtime's, where no other environment has the same. */
function namesOf(environments: readonly RunEnvironment[]): ReadonlyMap<string, string> {
  const full = new Map(environments.map((environment) => [environmentOf(environment), environment]));
  const runtimes = [...full.values()].map(({ runtime }) => shortRuntime(runtime));
  return new Map(
    [...full].map(([name, { runtime }]) => {
      const short = shortRuntime(runtime);
      return [name, runtimes.filter((other) => other === short).length === 1 ? short : name];
    }),
  );
}

/** The lanes of a race: those of this page in the order in which they were entered, then those of other environments. */
export function lanesOf({ race, request, isOwn, own, live, imported, catalogue }: LaneSources): readonly Lane[] {
  const others = imported.filter(({ header }) => raceOf(header.configuration).key === race.key);
  const names = namesOf(others.map(({ header }) => header.environment));
  const entered = enteredSettings(request, catalogue);
  const colors = new Map([...new Set(entered.map(keyOf))].map((key, index) => [key, index]));
  const patterns = new Map<string, number>();
  const lanes = new Map<string, Lane & { readonly records: RunRecord[] }>();

  const laneOf = (setting: Setting, environment: string | undefined) => {
    const settingKey = keyOf(setting);
    const key = JSON.stringify([environment, settingKey]);
    const known = lanes.get(key);
    if (known !== undefined) return known;
    const place = environment ?? "";
    if (!colors.has(settingKey)) colors.set(settingKey, colors.size);
    if (!patterns.has(place)) patterns.set(place, patterns.size);
    const lane = {
      key,
      optimizer: setting.optimizer,
      detail: detailOf(setting, catalogue),
      isOwn: environment === undefined,
      environment: environment === undefined ? (names.size > 0 ? "this page" : "") : (names.get(environment) ?? ""),
      // Both were set above.
      color: colors.get(settingKey) as number,
      dash: patterns.get(place) as number,
      records: [],
      live: undefined,
    };
    lanes.set(key, lane);
    return lane;
  };

  if (isOwn) {
    for (const setting of entered) laneOf(setting, undefined);
    for (const record of own) laneOf(record.header.configuration, undefined).records.push(record);
    if (live !== undefined) {
      const lane = laneOf(live.configuration, undefined);
      lanes.set(lane.key, { ...lane, live });
    }
  }
  for (const record of others) {
    const { configuration, environment } = record.header;
    laneOf(configuration, environmentOf(environment)).records.push(record);
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
