import { float16Bits, float16Value } from "../dtype";
import { ThalwegError } from "../errors";
import { type Shape, stridesOf } from "../shape";

/** How far a result may be from the exact one: `absolute + relative · |exact|`. */
export interface Bound {
  readonly relative: number;
  readonly absolute: number;
}

export interface ToleranceOptions {
  /** Rounded operations that follow one another, such as the length of a sum. Default 1. */
  readonly terms?: number;
  /** By how much the problem enlarges relative errors; for a sum Σ|x| / |Σx| at worst. Default 1. */
  readonly condition?: number;
  /** Error of the functions used, in units in the last place. Default 0. */
  readonly ulp?: number;
  /** Magnitude of intermediate values where the exact result may be near 0, such as Σ|a||b| of a dot product. Default 0. */
  readonly scale?: number;
  /** Arithmetic is f32 for f16 as well; choose "f16" where results are stored as f16. Default "f32". */
  readonly dtype?: "f32" | "f16";
}

/** Largest relative error of rounding to the nearest number: half a unit in the last place. */
export const unitRoundoff = { f32: 2 ** -24, f16: 2 ** -11 } as const;

/** The smallest normal number; a device may replace anything smaller by 0. */
const smallestNormal = { f32: 2 ** -126, f16: 2 ** -14 } as const;

/**
 * The error bound of a computation in floating point, from what it consists of: γ = n·u / (1 - n·u) for `terms` n, and
 * two u for every unit in the last place of the functions.
 *
 * @see Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1
 */
export function tolerance({
  terms = 1,
  condition = 1,
  ulp = 0,
  scale = 0,
  dtype = "f32",
}: ToleranceOptions = {}): Bound {
  const u = unitRoundoff.f32;
  const accumulated = (terms * u) / (1 - terms * u);
  const stored = dtype === "f16" ? unitRoundoff.f16 : 0;
  const relative = condition * (accumulated + 2 * u * ulp) + stored;
  return { relative, absolute: scale * relative + smallestNormal[dtype] };
}

/** The distance from |value| to the next larger f32. */
export function ulpOf(value: number): number {
  const magnitude = Math.abs(value);
  if (!Number.isFinite(magnitude)) return Number.NaN;
  const exponent = Math.floor(Math.log2(Math.max(magnitude, 2 ** -126)));
  // Math.log2 may round up to the next integer just below a power of two.
  const exact = magnitude < 2 ** exponent ? exponent - 1 : exponent;
  return 2 ** (Math.max(exact, -126) - 23);
}

/** Rounds to the nearest number of a float dtype. */
export const roundTo = (value: number, dtype: "f32" | "f16"): number =>
  dtype === "f32" ? Math.fround(value) : float16Value(float16Bits(value));

interface Values {
  readonly values: ArrayLike<number>;
  readonly shape?: Shape;
}

const shapeOf = (array: ArrayLike<number> | Values): Shape | undefined => ("length" in array ? undefined : array.shape);

/**
 * Throws unless all elements of `actual` are within the bound of `expected`. Equal infinities agree, and so do two NaNs.
 *
 * @param bound For all elements, or the allowed absolute error of each one.
 * @param label What is compared, for the message.
 * @throws ThalwegError ("mismatch") that shows the element with the largest error relative to what is allowed.
 */
export function expectClose(
  actual: ArrayLike<number> | Values,
  expected: ArrayLike<number> | Values,
  bound: Bound | ((expected: number, position: number) => number),
  label = "expectClose",
): void {
  // Arrays have a method `values`, so `length` tells them from arrays with a shape.
  const a = "length" in actual ? actual : actual.values;
  const e = "length" in expected ? expected : expected.values;
  const shape = shapeOf(expected) ?? shapeOf(actual) ?? [e.length];
  if (a.length !== e.length) {
    throw new ThalwegError("mismatch", `${label}: ${a.length} elements where ${e.length} are expected.`);
  }
  const allowed =
    typeof bound === "function" ? bound : (value: number) => bound.absolute + bound.relative * Math.abs(value);
  let wrong = 0;
  let worst = -1;
  let worstRatio = 1;
  for (let position = 0; position < e.length; position++) {
    const [x, y] = [a[position] as number, e[position] as number];
    if (Object.is(x, y) || x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    const ratio = Math.abs(x - y) / allowed(y, position);
    if (ratio <= 1) continue;
    wrong++;
    // A NaN or an infinity is worse than any number.
    const measure = Number.isFinite(ratio) ? ratio : Number.POSITIVE_INFINITY;
    if (worst < 0 || measure > worstRatio) {
      worst = position;
      worstRatio = measure;
    }
  }
  if (wrong === 0) return;
  const [x, y] = [a[worst] as number, e[worst] as number];
  const coordinates = stridesOf(shape).map((stride, axis) => Math.floor(worst / stride) % (shape[axis] as number));
  throw new ThalwegError(
    "mismatch",
    `${label}: ${wrong} of ${e.length} elements differ. Worst at [${coordinates.join(", ")}] of ` +
      `[${shape.join(", ")}]: expected ${y}, actual ${x}, error ${Math.abs(x - y)} ` +
      `(${(Math.abs(x - y) / ulpOf(y)).toPrecision(3)} ulp), allowed ${allowed(y, worst)}.`,
  );
}
