import { ArgumentError, type Tensor } from "@thalweg/tensor";
import type { Schedule } from "./schedules/schedule";

/** The numbers that a hyperparameter may be. */
export interface Range {
  /** Default: no lower limit. */
  readonly min?: number;
  /** Default: no upper limit. */
  readonly max?: number;
  /** The limits that are not part of the range. Default: none. */
  readonly open?: "min" | "max" | "both";
}

/** From 0 on. */
export const nonNegative: Range = { min: 0 };
/** Greater than 0. */
export const positive: Range = { min: 0, open: "min" };
/** From 0 up to, not including, 1: the retained fraction of an average. */
export const fraction: Range = { min: 0, max: 1, open: "max" };

/**
 * A number that a transformation keeps in its state on the device, so that another value needs no other kernel; or a
 * schedule, whose numbers are kept there and which is evaluated at every step.
 *
 * @see setHyperparameters
 */
export interface Constant<V = number | Schedule> {
  readonly name: string;
  readonly value: V;
  readonly range: Range;
  /** The f32 numbers that stand for a value: computed on the host in float64, where `1 - beta` loses nothing. */
  readonly derive: (value: number) => readonly number[];
  /** The same of a value that a schedule computes on the device: f32 scalars. */
  readonly deriveOnDevice: (value: Tensor) => readonly Tensor[];
}

/**
 * A hyperparameter that enters as it is.
 *
 * @param owner the transformation, for messages.
 * @param value A number, or a schedule.
 * @throws ArgumentError if a number is outside of its range.
 */
export function constant<V extends number | Schedule>(
  owner: string,
  name: string,
  value: V,
  range: Range,
): Constant<V> {
  checkValue(owner, name, value, range);
  return { name, value, range, derive: (own) => [own], deriveOnDevice: (own) => [own] };
}

/**
 * The retained fraction `beta` of an exponential average, as three numbers: `beta`, `1 - beta`, `log(beta)`. In f32,
 * 1 - .999 alone would be off by 1e-5; a scheduled `beta` has that error, since it is an f32 number from the start.
 *
 * @throws ArgumentError if `beta` is not in [0, 1).
 */
export function decayConstant<V extends number | Schedule>(owner: string, name: string, beta: V): Constant<V> {
  checkValue(owner, name, beta, fraction);
  return {
    name,
    value: beta,
    range: fraction,
    derive: (own) => [own, 1 - own, Math.max(Math.log(own), lowestLog)],
    deriveOnDevice: (own) => [own, own.neg().add(1), own.greater(0).where(own.maximum(tiny).log(), lowestLog)],
  };
}

/** Kernels may assume that nothing is infinite; exp of this is 0 all the same. */
const lowestLog = -1e4;
const tiny = 1e-37;

function checkValue(owner: string, name: string, value: number | Schedule, range: Range): void {
  if (typeof value !== "function") checkRange(`${owner}: ${name}`, value, range);
}

/**
 * The numbers behind the hyperparameters, in the order in which the state holds them. Those of a schedule are named after
 * the hyperparameter and a dot: `learningRate.peak`.
 */
export function numbersOf(constants: readonly Constant[]): readonly Constant<number>[] {
  return constants.flatMap((own): readonly Constant<number>[] => {
    const { name, value } = own;
    if (typeof value === "number") return [{ ...own, value }];
    return (value.constants ?? []).map((part) => ({ ...part, name: `${name}.${part.name}` }));
  });
}

/** All of them as the vector in the state: float64 numbers, to be rounded to f32. */
export const packNumbers = (constants: readonly Constant[]): readonly number[] =>
  numbersOf(constants).flatMap(({ value, derive }) => derive(value));

/** @throws ArgumentError that names the value and the range. */
export function checkRange(what: string, value: unknown, range: Range): void {
  if (typeof value === "number" && isInRange(value, range)) return;
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  throw new ArgumentError(`${what} is ${shown}, expected a number in ${formatRange(range)}.`);
}

function isInRange(
  value: number,
  { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, open }: Range,
): boolean {
  if (!Number.isFinite(value) || value < min || value > max) return false;
  if (value === min && (open === "min" || open === "both")) return false;
  return !(value === max && (open === "max" || open === "both"));
}

/** `[0, 1)`. */
export function formatRange({ min, max, open }: Range): string {
  const left = min === undefined || open === "min" || open === "both" ? "(" : "[";
  const right = max === undefined || open === "max" || open === "both" ? ")" : "]";
  return `${left}${min ?? "-∞"}, ${max ?? "∞"}${right}`;
}
