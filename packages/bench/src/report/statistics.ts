/** Median and quartiles of a sample. */
export interface Quartiles {
  readonly lower: number;
  readonly median: number;
  readonly upper: number;
}

/**
 * Quartiles by linear interpolation between order statistics (Hyndman and Fan 1996, type 7: the default of NumPy and R).
 * Infinite values count as what they are: a quartile next to an infinite value is infinite.
 *
 * @param values at least one, none of them NaN.
 */
export function quartiles(values: readonly number[]): Quartiles {
  const sorted = values.toSorted((a, b) => a - b);
  return { lower: quantile(sorted, 0.25), median: quantile(sorted, 0.5), upper: quantile(sorted, 0.75) };
}

function quantile(sorted: readonly number[], fraction: number): number {
  const position = fraction * (sorted.length - 1);
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  // Without the test an infinite neighbour of weight 0, and the difference of two infinities, would give NaN.
  return below === above ? below : below + (above - below) * (position - Math.floor(position));
}
