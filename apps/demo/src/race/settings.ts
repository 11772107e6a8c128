import { type HyperparameterValue, type StandardRace, standardOptimizers, standardRaces } from "@thalweg/bench";
import type { Catalogue, RaceRequest, WorkloadEntry } from "../worker/protocol";
import { complaint } from "./hyperparameters";

/** An optimizer with the hyperparameters that differ from its defaults. */
export interface Entrant {
  readonly optimizer: string;
  readonly hyperparameters: Readonly<Record<string, HyperparameterValue>>;
}

/** All that a visitor chooses for a race. */
export interface RaceSettings {
  readonly workload: string;
  readonly entrants: readonly Entrant[];
  readonly seeds: readonly number[];
  /** The value to reach of the workload's metric on the test set; null for runs that use up their budget. */
  readonly target: number | null;
  readonly epochs: number;
  /** A second limit, in seconds of training. */
  readonly seconds: number | null;
  /** Null: the workload's. */
  readonly batchSize: number | null;
  /** Steps between evaluations; null for one epoch. */
  readonly every: number | null;
}

/** The race that visitors arrive at. */
export const defaultWorkload = "digits";

/**
 * The settings that a workload starts with: its standard race, or else the standard optimizers with their defaults and the
 * workload's own number of epochs.
 */
export function defaultSettings(workload: string, entry?: WorkloadEntry): RaceSettings {
  const standard: StandardRace | undefined = Object.hasOwn(standardRaces, workload)
    ? standardRaces[workload]
    : undefined;
  const algorithms = standard?.algorithms ?? Object.fromEntries(standardOptimizers.map((name) => [name, {}]));
  return {
    workload,
    entrants: Object.entries(algorithms).map(([optimizer, hyperparameters]) => ({
      optimizer,
      hyperparameters: hyperparameters as Entrant["hyperparameters"],
    })),
    seeds: [42, 43, 44],
    target: standard === undefined ? null : standard.target.value,
    epochs: standard?.budget.epochs ?? entry?.defaults.epochs ?? 1,
    seconds: standard?.budget.seconds ?? null,
    batchSize: null,
    every: standard?.evaluationInterval ?? null,
  };
}

/** Settings as a link has them: `workload=digits&seeds=42,43&run=adam,learningRate:0.01`. Defaults are left out. */
export function encodeSettings(settings: RaceSettings): string {
  const defaults = defaultSettings(settings.workload);
  const parts: string[] = [];
  const add = (name: string, value: string) => parts.push(`${name}=${value}`);
  if (settings.workload !== defaultWorkload) add("workload", encode(settings.workload));
  if (settings.target !== defaults.target) add("target", settings.target === null ? "none" : number(settings.target));
  if (settings.epochs !== defaults.epochs || settings.workload !== defaultWorkload) {
    add("epochs", number(settings.epochs));
  }
  if (settings.seconds !== defaults.seconds) add("seconds", optional(settings.seconds));
  if (settings.batchSize !== defaults.batchSize) add("batch", optional(settings.batchSize));
  if (settings.every !== defaults.every) add("every", optional(settings.every));
  if (settings.seeds.join() !== defaults.seeds.join()) add("seeds", settings.seeds.map(number).join(","));
  if (JSON.stringify(settings.entrants) !== JSON.stringify(defaults.entrants)) {
    for (const { optimizer, hyperparameters } of settings.entrants) {
      const values = Object.entries(hyperparameters).map(([name, value]) => `${encode(name)}:${encode(String(value))}`);
      add("run", [encode(optimizer), ...values].join(","));
    }
  }
  return parts.join("&");
}

/** What a link asked for, and what of it could not be had. */
export interface DecodedSettings {
  readonly settings: RaceSettings;
  /** Sentences for the visitor; what they speak of has its default. */
  readonly problems: readonly string[];
}

/** Reads a link. Whatever it does not say, or says wrongly, is as it is by default. */
export function decodeSettings(query: string, catalogue: Catalogue): DecodedSettings {
  const values = new URLSearchParams(query.replaceAll("+", "%2B"));
  const problems: string[] = [];
  const asked = values.get("workload") ?? defaultWorkload;
  const entry = catalogue.workloads.find(({ name }) => name === asked);
  if (entry === undefined) problems.push(`The link asks for a workload “${asked}”, which does not exist.`);
  const workload = entry?.name ?? defaultWorkload;
  const defaults = defaultSettings(workload, entry);

  const readNumber = <T extends number | null>(name: string, fallback: T, check: (value: number) => boolean): T => {
    const text = values.get(name);
    if (text === null) return fallback;
    // Only where the default may be null.
    if (text === "none" && nullable.has(name)) return null as T;
    const value = Number(text);
    if (text.trim() !== "" && check(value)) return value as T;
    problems.push(`The link has ${name}=${text}, which is no value for it.`);
    return fallback;
  };
  const isCount = (value: number) => Number.isInteger(value) && value >= 1;
  const isPositive = (value: number) => Number.isFinite(value) && value > 0;

  const seedText = values.get("seeds");
  const seeds = seedText === null ? defaults.seeds : parseSeeds(seedText);
  if (typeof seeds === "string") problems.push(`The link has seeds=${seedText}: ${seeds}`);
  const runs = values.getAll("run");
  const entrants = runs.flatMap((text) => readEntrant(text, catalogue, problems));
  return {
    settings: {
      workload,
      entrants: entrants.length === 0 ? defaults.entrants : entrants,
      seeds: typeof seeds === "string" ? defaults.seeds : seeds,
      target: readNumber("target", defaults.target, isPositive),
      epochs: readNumber("epochs", defaults.epochs, isPositive),
      seconds: readNumber("seconds", defaults.seconds, isPositive),
      batchSize: readNumber("batch", defaults.batchSize, isCount),
      every: readNumber("every", defaults.every, isCount),
    },
    problems,
  };
}

const nullable: ReadonlySet<string> = new Set(["target", "seconds", "batch", "every"]);

function readEntrant(text: string, catalogue: Catalogue, problems: string[]): readonly Entrant[] {
  const [optimizer = "", ...assignments] = text.split(",");
  const entry = catalogue.optimizers.find(({ name }) => name === optimizer);
  if (entry === undefined) {
    problems.push(`The link asks for an optimizer “${optimizer}”, which does not exist.`);
    return [];
  }
  const hyperparameters: Record<string, HyperparameterValue> = {};
  for (const assignment of assignments) {
    const at = assignment.indexOf(":");
    const [name, value] = [assignment.slice(0, at), assignment.slice(at + 1)];
    const spec = Object.hasOwn(entry.hyperparameters, name) ? entry.hyperparameters[name] : undefined;
    if (at < 0 || spec === undefined) {
      problems.push(`The link sets “${at < 0 ? assignment : name}” of ${optimizer}, which it does not have.`);
      continue;
    }
    const read = spec.type === "boolean" ? value === "true" : spec.type === "choice" ? value : Number(value);
    const wrong = complaint(spec, value.trim() === "" ? Number.NaN : read);
    if (wrong === undefined) hyperparameters[name] = read;
    else problems.push(`The link has ${name} ${value} for ${optimizer}: ${wrong}`);
  }
  return [{ optimizer, hyperparameters }];
}

/** Seeds as they are typed, `42, 43`; a sentence if they cannot be read. */
export function parseSeeds(text: string): readonly number[] | string {
  const parts = text.split(/[\s,;]+/).filter((part) => part !== "");
  if (parts.length === 0) return "Give at least one whole number.";
  const seeds = parts.map(Number);
  const wrong = parts.find((_, index) => !isSeed(seeds[index] as number));
  if (wrong !== undefined) return `${wrong} is no seed. Seeds are whole numbers from 0 to 4294967295.`;
  if (new Set(seeds).size < seeds.length) return "A seed stands there twice.";
  return seeds;
}

function isSeed(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < 2 ** 32;
}

/** Losses of training batches that a run keeps at most. Longer runs keep every n-th, so that no record grows for ever. */
const keptTrainingLines = 5000;

/** No data set that the demo offers has more examples. */
const mostExamples = 60_000;

/** The race that settings describe. */
export function requestOf(settings: RaceSettings, { defaults }: Pick<WorkloadEntry, "defaults">): RaceRequest {
  const { workload, entrants, seeds, target, epochs, seconds, batchSize, every } = settings;
  const steps = (epochs * mostExamples) / (batchSize ?? defaults.batchSize);
  const interval = 10 * Math.max(1, Math.ceil(steps / keptTrainingLines / 10));
  return {
    workload,
    algorithms: entrants,
    seeds,
    target: target === null ? undefined : { value: target },
    budget: seconds === null ? { epochs } : { epochs, seconds },
    batchSize: batchSize ?? undefined,
    evaluationInterval: every ?? undefined,
    trainLogInterval: interval,
  };
}

/** Numbers and names, with what has a meaning in a query or between entries escaped. */
const encode = (text: string): string => encodeURIComponent(text).replaceAll("%3A", ":");
const number = (value: number): string => encode(String(value));
const optional = (value: number | null): string => (value === null ? "none" : number(value));
