import { ArgumentError, nearestName } from "@thalweg/tensor";
import { checkRange, type Range } from "./constant";
import type { Schedule } from "./schedules/schedule";
import type { ParameterPredicate } from "./tensors";
import { unknownName } from "./transform";

/** How a tuner draws a value; `complement` draws 1 - value, `"logUniform"` is uniform in the logarithm. */
export interface SearchSpace {
  readonly distribution: "uniform" | "logUniform";
  readonly low: number;
  readonly high: number;
  readonly complement?: true;
}

interface Described {
  readonly description: string;
  /** Absent where tuning is not usual. */
  readonly tuning?: SearchSpace;
}

/** A hyperparameter that is a number. */
export interface FloatSpec extends Described, Range {
  readonly type: "float";
  readonly default: number;
  /** May also be a schedule. */
  readonly schedulable?: true;
}

/** A hyperparameter that is a whole number. */
export interface IntegerSpec extends Described, Range {
  readonly type: "integer";
  readonly default: number;
}

/** An option that is on or off. */
export interface BooleanSpec extends Described {
  readonly type: "boolean";
  readonly default: boolean;
}

/** An option with few values. */
export interface ChoiceSpec extends Described {
  readonly type: "choice";
  readonly default: string;
  readonly choices: readonly string[];
  /** May also be a function that decides for each parameter. */
  readonly predicate?: true;
}

/** What one hyperparameter of an optimizer is. Command lines, documents and tuners read it. */
export type HyperparameterSpec = FloatSpec | IntegerSpec | BooleanSpec | ChoiceSpec;

export type HyperparameterSpecs = Readonly<Record<string, HyperparameterSpec>>;

type ValueOf<S> = S extends { readonly type: "float"; readonly schedulable: true }
  ? number | Schedule
  : S extends { readonly type: "float" | "integer" }
    ? number
    : S extends { readonly type: "boolean" }
      ? boolean
      : S extends { readonly choices: readonly (infer C)[] }
        ? S extends { readonly predicate: true }
          ? C | ParameterPredicate
          : C
        : never;

/** Values for all hyperparameters. */
export type ValuesOf<H> = { readonly [K in keyof H]: ValueOf<H[K]> };

/** Values for any hyperparameters; the others keep their defaults. */
export type OptionsOf<H> = Partial<ValuesOf<H>>;

/**
 * All values: those given, checked, and the defaults of the rest.
 *
 * @throws ArgumentError for an unknown name, another type, or a value outside of its range.
 */
export function completeValues<H extends HyperparameterSpecs>(
  owner: string,
  specs: H,
  given: Readonly<Record<string, unknown>>,
): ValuesOf<H> {
  const values: Record<string, unknown> = {};
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(specs, name)) throw unknownName(`hyperparameter of ${owner}`, name, Object.keys(specs));
  }
  for (const [name, spec] of Object.entries(specs)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    if (value !== undefined) checkValue(`${owner}: ${name}`, value, spec);
    values[name] = value ?? spec.default;
  }
  return values as ValuesOf<H>;
}

/** The end of the message: the nearest choice, if one is near. */
function guess(value: unknown, { choices }: ChoiceSpec): string {
  const nearest = typeof value === "string" ? nearestName(value, choices) : undefined;
  return nearest === undefined ? "." : `; did you mean "${nearest}"?`;
}

function checkValue(what: string, value: unknown, spec: HyperparameterSpec): void {
  const fail = (expected: string, end = "."): never => {
    throw new ArgumentError(`${what} is ${JSON.stringify(value) ?? typeof value}, expected ${expected}${end}`);
  };
  switch (spec.type) {
    case "boolean":
      if (typeof value !== "boolean") fail("true or false");
      return;
    case "choice":
      if (spec.predicate && typeof value === "function") return;
      if (!spec.choices.some((choice) => choice === value))
        fail(`one of ${spec.choices.join(", ")}`, guess(value, spec));
      return;
    case "integer":
      checkRange(what, value, spec);
      if (!Number.isInteger(value)) fail("a whole number");
      return;
    case "float":
      if (spec.schedulable && typeof value === "function") return;
      checkRange(what, value, spec);
  }
}
