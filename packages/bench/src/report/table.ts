import { type Contestant, metricName, type Race } from "./aggregate";
import { formatCount, formatMetric, formatMisses, formatQuartiles, formatSeconds, formatTarget } from "./format";

/** One line that says what was compared: `digits: time to 90 % test accuracy`. */
export function raceTitle({ workload, target, phase, metric }: Race): string {
  const name = metricName(phase, metric);
  if (target === null) return `${workload}: best ${name}`;
  return `${workload}: time to ${formatTarget(metric, target.value)} ${name}`;
}

/** The columns of the results table: a heading, and a cell for each contestant. */
export interface Column {
  readonly heading: string;
  readonly align: "left" | "right";
  readonly cell: (contestant: Contestant) => string;
}

/** What a race's table shows, for the terminal and for the page. */
export function columnsOf({ target, phase, metric }: Race): readonly Column[] {
  const toTarget: readonly Column[] = [
    { heading: "reached", align: "right", cell: ({ reached, runs }) => `${reached} of ${runs.length}` },
    { heading: "seconds (quartiles)", align: "right", cell: (c) => quartileCell(c.secondsToTarget, formatSeconds) },
    { heading: "steps (quartiles)", align: "right", cell: (c) => quartileCell(c.stepsToTarget, formatCount) },
  ];
  return [
    { heading: "optimizer", align: "left", cell: ({ label }) => label },
    ...(target === null ? [] : toTarget),
    {
      heading: `best ${metricName(phase, metric)}`,
      align: "right",
      cell: ({ best }) => formatQuartiles(best, (value) => formatMetric(metric, value)),
    },
    {
      heading: "steps/s",
      align: "right",
      cell: ({ stepsPerSecond }) => (stepsPerSecond === null ? "–" : String(Number(stepsPerSecond.toPrecision(3)))),
    },
    { heading: "misses", align: "left", cell: formatMisses },
  ];
}

/** The results of a race as a table for a terminal. A time that was not reached reads `never`. */
export function renderTable(race: Race): string {
  const columns = columnsOf(race);
  const rows = [
    columns.map(({ heading }) => heading),
    ...race.contestants.map((contestant) => columns.map(({ cell }) => cell(contestant))),
  ];
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const align = (row: readonly string[]): string =>
    columns
      .map(({ align }, column) => {
        const [text = "", width = 0] = [row[column], widths[column]];
        return align === "right" ? text.padStart(width) : text.padEnd(width);
      })
      .join(columnGap)
      // The last column is padded to its width; spaces at line ends help nobody.
      .trimEnd();
  const [heading = "", ...lines] = rows.map(align);
  const rule = "─".repeat(widths.reduce((sum, width) => sum + width + columnGap.length, -columnGap.length));
  return [raceTitle(race), "", heading, rule, ...lines].join("\n");
}

const columnGap = "  ";

function quartileCell(values: Contestant["secondsToTarget"], format: (value: number) => string): string {
  return values === null ? "–" : formatQuartiles(values, format);
}
