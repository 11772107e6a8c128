import type { Row } from "./results";

/** The engine whose time is the unit of the ratios, where it took part. */
const reference = "thalweg";
/** The engines that are compared with; PyTorch stands beside them. */
const peers = ["jax-js", "tfjs"];

/** The rows of one case as a table for a terminal. The ratio is the engine's time over Thalweg's. */
export function formatTable(rows: readonly Row[]): string {
  const unit = rows.find(({ engine }) => engine === reference)?.msMedian;
  const header = [
    "engine",
    "ms",
    "quartiles",
    "ratio",
    "first",
    "dispatches",
    "submits",
    "bind groups",
    "buffers",
    "peak MB",
    "deviation",
  ];
  const body = rows.map((row) => [
    row.engine,
    optional(row.msMedian, milliseconds),
    row.msQuartiles?.map(milliseconds).join(" – ") ?? "",
    unit === undefined || row.msMedian === undefined ? "" : (row.msMedian / unit).toFixed(2),
    optional(row.firstMs, (ms) => `${ms.toFixed(0)} ms`),
    ...[row.dispatches, row.submits, row.bindGroupsCreated, row.buffersCreated].map((count) =>
      optional(count, integer),
    ),
    optional(row.peakBytes, (bytes) => (bytes / 1e6).toFixed(1)),
    optional(row.deviation, (deviation) => deviation.toPrecision(2)),
  ]);
  const widths = header.map((title, column) =>
    Math.max(title.length, ...body.map((line) => line[column]?.length ?? 0)),
  );
  const format = (line: readonly string[]) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ");
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  const errors = rows.flatMap(({ engine, error }) => (error === undefined ? [] : [`${engine} is not timed: ${error}`]));
  const profiles = rows.flatMap(({ engine, profile }) =>
    profile === undefined
      ? []
      : [
          `${engine}: ${profile.kinds
            .map(({ kind, kernels, share }) => `${kernels} ${kind} ${(100 * share).toFixed(0)} %`)
            .join(", ")} of ${milliseconds(profile.ms)} ms on the GPU`,
        ],
  );
  return [format(header), rule, ...body.map(format), ...errors, ...profiles].join("\n");
}

/** How much faster Thalweg is than the better of the peers, over the training steps. */
export function formatSummary(rows: readonly Row[]): string {
  const names = [...new Set(rows.filter(({ type }) => type === "training").map((row) => row.case))];
  const speedups = names.flatMap((name) => {
    const times = (engines: readonly string[]) =>
      rows.flatMap((row) => (row.case === name && engines.includes(row.engine) ? (row.msMedian ?? []) : []));
    const [own] = times([reference]);
    const best = Math.min(...times(peers));
    return own === undefined || best === Number.POSITIVE_INFINITY ? [] : [{ name, speedup: best / own }];
  });
  if (speedups.length === 0) return "No training step was timed with Thalweg and a peer.";
  const mean = Math.exp(speedups.reduce((sum, { speedup }) => sum + Math.log(speedup), 0) / speedups.length);
  const least = speedups.reduce((worst, own) => (own.speedup < worst.speedup ? own : worst));
  return (
    `Training steps against the better of ${peers.join(" and ")}: geometric mean ${mean.toFixed(2)} times over ` +
    `${speedups.length} cases, least ${least.speedup.toFixed(2)} (${least.name}).`
  );
}

const optional = (value: number | undefined, format: (value: number) => string): string =>
  value === undefined ? "" : format(value);
const milliseconds = (value: number): string => value.toFixed(value < 1 ? 3 : 2);
const integer = (count: number): string => (Number.isInteger(count) ? `${count}` : count.toFixed(1));
