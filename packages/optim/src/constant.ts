import { ArgumentError } from "@thalweg/tensor";

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
 * A number that a transformation keeps in its state on the device, so that another value needs no other kernel.
 *
 * @see setHyperparameters
 */
export interface Constant {
  readonly name: string;
  readonly value: number;
  readonly range: Range;
  /** The f32 numbers that stand for a value: computed on the host in float64, where `1 - beta` loses nothing. */
  readonly derive: (value: number) => readonly number[];
}

/**
 * A hyperparameter that enters as it is.
 *
 * @param owner the transformation, for messages.
 * @throws ArgumentError if the value is outside of its range.
 */
export function constant(owner: string, name: string, value: number, range: Range): Constant {
  checkRange(`${owner}: ${name}`, value, range);
  return { name, value, range, derive: (own) => [own] };
}

/**
 * The retained fraction `beta` of an exponential average, as three numbers: `beta`, `1 - beta`, `log(beta)`. In f32,
 * 1 - .999 alone would be off by 1e-5.
 *
 * @throws ArgumentError if `beta` is not in [0, 1).
 */
export function decayConstant(owner: string, name: string, beta: number): Constant {
  checkRange(`${owner}: ${name}`, beta, fraction);
  return { name, value: beta, range: fraction, derive: (own) => [own, 1 - own, finiteLog(own)] };
}

/** Kernels may assume that nothing is infinite; exp of this is 0 all the same. */
const finiteLog = (x: number): number => Math.max(Math.log(x), -1e4);

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
