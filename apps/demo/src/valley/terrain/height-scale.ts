/**
 * How values become heights between 0 and 1, for the surface and for the colours of the map: evenly, or, for functions
 * that rise steeply, by a logarithm that is even near the lowest value, so that the valley floor still has a shape.
 */
export interface HeightScale {
  readonly kind: ScaleKind;
  /** The values of heights 0 and 1. */
  readonly low: number;
  readonly high: number;
  /** Of the logarithm: differences well below it are shown evenly. */
  readonly unit: number;
}

export type ScaleKind = "even" | "logarithmic";

/** Above this ratio of the largest value to the middle one the logarithm shows more. */
const steepRatio = 5;

/**
 * The scale for values in ascending order.
 *
 * @param lowest The least value known, if below those of the grid.
 * @param kind What the visitor asked for; by default the values decide.
 */
export function makeScale(sorted: Float64Array, lowest = Number.POSITIVE_INFINITY, kind?: ScaleKind): HeightScale {
  if (sorted.length === 0) return { kind: "even", low: 0, high: 1, unit: 1 };
  const quantile = (q: number): number => sorted[Math.round(q * (sorted.length - 1))] as number;
  const low = Math.min(quantile(0), lowest);
  const high = quantile(1) > low ? quantile(1) : low + Math.max(1, Math.abs(low)) * 1e-3;
  const range = high - low;
  const isSteep = range > steepRatio * (quantile(0.5) - low);
  const unit = Math.max(quantile(0.02) - low, range * 1e-6);
  return { kind: kind ?? (isSteep ? "logarithmic" : "even"), low, high, unit };
}

/** The height of a value: 0 to 1, beyond which it is cut; NaN stays. */
export function heightOfValue({ kind, low, high, unit }: HeightScale, value: number): number {
  const share =
    kind === "even" ? (value - low) / (high - low) : Math.log1p((value - low) / unit) / Math.log1p((high - low) / unit);
  // Below the lowest value the logarithm has none.
  return value <= low ? 0 : Math.min(share, 1);
}

/** The derivative of {@link heightOfValue} by the value, where nothing is cut. */
export function heightSlope({ kind, low, high, unit }: HeightScale, value: number): number {
  if (kind === "even") return 1 / (high - low);
  return 1 / ((unit + Math.max(value - low, 0)) * Math.log1p((high - low) / unit));
}

/** About how many lines a map has. */
const lineCount = 16;

/**
 * The values at which contour lines are drawn, ascending: round numbers, evenly spaced, or above the lowest value by
 * 1, 2, 5, 10, … where the scale is logarithmic.
 */
export function contourLevels(scale: HeightScale): readonly number[] {
  const { kind, low, high, unit } = scale;
  if (kind === "even") {
    const step = roundStep((high - low) / lineCount);
    const first = Math.ceil(low / step);
    const count = Math.floor(high / step) - first + 1;
    return Array.from({ length: count }, (_, index) => (first + index) * step).filter((level) => level > low);
  }
  const [from, to] = [Math.floor(Math.log10(unit)) - 1, Math.ceil(Math.log10(high - low))];
  const decades = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const dense = to - from <= lineCount / 3 ? [1, 2, 5] : to - from <= lineCount / 2 ? [1, 3] : [1];
  return decades
    .flatMap((decade) => dense.map((digit) => Number(`${digit}e${decade}`)))
    .filter((above) => above < high - low)
    .map((above) => low + above);
}

/** The round step (1, 2 or 5 times a power of ten) that is the nearest above. */
export function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const digit = [1, 2, 5, 10].find((candidate) => candidate * power >= step * (1 - 1e-9)) ?? 10;
  return digit * power;
}

/** Round values within an interval, about `count` of them. */
export function ticks(from: number, to: number, count: number): readonly number[] {
  const step = roundStep((to - from) / count);
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  // Multiplying leaves digits like 0.30000000000000004.
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}
