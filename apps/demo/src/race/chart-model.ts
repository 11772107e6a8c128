import { type Metric, metricName, type Phase, type Point, type Theme } from "@thalweg/bench";
import { curvesOf, type Lane, measureOf, type RaceIdentity } from "./lanes";

/** A line of a chart. */
export interface ChartLine {
  /** Whose line it is: what hovering over it says. */
  readonly label: string;
  readonly color: number;
  readonly dash: number;
  /** `median` lines are thick, those of single `run`s thin, losses of training batches faint. */
  readonly kind: "run" | "median" | "batch";
  readonly points: readonly Point[];
}

/** All that one chart shows: what is drawn live, exported, and read out. */
export interface ChartModel {
  readonly id: string;
  readonly title: string;
  readonly abscissa: "seconds" | "steps";
  readonly metric: Metric;
  readonly lines: readonly ChartLine[];
  /** The value to reach, on this chart's metric. */
  readonly target: number | undefined;
  readonly xRange: readonly [number, number];
  readonly yRange: readonly [number, number];
}

/** Charts that a race has: its own metric first, each against time and against steps. */
export function chartsOf(race: RaceIdentity, lanes: readonly Lane[]): readonly ChartModel[] {
  const { phase, metric } = measureOf(race);
  const metrics: readonly Metric[] = metric === "accuracy" ? ["accuracy", "loss"] : ["loss"];
  return metrics.flatMap((own) =>
    (["seconds", "steps"] as const).map((abscissa) => chartOf(race, lanes, phase, own, abscissa)),
  );
}

function chartOf(
  { target }: RaceIdentity,
  lanes: readonly Lane[],
  phase: Phase,
  metric: Metric,
  abscissa: ChartModel["abscissa"],
): ChartModel {
  const lines: ChartLine[] = [];
  for (const lane of lanes) {
    const { color, dash } = lane;
    const label = labelOf(lane);
    const { runs, median } = curvesOf(lane, phase, metric, abscissa);
    for (const { points, seed } of runs)
      lines.push({ label: `${label}, seed ${seed}`, color, dash, kind: "run", points });
    if (median.length > 0) lines.push({ label: `${label}, median`, color, dash, kind: "median", points: median });
    if (metric === "loss" && abscissa === "steps" && lane.live !== undefined) {
      const points = lane.live.training
        .filter(({ loss }) => Number.isFinite(loss))
        .map(({ step, loss }) => ({ x: step, y: loss }));
      lines.push({ label: `${label}, training batches`, color, dash, kind: "batch", points });
    }
  }
  const name = metricName(phase, metric);
  return {
    id: `${metric}-${abscissa}`,
    title: `${name.charAt(0).toUpperCase()}${name.slice(1)} against ${abscissa === "seconds" ? "time" : "steps"}`,
    abscissa,
    metric,
    lines: lines.filter(({ points }) => points.length > 0),
    target: target !== null && target.metric === metric ? target.value : undefined,
    xRange: [0, Math.max(abscissa === "seconds" ? 0.01 : 10, ...lines.map(({ points }) => points.at(-1)?.x ?? 0))],
    yRange: metric === "accuracy" ? [0, 1] : lossRange(lines, target?.metric === "loss" ? target.value : undefined),
  };
}

/** `adam, learning rate 0.01 (node 22, llvmpipe)`. */
export function labelOf({ optimizer, detail, environment }: Lane): string {
  const name = detail === "" ? optimizer : `${optimizer}, ${detail}`;
  return environment === "" ? name : `${name} (${environment})`;
}

/** From 0 to a little above where runs begin: what diverges leaves the chart instead of flattening all others. */
function lossRange(lines: readonly ChartLine[], target: number | undefined): readonly [number, number] {
  const starts = lines.filter(({ kind }) => kind === "run").map(({ points }) => points[0]?.y ?? 0);
  return [0, 1.1 * Math.max(0.1, target ?? 0, ...starts)];
}

/** Patterns of lines by {@link ChartLine.dash}: dash and gap in pixels. */
export function dashOf(dash: number): readonly number[] {
  const patterns = [[], [6, 4], [2, 3], [9, 3, 2, 3]] as const;
  return patterns[dash % patterns.length] ?? [];
}

/** How a line is drawn. */
export function strokeOf({ kind }: ChartLine): { readonly width: number; readonly opacity: number } {
  if (kind === "median") return { width: 2.6, opacity: 1 };
  return kind === "run" ? { width: 1.4, opacity: 0.7 } : { width: 1, opacity: 0.35 };
}

/** The colour of a line in a theme. */
export function colorOf({ color }: Pick<ChartLine, "color">, { series }: Theme): string {
  // The remainder is always inside the list, which is not empty.
  return series[color % series.length] as string;
}
