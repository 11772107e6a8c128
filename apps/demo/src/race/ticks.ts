/** Round numbers for an axis: multiples of 1, 2 or 5 times a power of ten inside the range, about `count` of them. */
export function ticksOf([low, high]: readonly [number, number], count: number): readonly number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  // Multiplying, unlike adding up, leaves no crumbs; the rounding takes those of 3 · 0.1.
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}
