import type { RunRecord } from "../records/reader";
import type { Metric, Phase } from "../records/schema";
import { metricOf, worstValue } from "./aggregate";
import { quartiles } from "./statistics";

/** What a curve runs along. */
export type Abscissa = "seconds" | "steps";

/** A point of a curve. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** One run's curve. */
export interface RunCurve {
  readonly points: readonly Point[];
  readonly seed: number;
  /** What the end of the curve stands for. */
  readonly ending: "reached" | "diverged" | "stopped";
}

/** What of a record a curve is made of: a run that is going on has as much. */
export interface CurveSource extends Pick<RunRecord, "evaluations" | "end"> {
  readonly header: Pick<RunRecord["header"], "configuration">;
}

/** A run's metric at each of its evaluations; values that are not finite are left out. */
export function runCurve(record: CurveSource, phase: Phase, metric: Metric, abscissa: Abscissa): RunCurve {
  const points: Point[] = [];
  for (const evaluation of record.evaluations) {
    const y = metricOf(evaluation, phase, metric);
    const x = abscissa === "steps" ? evaluation.step : evaluation.trainingSeconds;
    if (y !== undefined && Number.isFinite(y)) points.push({ x, y });
  }
  const status = record.end?.status;
  const ending = status === "reached" || status === "diverged" ? status : "stopped";
  return { points, seed: record.header.configuration.seed, ending };
}

/**
 * The median over runs, at every x where any of them was evaluated; between its evaluations a run is a straight line.
 *
 * A run that stopped because it had reached the target keeps its last value, so that the median meets the target where
 * the table says it does; there it ends. A diverged run has the worst value from its last evaluation on. The median also
 * ends where a run stopped for another reason, as nothing is known of that run beyond.
 */
export function medianCurve(curves: readonly RunCurve[], metric: Metric): readonly Point[] {
  const known = curves.filter(({ points }) => points.length > 0);
  const reached = known.filter(({ ending }) => ending === "reached").map(({ points }) => lastX(points));
  const limit = Math.min(
    Math.max(...known.map(({ points }) => lastX(points))),
    // Where more than half of all runs have reached the target; infinite if they never do.
    reached.sort((a, b) => a - b)[Math.floor(known.length / 2)] ?? Number.POSITIVE_INFINITY,
    ...known.filter(({ ending }) => ending === "stopped").map(({ points }) => lastX(points)),
  );
  const grid = [...new Set(known.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  return grid
    .filter((x) => x <= limit)
    .map((x) => ({ x, y: quartiles(known.map((curve) => valueAt(curve, x, metric))).median }))
    .filter(({ y }) => Number.isFinite(y));
}

function lastX(points: readonly Point[]): number {
  return points.at(-1)?.x ?? 0;
}

function valueAt({ points, ending }: RunCurve, x: number, metric: Metric): number {
  const after = points.findIndex((point) => point.x >= x);
  const right = points[after];
  const left = points[after - 1];
  if (right === undefined) return ending === "diverged" ? worstValue(metric) : (points.at(-1)?.y ?? Number.NaN);
  if (left === undefined) return right.y;
  return left.y + ((right.y - left.y) * (x - left.x)) / (right.x - left.x);
}
