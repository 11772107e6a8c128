import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { RecordError } from "../errors";
import type {
  Budget,
  CheckpointLine,
  EndLine,
  EvaluationLine,
  HeaderLine,
  HyperparameterValue,
  Phase,
  PhaseResult,
  RecordLine,
  ResumeLine,
  RunConfiguration,
  RunEnvironment,
  RunStatus,
  RunTimes,
  Target,
  TimeToTarget,
  TrainingLine,
} from "./schema";
import { phases, recordVersion } from "./schema";

/**
 * One line of JSON, with the line end.
 *
 * JSON has no NaN, no infinities and no negative zero. Diverged runs have all of them, so these four are written as
 * the strings `"NaN"`, `"Infinity"`, `"-Infinity"` and `"-0"`, which the reader takes wherever a number belongs.
 */
export function encodeLine(line: RecordLine): string {
  return `${JSON.stringify(line, (_, value: unknown) => encodeNumber(value))}\n`;
}

/**
 * Reads one line back and checks every field, so that nothing malformed gets past this point.
 *
 * @throws RecordError that names the field; the caller adds file and line.
 */
export function decodeLine(text: string): RecordLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RecordError(`not JSON: ${shorten(text)}`, { cause });
  }
  return decodeRecordLine(new Fields(value, "line"));
}

/**
 * The identity of a configuration: 12 hexadecimal digits of the SHA-256 of its canonical JSON, in which keys are sorted.
 * Configurations with one identity are the same experiment; the device and the time of day are no part of it.
 */
export function configurationId(configuration: RunConfiguration): string {
  const canonical = JSON.stringify(configuration, (_, value: unknown) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return encodeNumber(value);
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  });
  return bytesToHex(sha256(utf8ToBytes(canonical))).slice(0, 12);
}

function encodeNumber(value: unknown): unknown {
  if (typeof value !== "number") return value;
  if (Number.isFinite(value)) return Object.is(value, -0) ? "-0" : value;
  return String(value);
}

const numberWords: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
  "-0": -0,
};

function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

const statuses: readonly RunStatus[] = ["finished", "reached", "budget", "diverged", "killed"];

function decodeRecordLine(line: Fields): RecordLine {
  const type = line.text("type");
  switch (type) {
    case "header":
      return decodeHeader(line);
    case "evaluation":
      return decodeEvaluation(line);
    case "training":
      return decodeTraining(line);
    case "checkpoint":
      return decodeCheckpoint(line);
    case "resume":
      return decodeResume(line);
    case "end":
      return decodeEnd(line);
    default:
      throw new RecordError(`unknown line type "${type}"`);
  }
}

function decodeHeader(line: Fields): HeaderLine {
  const version = line.number("version");
  if (version !== recordVersion) {
    throw new RecordError(
      `record format version ${version}, this release reads version ${recordVersion}. Read it with the release that wrote it.`,
    );
  }
  return {
    type: "header",
    version,
    id: line.text("id"),
    startedAt: line.text("startedAt"),
    configuration: decodeConfiguration(line.fields("configuration")),
    environment: decodeEnvironment(line.fields("environment")),
  };
}

function decodeConfiguration(fields: Fields): RunConfiguration {
  return {
    workload: fields.text("workload"),
    workloadVersion: fields.text("workloadVersion"),
    split: fields.text("split"),
    dataChecksums: fields.fields("dataChecksums").record((entry, key) => entry.text(key)),
    optimizer: fields.text("optimizer"),
    hyperparameters: fields.fields("hyperparameters").record((entry, key) => entry.hyperparameter(key)),
    schedule: fields.text("schedule"),
    batchSize: fields.number("batchSize"),
    stepsPerEpoch: fields.number("stepsPerEpoch"),
    l2: fields.number("l2"),
    seed: fields.number("seed"),
    target: fields.nullable("target", () => decodeTarget(fields.fields("target"))),
    budget: decodeBudget(fields.fields("budget")),
    evaluationInterval: fields.number("evaluationInterval"),
    trainLogInterval: fields.number("trainLogInterval"),
  };
}

function decodeTarget(fields: Fields): Target {
  return {
    phase: fields.oneOf("phase", phases),
    metric: fields.oneOf("metric", ["accuracy", "loss"] as const),
    value: fields.number("value"),
  };
}

function decodeBudget(fields: Fields): Budget {
  const limits: { -readonly [K in keyof Budget]: Budget[K] } = {};
  for (const unit of ["seconds", "epochs", "steps"] as const) {
    if (fields.has(unit)) limits[unit] = fields.number(unit);
  }
  return limits;
}

function decodeEnvironment(fields: Fields): RunEnvironment {
  const adapter = fields.fields("adapter");
  return {
    adapter: { description: adapter.text("description"), fallback: adapter.boolean("fallback") },
    packages: fields.fields("packages").record((entry, key) => entry.text(key)),
    runtime: fields.text("runtime"),
    platform: fields.text("platform"),
    ...(fields.has("tuned") ? { tuned: fields.boolean("tuned") } : {}),
  };
}

function decodeEvaluation(line: Fields): EvaluationLine {
  const results = line.fields("phases");
  const byPhase: Partial<Record<Phase, PhaseResult>> = {};
  for (const phase of phases) {
    if (!results.has(phase)) continue;
    const result = results.fields(phase);
    byPhase[phase] = {
      loss: result.number("loss"),
      dataLoss: result.number("dataLoss"),
      accuracy: result.nullable("accuracy", () => result.number("accuracy")),
    };
  }
  return {
    type: "evaluation",
    step: line.number("step"),
    epoch: line.number("epoch"),
    trainingSeconds: line.number("trainingSeconds"),
    gpuSeconds: line.nullable("gpuSeconds", () => line.number("gpuSeconds")),
    evaluationSeconds: line.number("evaluationSeconds"),
    regularizer: line.number("regularizer"),
    phases: byPhase,
  };
}

function decodeTraining(line: Fields): TrainingLine {
  return {
    type: "training",
    step: line.number("step"),
    loss: line.number("loss"),
    accuracy: line.nullable("accuracy", () => line.number("accuracy")),
  };
}

function decodeCheckpoint(line: Fields): CheckpointLine {
  return { type: "checkpoint", step: line.number("step"), file: line.text("file"), bytes: line.number("bytes") };
}

function decodeResume(line: Fields): ResumeLine {
  return {
    type: "resume",
    step: line.nullable("step", () => line.number("step")),
    at: line.text("at"),
    environment: decodeEnvironment(line.fields("environment")),
  };
}

function decodeEnd(line: Fields): EndLine {
  return {
    type: "end",
    status: line.oneOf("status", statuses),
    step: line.number("step"),
    epoch: line.number("epoch"),
    divergedStep: line.nullable("divergedStep", () => line.number("divergedStep")),
    timeToTarget: line.nullable("timeToTarget", () => decodeTimeToTarget(line.fields("timeToTarget"))),
    seconds: decodeTimes(line.fields("seconds")),
    gpuSeconds: line.nullable("gpuSeconds", () => line.number("gpuSeconds")),
    reason: line.nullable("reason", () => line.text("reason")),
  };
}

function decodeTimeToTarget(fields: Fields): TimeToTarget {
  return { seconds: fields.number("seconds"), steps: fields.number("steps"), epochs: fields.number("epochs") };
}

function decodeTimes(fields: Fields): RunTimes {
  return {
    training: fields.number("training"),
    evaluation: fields.number("evaluation"),
    compilation: fields.number("compilation"),
    data: fields.number("data"),
  };
}

/** An object of unknown content with typed access to its fields; `path` is what messages call it. */
class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(value: unknown, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new RecordError(`${path}: expected an object, found ${shorten(String(JSON.stringify(value)))}`);
    }
    // The check above leaves plain objects only, as the value comes from JSON.parse.
    this.#values = value as Record<string, unknown>;
    this.#path = path;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  text(name: string): string {
    const value = this.#values[name];
    return typeof value === "string" ? value : this.#fail(name, "text");
  }

  boolean(name: string): boolean {
    const value = this.#values[name];
    return typeof value === "boolean" ? value : this.#fail(name, "true or false");
  }

  number(name: string): number {
    const value = this.#values[name];
    if (typeof value === "number") return value;
    const special = typeof value === "string" ? numberWords[value] : undefined;
    return special ?? this.#fail(name, "a number");
  }

  hyperparameter(name: string): HyperparameterValue {
    const value = this.#values[name];
    if (value === null || typeof value === "number" || typeof value === "string" || typeof value === "boolean") {
      return value;
    }
    return this.#fail(name, "a number, text, true, false or null");
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.#values[name];
    return choices.find((choice) => choice === value) ?? this.#fail(name, `one of ${choices.join(", ")}`);
  }

  nullable<T>(name: string, read: () => T): T | null {
    return this.#values[name] === null ? null : read();
  }

  fields(name: string): Fields {
    return new Fields(this.#values[name], this.#name(name));
  }

  record<T>(read: (entry: Fields, key: string) => T): Record<string, T> {
    return Object.fromEntries(Object.keys(this.#values).map((key) => [key, read(this, key)]));
  }

  #name(name: string): string {
    return this.#path === "line" ? name : `${this.#path}.${name}`;
  }

  #fail(name: string, expected: string): never {
    const value = this.#values[name];
    const found = value === undefined ? "nothing" : shorten(JSON.stringify(value));
    throw new RecordError(`${this.#name(name)}: expected ${expected}, found ${found}`);
  }
}
