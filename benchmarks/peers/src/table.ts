import type { Row } from "./measure";

/** The engine whose time is the unit of the ratios, where it took part. */
const reference = "thalweg";

/** The rows of one case as a table for a terminal. The ratio is the engine's time over Thalweg's. */
export function formatTable(rows: readonly Row[]): string {
  const unit = rows.find(({ engine }) => engine === reference)?.msMedian;
  const header = [
    "engine",
    "ms per step",
    "quartiles",
    "ratio",
    "dispatches",
    "submits",
    "passes",
    "copies",
    "writes",
    "buffers",
    "bind groups",
    "first step",
  ];
  const body = rows.map((row) => [
    `${row.engine} ${row.version}`,
    row.msMedian.toFixed(2),
    row.msQuartiles.map((value) => value.toFixed(2)).join(" – "),
    unit === undefined ? "" : (row.msMedian / unit).toFixed(2),
    ...[row.dispatches, row.submits, row.passes, row.copies, row.writes, row.buffersCreated, row.bindGroupsCreated].map(
      (count) => (Number.isInteger(count) ? `${count}` : count.toFixed(2)),
    ),
    `${row.firstStepMs.toFixed(0)} ms`,
  ]);
  const widths = header.map((title, column) =>
    Math.max(title.length, ...body.map((line) => line[column]?.length ?? 0)),
  );
  const format = (line: readonly string[]) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ");
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  return [format(header), rule, ...body.map(format)].join("\n");
}

/** One line that says whether all engines computed the same. */
export function formatAgreement(rows: readonly Row[]): string {
  const last = rows.map(({ engine, losses }) => `${engine} ${losses[losses.length - 1]?.toFixed(6)}`).join(", ");
  const count = rows[0]?.losses.length ?? 0;
  const worst = Math.max(...rows.map(({ lossDeviation }) => lossDeviation));
  const verdict = rows.every(({ agrees }) => agrees) ? "the losses agree" : "THE LOSSES DIFFER: THE TIMES ARE VOID";
  return `Loss after ${count} steps: ${last}; largest relative difference ${worst.toExponential(1)}: ${verdict}.`;
}
