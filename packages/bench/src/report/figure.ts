import * as Plot from "@observablehq/plot";
import { createDocument } from "#platform";
import type { Metric } from "../records/schema";
import { metricName, type Race } from "./aggregate";
import { type Abscissa, medianCurve, type Point, type RunCurve, runCurve } from "./curve";
import { formatSeconds, formatTarget } from "./format";
import { raceTitle } from "./table";
import { fontFamily, seriesColor, type Theme } from "./theme";

const width = 960;
const padding = 28;
const columnGap = 24;
const panelWidth = (width - columnGap) / 2;
const panelHeight = 300;
const titleHeight = 40;
const headingHeight = 34;
const rowHeight = 34;
const axisHeight = 44;

/** Options of {@link renderFigure}. */
export interface FigureOptions {
  /** Whether the title stands above the figure, as a file needs it; a page has it already. Default true. */
  readonly heading?: boolean;
}

/**
 * The figure of a race as one SVG: the times to the target (a dot for each seed, a bar from quartile to quartile, a tick
 * at the median, a cross for each miss), then accuracy and loss against time and against steps (seeds thin, medians
 * thick, the target as a dashed line, a cross where a run diverged).
 */
export function renderFigure(race: Race, theme: Theme, { heading: shown = true }: FigureOptions = {}): string {
  const document = createDocument();
  const parts: { readonly svg: string; readonly x: number; readonly y: number }[] = [];
  let y = shown ? titleHeight : 0;
  const legend = renderLegend(race, theme, y);
  y += legend.height;
  if (race.target !== null) {
    const strip = timesToTarget(race, theme, document);
    parts.push({ svg: strip.svg, x: 0, y });
    y += strip.height + 14;
  }
  for (const metric of metricsOf(race)) {
    (["seconds", "steps"] as const).forEach((abscissa, column) => {
      parts.push({ svg: curves(race, metric, abscissa, theme, document), x: column * (panelWidth + columnGap), y });
    });
    y += panelHeight + 14;
  }
  const outer = { width: width + 2 * padding, height: y + 2 * padding };
  const title = escapeXml(raceTitle(race));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${outer.width} ${outer.height}" width="${outer.width}" height="${outer.height}" font-family="${fontFamily}" fill="${theme.text}" role="img">`,
    `<title>${title}</title>`,
    `<rect width="${outer.width}" height="${outer.height}" fill="${theme.background}"/>`,
    `<g transform="translate(${padding}, ${padding})">`,
    shown ? `<text x="0" y="16" font-size="18" font-weight="600">${title}</text>` : "",
    legend.svg,
    ...parts.map(({ svg, x, y: top }) => `<g transform="translate(${x}, ${top})">${svg}</g>`),
    "</g>",
    "</svg>",
  ].join("\n");
}

/** The metrics that at least one record has, the one that counts first. */
function metricsOf(race: Race): readonly Metric[] {
  const has = (metric: Metric) =>
    race.contestants.some(({ runs }) =>
      runs.some((run) => runCurve(run, race.phase, metric, "steps").points.length > 0),
    );
  const both: readonly Metric[] = race.metric === "accuracy" ? ["accuracy", "loss"] : ["loss", "accuracy"];
  return both.filter(has);
}

function renderLegend({ contestants }: Race, theme: Theme, y: number): { svg: string; height: number } {
  const lineHeight = 22;
  let x = 0;
  let line = 0;
  const items = contestants.map(({ label }, rank) => {
    // Mean advance of the font at this size; a legend needs no exact measure.
    const itemWidth = 26 + label.length * 7.4 + 22;
    if (x > 0 && x + itemWidth > width) {
      x = 0;
      line++;
    }
    const top = y + line * lineHeight + 8;
    const item =
      `<line x1="${x}" x2="${x + 18}" y1="${top}" y2="${top}" stroke="${seriesColor(theme, rank)}" stroke-width="3" stroke-linecap="round"/>` +
      `<text x="${x + 26}" y="${top + 4.5}" font-size="13">${escapeXml(label)}</text>`;
    x += itemWidth;
    return item;
  });
  return { svg: items.join(""), height: (line + 1) * lineHeight + 10 };
}

interface Dot {
  readonly label: string;
  readonly color: string;
  readonly seconds: number;
  readonly title: string;
}

function timesToTarget({ contestants }: Race, theme: Theme, document: Document): { svg: string; height: number } {
  const reached: Dot[] = [];
  const missed: Dot[] = [];
  contestants.forEach((contestant, rank) => {
    const color = seriesColor(theme, rank);
    for (const { header, end } of contestant.runs) {
      const { seed } = header.configuration;
      const { label } = contestant;
      if (end?.timeToTarget) {
        const title = `${label}, seed ${seed}: ${formatSeconds(end.timeToTarget.seconds)}, ${end.timeToTarget.steps} steps`;
        reached.push({ label, color, seconds: end.timeToTarget.seconds, title });
      } else {
        const title = `${label}, seed ${seed}: ${end?.status ?? "not finished"}`;
        missed.push({ label, color, seconds: Number.POSITIVE_INFINITY, title });
      }
    }
  });
  const largest = Math.max(0, ...reached.map(({ seconds }) => seconds));
  const scaleEnd = largest > 0 ? largest * 1.04 : 1;
  // Misses stand in a gutter right of the axis, one beside the other.
  const gutter = (dot: Dot) => missed.filter((other) => other.label === dot.label).indexOf(dot);
  const gutterWidth = missed.length > 0 ? 96 : 12;
  const marginLeft = Math.min(300, 24 + 7.6 * Math.max(...contestants.map(({ label }) => label.length)));
  const height = contestants.length * rowHeight + headingHeight + axisHeight;
  const bars = contestants.flatMap(({ label, secondsToTarget }, rank) =>
    secondsToTarget === null || !Number.isFinite(secondsToTarget.lower)
      ? []
      : [
          {
            label,
            color: seriesColor(theme, rank),
            from: secondsToTarget.lower,
            to: Math.min(secondsToTarget.upper, scaleEnd),
            median: secondsToTarget.median,
          },
        ],
  );
  const chart = Plot.plot({
    document,
    className: "chart",
    width,
    height,
    marginLeft,
    marginRight: gutterWidth,
    marginTop: headingHeight,
    marginBottom: axisHeight,
    style: { background: "none", color: theme.text, fontFamily, fontSize: "12px", overflow: "visible" },
    x: { domain: [0, scaleEnd] },
    y: { domain: contestants.map(({ label }) => label), padding: 0.3 },
    marks: [
      Plot.gridX({ stroke: theme.grid, strokeOpacity: 1 }),
      Plot.axisX({ tickSize: 0, color: theme.muted, label: null, ticks: 8 }),
      Plot.axisY({ tickSize: 0, label: null, fontSize: 13 }),
      Plot.barX(bars, { y: "label", x1: "from", x2: "to", fill: "color", fillOpacity: 0.22, rx: 3 }),
      Plot.tickX(
        bars.filter(({ median }) => Number.isFinite(median)),
        { y: "label", x: "median", stroke: "color", strokeWidth: 3 },
      ),
      Plot.dot(reached, {
        y: "label",
        x: "seconds",
        fill: "color",
        stroke: theme.background,
        strokeWidth: 1,
        r: 4.5,
        title: "title",
      }),
      // One mark per position in the gutter, as dx is a constant of a mark.
      ...[...new Set(missed.map(gutter))].map((position) =>
        Plot.dot(
          missed.filter((dot) => gutter(dot) === position),
          {
            y: "label",
            x: scaleEnd,
            dx: 20 + Math.min(position, 4) * 15,
            stroke: "color",
            strokeWidth: 2,
            symbol: "times",
            r: 4.5,
            title: "title",
          },
        ),
      ),
    ],
  });
  const headings = [
    heading("seconds of training until the target", theme, marginLeft),
    missed.length > 0 ? heading("missed", theme, width - gutterWidth + 14) : "",
  ];
  return { svg: chart.outerHTML + headings.join(""), height };
}

function curves(race: Race, metric: Metric, abscissa: Abscissa, theme: Theme, document: Document): string {
  const { phase, target } = race;
  const byContestant = race.contestants.map(({ runs }) => runs.map((run) => runCurve(run, phase, metric, abscissa)));
  const all = byContestant.flat();
  const colorOf = (rank: number) => seriesColor(theme, rank);
  const seeds = byContestant.flatMap((runs, rank) =>
    runs.flatMap(({ points, seed }) =>
      points.map((point) => ({ ...point, run: `${rank}/${seed}`, color: colorOf(rank) })),
    ),
  );
  const medians = byContestant.flatMap((runs, rank) =>
    medianCurve(runs, metric).map((point) => ({ ...point, run: String(rank), color: colorOf(rank) })),
  );
  const endings = (ending: RunCurve["ending"]) =>
    byContestant.flatMap((runs, rank) =>
      runs.flatMap((run) => {
        const last = run.points.at(-1);
        return run.ending === ending && last !== undefined
          ? [{ ...clip(last, domain), color: colorOf(rank), run }]
          : [];
      }),
    );
  const domain = rangeOf(all, race, metric);
  const targetHere = target !== null && target.metric === metric ? target.value : undefined;
  const describe = ({ run }: { run: RunCurve }, what: string) => `seed ${run.seed} ${what}`;
  const chart = Plot.plot({
    document,
    className: "chart",
    width: panelWidth,
    height: panelHeight,
    marginLeft: 52,
    marginRight: 14,
    marginTop: headingHeight,
    marginBottom: axisHeight,
    style: { background: "none", color: theme.text, fontFamily, fontSize: "12px", overflow: "visible" },
    x: { domain: [0, Math.max(...all.flatMap(({ points }) => points.map(({ x }) => x)), 1e-3)] },
    y: { type: metric === "loss" && domain[0] > 0 ? "log" : "linear", domain: [...domain], clamp: true },
    marks: [
      Plot.gridY({ stroke: theme.grid, strokeOpacity: 1, ticks: 6 }),
      Plot.axisX({
        tickSize: 0,
        color: theme.muted,
        ticks: 6,
        label: abscissa === "steps" ? "training steps" : "seconds of training",
        labelAnchor: "center",
        labelArrow: "none",
      }),
      Plot.axisY({
        tickSize: 0,
        color: theme.muted,
        label: null,
        ticks: 6,
        tickFormat: (value: number) =>
          metric === "accuracy" ? `${Number((value * 100).toPrecision(3))} %` : String(Number(value.toPrecision(3))),
      }),
      targetHere === undefined
        ? null
        : [
            Plot.ruleY([targetHere], { stroke: theme.text, strokeDasharray: "5 4", strokeOpacity: 0.75 }),
            Plot.text([targetHere], {
              y: (value: number) => value,
              text: (value: number) => `target ${formatTarget(metric, value)}`,
              frameAnchor: "left",
              textAnchor: "start",
              dx: 6,
              dy: metric === "accuracy" ? -9 : 10,
              fill: theme.text,
              stroke: theme.background,
              strokeWidth: 4,
            }),
          ],
      Plot.line(seeds, { x: "x", y: "y", z: "run", stroke: "color", strokeWidth: 1, strokeOpacity: 0.45, clip: true }),
      Plot.line(medians, {
        x: "x",
        y: "y",
        z: "run",
        stroke: "color",
        strokeWidth: 2.75,
        strokeLinecap: "round",
        clip: true,
      }),
      Plot.dot(endings("reached"), {
        x: "x",
        y: "y",
        fill: "color",
        stroke: theme.background,
        strokeWidth: 1,
        r: 3.5,
        title: (dot: { run: RunCurve }) => describe(dot, "reached the target"),
      }),
      Plot.dot(endings("diverged"), {
        x: "x",
        y: "y",
        stroke: "color",
        strokeWidth: 2.25,
        symbol: "times",
        r: 5,
        title: (dot: { run: RunCurve }) => describe(dot, "diverged"),
      }),
    ],
  });
  return chart.outerHTML + heading(metricName(phase, metric), theme, 52);
}

/** The y range: from the worst start to the best end, so that a run that explodes does not flatten all others. */
function rangeOf(curvesOfAll: readonly RunCurve[], { target }: Race, metric: Metric): readonly [number, number] {
  const values = curvesOfAll.flatMap(({ points }) => points.map(({ y }) => y));
  const goal = target !== null && target.metric === metric ? [target.value] : [];
  const starts = curvesOfAll.flatMap(({ points }) => points.slice(0, 1).map(({ y }) => y));
  const low = Math.min(...values, ...goal);
  if (metric === "accuracy") return [Math.min(low, 0.9), Math.min(1, Math.max(...values, ...goal) * 1.02)];
  const high = Math.max(...starts, ...goal) * 1.15;
  return high > low ? [low > 0 ? low * 0.9 : low, high] : [low - 0.5, low + 0.5];
}

function clip({ x, y }: Point, [low, high]: readonly [number, number]): Point {
  return { x, y: Math.min(Math.max(y, low), high) };
}

function heading(text: string, theme: Theme, x: number): string {
  return `<text x="${x}" y="16" font-size="13" font-weight="600" fill="${theme.text}">${escapeXml(text)}</text>`;
}

/** Text for XML and HTML, between tags and in quoted attributes. */
export function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}
