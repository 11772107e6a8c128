/** Readers of what people type: each takes text and gives a value, or throws a UsageError that shows the right form. */

import type { HyperparameterSpec } from "@thalweg/optim";
import { UsageError } from "../errors";
import { type Budget, type HyperparameterValue, type Metric, type Phase, phases } from "../records/schema";
import type { TargetRequest } from "../run/configuration";
import { unknownName } from "../run/optimizer";

/** What a number has to be. */
export interface NumberRange {
  /** The option, as the message names it. */
  readonly option: string;
  readonly integer?: boolean;
  /** Smallest allowed value. */
  readonly min?: number;
  /** Largest allowed value. */
  readonly max?: number;
}

/** A finite number, with `1e-3` and `.5` as JavaScript writes them. */
export function parseNumber(text: string, { option, integer = false, min, max }: NumberRange): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  const range =
    min !== undefined && max !== undefined
      ? ` from ${min} to ${max}`
      : min !== undefined
        ? ` of at least ${min}`
        : max !== undefined
          ? ` of at most ${max}`
          : "";
  const fits =
    Number.isFinite(value) &&
    (!integer || Number.isSafeInteger(value)) &&
    (min === undefined || value >= min) &&
    (max === undefined || value <= max);
  if (!fits) {
    throw new UsageError(`${option}: "${text}" is not ${integer ? "an integer" : "a number"}${range}.`);
  }
  return value;
}

/** The seed that counts start from, that of the published tuning runs. */
export const firstSeed = 42;

const largestSeed = 2 ** 32 - 1;

/** `3` for three seeds from 42 on, `42,43,50` for these; one certain seed is written `42,`. */
export function parseSeeds(text: string): readonly number[] {
  if (!text.includes(",")) {
    const count = parseNumber(text, { option: "--seeds", integer: true, min: 1, max: 1000 });
    return Array.from({ length: count }, (_, index) => firstSeed + index);
  }
  const parts = text.split(",").filter((part) => part.trim() !== "");
  const seeds = parts.map((part) => parseNumber(part, { option: "--seeds", integer: true, min: 0, max: largestSeed }));
  if (seeds.length === 0) throw new UsageError(`--seeds: "${text}" holds no seed. Write 3, or 42,43,44.`);
  const repeated = seeds.find((seed, index) => seeds.indexOf(seed) !== index);
  if (repeated !== undefined) throw new UsageError(`--seeds: ${repeated} is given twice. Each seed is one run.`);
  return seeds;
}

const budgetUnits: Readonly<Record<string, { readonly limit: keyof Budget; readonly factor: number }>> = {
  s: { limit: "seconds", factor: 1 },
  seconds: { limit: "seconds", factor: 1 },
  min: { limit: "seconds", factor: 60 },
  minutes: { limit: "seconds", factor: 60 },
  h: { limit: "seconds", factor: 3600 },
  hours: { limit: "seconds", factor: 3600 },
  epoch: { limit: "epochs", factor: 1 },
  epochs: { limit: "epochs", factor: 1 },
  step: { limit: "steps", factor: 1 },
  steps: { limit: "steps", factor: 1 },
};

/** `60s`, `5min`, `20epochs`, `2000steps`, or several with commas, of which the first that is used up ends the run. */
export function parseBudget(text: string): Budget {
  const budget: { -readonly [K in keyof Budget]: Budget[K] } = {};
  for (const part of text.split(",")) {
    const [, amount = "", name = ""] = /^\s*([0-9.eE+-]*?)\s*([a-z]*)\s*$/.exec(part) ?? [];
    const unit = Object.hasOwn(budgetUnits, name) ? budgetUnits[name] : undefined;
    if (unit === undefined || amount === "") {
      throw new UsageError(`--budget: "${part.trim()}" has no known unit. Write 60s, 5min, 20epochs or 2000steps.`);
    }
    const value = parseNumber(amount, { option: "--budget", integer: unit.limit !== "seconds" });
    if (value <= 0) throw new UsageError(`--budget: ${part.trim()} leaves nothing to train. Give more than 0.`);
    if (budget[unit.limit] !== undefined) {
      throw new UsageError(`--budget: ${unit.limit} are limited twice in "${text}". Give each limit once.`);
    }
    budget[unit.limit] = value * unit.factor;
  }
  return budget;
}

/** `0.9` and `90%` for the workload's usual metric on the test set, `valid-loss=0.3` for any other. */
export function parseTarget(text: string): TargetRequest {
  const [, quantity, amount = ""] = /^(?:([^=]*)=)?(.*)$/.exec(text.trim()) ?? [];
  const named: Omit<TargetRequest, "value"> = quantity === undefined ? {} : parseQuantity(quantity);
  const percent = amount.endsWith("%");
  const number = parseNumber(percent ? amount.slice(0, -1) : amount, { option: "--target" });
  const value = percent ? number / 100 : number;
  if ((named.metric === "accuracy" || percent) && !(value >= 0 && value <= 1)) {
    throw new UsageError(
      `--target: an accuracy of ${text} does not exist. Give a fraction from 0 to 1, such as 0.9 or 90%.`,
    );
  }
  return { ...named, value };
}

function parseQuantity(name: string): { phase: Phase; metric: Metric } {
  for (const phase of phases) {
    for (const metric of ["accuracy", "loss"] as const) if (name === `${phase}-${metric}`) return { phase, metric };
  }
  const names = phases.flatMap((phase) => [`${phase}-accuracy`, `${phase}-loss`]);
  throw new UsageError(`--target: "${name}" is no quantity. Use one of ${names.join(", ")}.`);
}

/** `adam=0.001` as name and number. */
export function parseAssignment(text: string, option: string): readonly [string, string] {
  const [, name, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new UsageError(
      `${option}: "${text}" assigns nothing. Write ${option} NAME=VALUE, such as ${option} adam=0.001.`,
    );
  }
  return [name, value];
}

/** Names with commas between, none of them empty or given twice. */
export function parseNames(text: string, option: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes(""))
    throw new UsageError(`${option}: "${text}" has an empty name. Write a,b,c without spare commas.`);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw new UsageError(`${option}: ${repeated} is given twice.`);
  return names;
}

/** The value of a hyperparameter as its type wants it. */
export function parseHyperparameter(
  text: string,
  { type }: Pick<HyperparameterSpec, "type">,
  option: string,
): HyperparameterValue {
  switch (type) {
    case "boolean":
      if (text !== "true" && text !== "false") throw new UsageError(`${option}: "${text}" is neither true nor false.`);
      return text === "true";
    case "choice":
      return text;
    case "integer":
    case "float":
      return parseNumber(text, { option, integer: type === "integer" });
  }
}

/** One of the known names, or an error that suggests the nearest one and says where they are listed. */
export function parseChoice<T extends string>(text: string, known: readonly T[], what: string, way: string): T {
  const found = known.find((name) => name === text);
  if (found !== undefined) return found;
  throw unknownName(what, text, known, way);
}
