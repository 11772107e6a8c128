import type { Metric } from "@thalweg/bench";

/** A value as an axis shows it: percent for accuracies, and short powers for what is long. */
export function formatTick(value: number, metric?: Metric): string {
  if (metric === "accuracy") return `${Number((100 * value).toPrecision(6))} %`;
  if (Math.abs(value) >= 10_000) return `${Number((value / 1000).toPrecision(6))} k`;
  return String(Number(value.toPrecision(6)));
}
