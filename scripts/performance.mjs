// node scripts/performance.mjs [--check]: writes the tables of docs/performance.md from docs/performance/*.json.
//
// A results file is { kind, adapter, date, versions, rows: [{ case, … }] }. Known kinds are "peers" (benchmarks/peers --json),
// "roofline" (packages/tensor/bench/roofline.bench.ts --json) and "browser" (packages/bench/bench/browser.bench.ts); files of
// other kinds become a plain table of their rows.
// Several files of a kind, one per adapter, stand beside each other, GPUs first. Text between the markers
// `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced; everything else is prose and stays.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const reference = "thalweg";
const peers = ["jax-js", "tfjs"];
const engineNames = { thalweg: "Thalweg", tfjs: "TensorFlow.js", pytorch: "PyTorch" };
const nameOf = (engine) => engineNames[engine] ?? engine;

/** The blocks of the page, by the name in their markers. */
const blocks = { summary, training, where, kernels, roofline, browser, other };

/**
 * @param {string} page - The page with markers.
 * @param {readonly object[]} files - Contents of results files.
 * @returns {string} the page with the blocks written anew.
 */
export function renderPerformance(page, files) {
  const sorted = [...files].sort(
    (a, b) =>
      Number(a.adapter.isSoftware ?? false) - Number(b.adapter.isSoftware ?? false) ||
      (titleOf(a) < titleOf(b) ? -1 : 1),
  );
  return Object.entries(blocks).reduce((text, [name, render]) => {
    const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`docs/performance.md has no block ${begin} … ${end}.`);
    const content = render(sorted).trim();
    return `${text.slice(0, from + begin.length)}\n\n${content === "" ? "Nothing measured." : content}\n\n${text.slice(to)}`;
  }, page);
}

/** The adapter and its driver. Software names itself in the description, GPUs in the device. */
function titleOf({ adapter }) {
  const { device = "", description = "", isSoftware = false, name = "" } = adapter;
  if (isSoftware || device === "") return description || name;
  return [device, description].filter((part) => part !== "").join(", ");
}

const ofKind = (files, kind) => files.filter((file) => file.kind === kind);
const casesOf = (rows) => [...new Set(rows.map((row) => row.case))];

/** Times of the better peer over those of Thalweg, by case; cases that one side could not run are left out. */
function speedups(rows) {
  return casesOf(rows).flatMap((name) => {
    const times = (engines) =>
      rows.flatMap((row) =>
        row.case === name && engines.includes(row.engine) && row.msMedian !== undefined ? [row.msMedian] : [],
      );
    const [own] = times([reference]);
    const best = Math.min(...times(peers));
    return own === undefined || best === Number.POSITIVE_INFINITY ? [] : [{ name, speedup: best / own }];
  });
}

function summary(files) {
  const lines = ofKind(files, "peers").flatMap((file) => {
    const found = speedups(file.rows.filter(({ type }) => type === "training"));
    if (found.length === 0) return [];
    const mean = Math.exp(found.reduce((sum, { speedup }) => sum + Math.log(speedup), 0) / found.length);
    const least = found.reduce((worst, own) => (own.speedup < worst.speedup ? own : worst));
    const torch = ratioToTorch(file.rows);
    return [[titleOf(file), found.length, times(mean), `${times(least.speedup)} (\`${least.name}\`)`, torch]];
  });
  if (lines.length === 0) return "";
  return table(
    ["adapter", "training steps", "geometric mean", "smallest", "transformer: ours over PyTorch's time"],
    lines,
  );
}

function ratioToTorch(rows) {
  const time = (engine) => rows.find((row) => row.case === "transformer" && row.engine === engine)?.msMedian;
  const [own, torch] = [time(reference), time("pytorch")];
  return own === undefined || torch === undefined ? "" : times(own / torch);
}

function training(files) {
  return sections(ofKind(files, "peers"), ({ rows }) => {
    const lines = rows
      .filter(({ type }) => type === "training")
      .map((row) => [
        row.engine === reference || row.error !== undefined ? `\`${row.case}\`` : "",
        nameOf(row.engine),
        ...(row.error === undefined
          ? [
              `${ms(row.msMedian)} (${row.msQuartiles.map(ms).join(" – ")})`,
              ratio(row, rows),
              rate(1000 / row.msMedian),
              seconds(row.firstMs),
              ...[row.dispatches, row.submits, row.bindGroupsCreated].map(count),
              megabytes(row.peakBytes),
            ]
          : [`not timed: ${cell(row.error)}`, "", "", seconds(row.firstMs), "", "", "", ""]),
      ]);
    const header = [
      "case",
      "engine",
      "ms per step (quartiles)",
      "ratio",
      "steps/s",
      "first step",
      "dispatches",
      "submits",
      "bind groups",
      "peak MB",
    ];
    return lines.length === 0 ? "" : table(header, lines);
  });
}

function where(files) {
  return sections(ofKind(files, "peers"), ({ rows }) => {
    const lines = rows
      .filter(({ type, profile }) => type === "training" && profile !== undefined)
      .map((row) => [
        `\`${row.case}\``,
        ms(row.profile.ms),
        row.profile.kinds
          .map(({ kind, kernels: number, share }) => `${kind} ${percent(share)} (${count(number)})`)
          .join(", "),
        row.profile.top
          .slice(0, 3)
          .map(
            ({ label, share, gflops, gbps }) =>
              `\`${label}\` ${percent(share)}, ${rate(gflops)} GFLOPS, ${rate(gbps)} GB/s`,
          )
          .join("; "),
        row.plannedBytes === undefined ? "" : times(row.plannedBytes.peak / row.plannedBytes.lowerBound),
      ]);
    const header = [
      "case",
      "ms on the GPU",
      "kinds of kernels (how many)",
      "most expensive kernels",
      "memory over lower bound",
    ];
    return lines.length === 0 ? "" : table(header, lines);
  });
}

function kernels(files) {
  return sections(ofKind(files, "peers"), ({ rows }) => {
    const own = rows.filter(({ type }) => type === "kernel");
    const engines = [...new Set(own.map(({ engine }) => engine))];
    const lines = casesOf(own).map((name) => {
      const ofCase = own.filter((row) => row.case === name);
      const ours = ofCase.find(({ engine }) => engine === reference);
      const found = speedups(ofCase)[0]?.speedup;
      return [
        `\`${name}\``,
        ofCase[0].description,
        ...engines.map((engine) => timeOrError(ofCase.find((row) => row.engine === engine))),
        found === undefined ? "" : times(found),
        ours?.msMedian !== undefined && ours.flops !== undefined ? rate(ours.flops / ours.msMedian / 1e6) : "",
        ours?.msMedian !== undefined && ours.bytes !== undefined ? rate(ours.bytes / ours.msMedian / 1e6) : "",
      ];
    });
    const header = [
      "case",
      "what",
      ...engines.map((engine) => `${nameOf(engine)}, ms`),
      "against the better peer",
      "our GFLOPS",
      "our GB/s",
    ];
    return lines.length === 0 ? "" : table(header, lines);
  });
}

function timeOrError(row) {
  if (row === undefined) return "";
  return row.error === undefined ? ms(row.msMedian) : `not timed: ${cell(row.error)}`;
}

function roofline(files) {
  return sections(ofKind(files, "roofline"), ({ ceilings, rows, timing }) => {
    const limits =
      ceilings === undefined
        ? ""
        : `Ceilings: copy ${rate(ceilings.copyGbps)} GB/s, multiply-adds ${rate(ceilings.fmaGflops)} GFLOPS, ` +
          `a dispatch ${rate(ceilings.dispatchMicroseconds)} µs, submission and readback ` +
          `${rate(ceilings.roundTripMicroseconds)} µs. Times by ${timing}.\n\n`;
    const lines = rows.map((row) => [
      row.case,
      ms(row.ms),
      rate(row.gflops),
      rate(row.gbps),
      `${row.percentOfCeiling.toFixed(0)} % of ${row.ceiling}`,
      count(row.kernels),
    ]);
    return limits + table(["case", "ms", "GFLOPS", "GB/s", "of the ceiling", "kernels"], lines);
  });
}

function browser(files) {
  return sections(ofKind(files, "browser"), ({ rows }) => {
    const steps = ({ median, lower, upper }) => `${rate(median)} (${rate(lower)} – ${rate(upper)})`;
    const lines = rows.map((row) => [
      row.case,
      steps(row.stepsPerSecondInNode),
      steps(row.stepsPerSecondInBrowser),
      `${row.ratio.median.toFixed(2)} (${row.ratio.lower.toFixed(2)} – ${row.ratio.upper.toFixed(2)})`,
      row.hasSameLosses ? "the same" : "others",
    ]);
    return table(["case", "steps/s in Node", "in the browser", "ratio", "losses"], lines);
  });
}

/** Files of kinds that nothing above knows: their rows as they are. */
function other(files) {
  const known = new Set(["peers", "roofline", "browser"]);
  return sections(
    files.filter(({ kind }) => !known.has(kind)),
    ({ rows }) => {
      const columns = [...new Set(rows.flatMap(Object.keys))];
      const show = (value) =>
        typeof value === "number" ? rate(value) : value === undefined ? "" : cell(String(value));
      return table(
        columns,
        rows.map((row) => columns.map((column) => show(row[column]))),
      );
    },
  );
}

/** One section per file: adapter, date, versions, content. Files without content have none. */
function sections(files, content) {
  return files
    .flatMap((file) => {
      const text = content(file);
      const versions = Object.entries(file.versions ?? {}).map(([name, version]) => `${nameOf(name)} ${version}`);
      return text === ""
        ? []
        : [`### ${titleOf(file)}\n\nMeasured on ${file.date} with ${versions.join(", ")}.\n\n${text}`];
    })
    .join("\n\n");
}

const table = (header, lines) =>
  [header, header.map((_, column) => (column === 0 ? "---" : "---:")), ...lines]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");

/** Text that cannot break out of a cell. */
const cell = (text) => text.replaceAll(/\s+/g, " ").replaceAll("|", "\\|").slice(0, 160);
const digits = (value, at) => value.toFixed(value < at / 10 ? 3 : value < at ? 2 : value < 10 * at ? 1 : 0);
const ms = (value) => digits(value, 10);
const rate = (value) => (Number.isFinite(value) ? digits(value, 10) : "");
const times = (value) => `${value.toFixed(2)} ×`;
const percent = (share) => `${(100 * share).toFixed(0)} %`;
const count = (value) => (value === undefined ? "" : Number.isInteger(value) ? `${value}` : value.toFixed(1));
const seconds = (value) => (value === undefined ? "" : `${digits(value / 1000, 10)} s`);
const megabytes = (value) => (value === undefined ? "" : (value / 1e6).toFixed(1));

function ratio(row, rows) {
  const own = rows.find((other) => other.case === row.case && other.engine === reference)?.msMedian;
  return own === undefined ? "" : (row.msMedian / own).toFixed(2);
}

function main() {
  const root = resolve(import.meta.dirname, "..");
  const folder = join(root, "docs/performance");
  const path = join(root, "docs/performance.md");
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  const page = readFileSync(path, "utf8");
  const next = renderPerformance(
    page,
    names.sort().map((name) => JSON.parse(readFileSync(join(folder, name), "utf8"))),
  );
  if (process.argv.includes("--check")) {
    if (next === page) return;
    console.error(
      "docs/performance.md does not show what docs/performance/*.json say. Run: node scripts/performance.mjs",
    );
    process.exitCode = 1;
    return;
  }
  writeFileSync(path, next);
  console.log(`docs/performance.md: ${names.length} results files.`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
