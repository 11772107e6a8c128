import type { RecordProblem, RunRecord } from "../records/reader";
import { formatProblem } from "../records/reader";
import { metricOf, type Race } from "./aggregate";
import { escapeXml, renderFigure } from "./figure";
import { formatCount, formatHyperparameters, formatMetric, formatSeconds } from "./format";
import { columnsOf, raceTitle } from "./table";
import { fontFamily, pageTheme, seriesColor, themeStyle } from "./theme";

/**
 * The report as one HTML page without scripts or references to other files: it can be mailed, archived and opened
 * anywhere, and follows the reader's light or dark setting.
 *
 * @param problems lines of records that could not be read; they are listed at the end.
 */
export function renderPage(races: readonly Race[], problems: readonly RecordProblem[] = []): string {
  const title = races.length === 1 && races[0] !== undefined ? raceTitle(races[0]) : "Time to target";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(title)}</title>
<style>
${themeStyle}
${pageStyle}
</style>
</head>
<body>
<main>
${races.map(renderRace).join("\n")}
${renderProblems(problems)}
</main>
</body>
</html>
`;
}

const pageStyle = `body { margin: 0; background: var(--background); color: var(--text); font: 15px/1.5 ${fontFamily}; }
main { max-width: 1016px; margin: 0 auto; padding: 24px 16px 64px; }
section + section { margin-top: 48px; border-top: 1px solid var(--grid); padding-top: 24px; }
h1 { font-size: 26px; line-height: 1.25; margin: 16px 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
p { margin: 4px 0 16px; max-width: 72ch; } .muted { color: var(--muted); }
svg { display: block; max-width: 100%; height: auto; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: left; font-weight: 600; } th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
td:first-child { white-space: nowrap; }
th.right, td.right { text-align: right; white-space: nowrap; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }`;

function renderRace(race: Race): string {
  return `<section>
<h1>${escapeXml(raceTitle(race))}</h1>
<p>${escapeXml(verdict(race))}</p>
<div class="scroll">${resultsTable(race)}</div>
<p class="muted">Seconds and steps are medians over seeds with quartiles; a run that missed the target counts as never. Seconds are
wall-clock seconds of training alone: evaluation, compilation and data preparation are listed below and not counted.</p>
${renderFigure(race, pageTheme, { heading: false })}
<h2>Runs</h2>
<div class="scroll">${runsTable(race)}</div>
<h2>Settings</h2>
<div class="scroll">${settingsTable(race)}</div>
<p class="muted">${escapeXml(surroundings(race))}</p>
</section>`;
}

/** The result in a sentence or two. */
function verdict(race: Race): string {
  const { contestants, target } = race;
  const [first] = contestants;
  if (first === undefined) return "No runs.";
  const misses = contestants.filter(({ missed }) => missed > 0);
  const total = contestants.reduce((sum, { runs }) => sum + runs.length, 0);
  if (target === null) {
    return `${first.label} came best: ${formatMetric(race.metric, first.best.median)} in the median of ${first.runs.length} runs.`;
  }
  if (first.reached === 0) return `None of ${total} runs reached the target.`;
  const winner =
    first.secondsToTarget !== null && Number.isFinite(first.secondsToTarget.median)
      ? `${first.label} was fastest: ${formatSeconds(first.secondsToTarget.median)} of training in the median of ${first.runs.length} runs.`
      : `No optimizer reached the target in more than half of its runs; ${first.label} did most often.`;
  const missing = misses.map(({ label, missed, runs }) => `${label} ${missed} of ${runs.length}`).join(", ");
  return missing === ""
    ? `${winner} All ${total} runs reached the target.`
    : `${winner} Missed the target: ${missing}.`;
}

function resultsTable(race: Race): string {
  const columns = columnsOf(race);
  const rows = race.contestants.map((contestant, rank) =>
    columns.map(({ cell, align }, column) => ({
      align,
      html: `${column === 0 ? swatch(rank) : ""}${escapeXml(cell(contestant))}`,
    })),
  );
  return htmlTable(
    columns.map(({ heading, align }) => ({ align, html: escapeXml(heading) })),
    rows,
  );
}

function runsTable(race: Race): string {
  const { phase, metric } = race;
  const headings = [
    left("optimizer"),
    right("seed"),
    left("status"),
    right("steps"),
    right(`last ${metric}`),
    right("training"),
    right("GPU"),
    right("evaluation"),
    right("compilation"),
    right("data"),
    left("record"),
  ];
  const rows = race.contestants.flatMap(({ label, runs }, rank) =>
    runs.map((run) => {
      const { end, evaluations, header } = run;
      const last = evaluations.at(-1);
      const value = last && metricOf(last, phase, metric);
      const seconds = (part: number | null | undefined) => right(part == null ? "–" : formatSeconds(part));
      return [
        { align: "left" as const, html: `${swatch(rank)}${escapeXml(label)}` },
        right(String(header.configuration.seed)),
        left(statusOf(run)),
        right(formatCount(end?.step ?? last?.step ?? 0)),
        right(value === undefined ? "–" : formatMetric(metric, value)),
        seconds(end?.seconds.training ?? last?.trainingSeconds),
        seconds(end?.gpuSeconds ?? last?.gpuSeconds),
        seconds(end?.seconds.evaluation),
        seconds(end?.seconds.compilation),
        seconds(end?.seconds.data),
        { align: "left" as const, html: `<code>${escapeXml(header.id)}</code>` },
      ];
    }),
  );
  return htmlTable(headings, rows);
}

function statusOf({ end }: RunRecord): string {
  if (end === undefined) return "not finished";
  if (end.status === "diverged") return `diverged at step ${formatCount(end.divergedStep ?? end.step)}`;
  return end.status === "budget" ? "out of budget" : end.status;
}

function settingsTable({ contestants }: Race): string {
  const rows = contestants.map(({ label, hyperparameters, runs }, rank) => {
    const { schedule, batchSize } = (runs[0] as RunRecord).header.configuration;
    return [
      { align: "left" as const, html: `${swatch(rank)}${escapeXml(label)}` },
      left(formatHyperparameters(hyperparameters)),
      left(schedule),
      right(String(batchSize)),
    ];
  });
  return htmlTable([left("optimizer"), left("hyperparameters"), left("schedule"), right("batch")], rows);
}

/** Where and with what the runs were made. */
function surroundings({ workload, workloadVersion, split, contestants }: Race): string {
  const environments = contestants.flatMap(({ runs }) => runs.map(({ header }) => header.environment));
  const distinct = (values: readonly string[]) => [...new Set(values)].join("; ");
  const adapters = distinct(
    environments.map(
      ({ adapter, tuned }) => `${adapter.description}${adapter.fallback ? " (software)" : ""}${tuned ? ", tuned" : ""}`,
    ),
  );
  const packages = distinct(environments.flatMap((e) => Object.entries(e.packages).map((pair) => pair.join(" "))));
  const runtimes = distinct(environments.map(({ runtime, platform }) => `${runtime} on ${platform}`));
  return `Workload ${workload} ${workloadVersion}, split ${split}. Adapter: ${adapters}. ${runtimes}. ${packages}.`;
}

function renderProblems(problems: readonly RecordProblem[]): string {
  if (problems.length === 0) return "";
  const items = problems.map((problem) => `<li><code>${escapeXml(formatProblem(problem))}</code></li>`);
  return `<section><h2>Lines that could not be read</h2><ul>${items.join("")}</ul></section>`;
}

interface Cell {
  readonly align: "left" | "right";
  readonly html: string;
}

const left = (text: string): Cell => ({ align: "left", html: escapeXml(text) });
const right = (text: string): Cell => ({ align: "right", html: escapeXml(text) });

function htmlTable(headings: readonly Cell[], rows: readonly (readonly Cell[])[]): string {
  const cells = (tag: "th" | "td", row: readonly Cell[]) =>
    row.map(({ align, html }) => `<${tag}${align === "right" ? ' class="right"' : ""}>${html}</${tag}>`).join("");
  return `<table><thead><tr>${cells("th", headings)}</tr></thead>
<tbody>${rows.map((row) => `<tr>${cells("td", row)}</tr>`).join("\n")}</tbody></table>`;
}

function swatch(rank: number): string {
  return `<span class="swatch" style="background: ${seriesColor(pageTheme, rank)}"></span>`;
}
