import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Curve, inventedRun } from "../../test/example-records";
import { encodeLine } from "../records/codec";
import { folderStore } from "../records/folder.node.js";
import { parseRecord, type RunRecord } from "../records/reader";
import { readRecords } from "../records/reader.node.js";
import type { RecordLine } from "../records/schema";
import { RecordWriter } from "../records/writer";
import { aggregate, type Race } from "./aggregate";
import { medianCurve, runCurve } from "./curve";
import { formatCount, formatMetric, formatSeconds } from "./format";
import { renderPage } from "./page";
import { writeReport } from "./report.node.js";
import { quartiles } from "./statistics";
import { renderTable } from "./table";

let folder: string;
let records: readonly RunRecord[];
let race: Race;

async function write(lines: readonly RecordLine[]): Promise<void> {
  const [header, ...rest] = lines;
  if (header?.type !== "header") throw new Error("an invented run starts with a header");
  using writer = await RecordWriter.create(await folderStore(folder).open(header.configuration), header);
  await writer.append(...rest);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "thalweg-report-"));
  const curves: Curve[] = [42, 43, 44].flatMap((seed) => [
    { optimizer: "sgd", seed, rate: 100 },
    {
      optimizer: "momentum",
      seed,
      rate: seed === 44 ? 300 : 25 + seed / 10,
      ...(seed === 43 ? { divergesAt: 120 } : {}),
    },
    { optimizer: "adam", seed, rate: 30 + seed / 3 },
    { optimizer: "adamw", seed, rate: 33 },
  ]);
  for (const curve of curves) await write(inventedRun(curve));
  records = readRecords(folder).records;
  race = aggregate(records)[0] as Race;
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("quartiles", () => {
  it.each([
    [[3], { lower: 3, median: 3, upper: 3 }],
    [[4, 1, 3, 2], { lower: 1.75, median: 2.5, upper: 3.25 }],
    [[1, 2, Number.POSITIVE_INFINITY], { lower: 1.5, median: 2, upper: Number.POSITIVE_INFINITY }],
    [[Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY], { lower: Infinity, median: Infinity, upper: Infinity }],
  ])("of %j are those of NumPy, with infinity as a number", (values, expected) => {
    expect(quartiles(values)).toEqual(expected);
  });
});

describe("numbers as text", () => {
  it.each([
    [formatSeconds(0.4234), "0.423 s"],
    [formatSeconds(245), "4 min 05 s"],
    [formatSeconds(7260), "2 h 01 min"],
    [formatSeconds(Number.POSITIVE_INFINITY), "never"],
    [formatCount(1234567), "1\u202f234\u202f567"],
    [formatMetric("accuracy", 0.93449), "93.4 %"],
    [formatMetric("loss", 87.045812), "87.05"],
    [formatMetric("loss", Number.POSITIVE_INFINITY), "∞"],
  ])("%s", (found, expected) => {
    expect(found).toBe(expected);
  });
});

describe("aggregate", () => {
  it("ranks by the median time to the target and shows every miss", () => {
    expect(renderTable(race)).toMatchInlineSnapshot(`
      "digits: time to 90 % test accuracy

      optimizer  reached  seconds (quartiles)  steps (quartiles)        best test accuracy  steps/s  misses
      ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
      adamw       3 of 3                1.5 s                150  91.8 % (91.6 % – 91.9 %)      100
      adam        3 of 3   2 s (1.75 s – 2 s)    200 (175 – 200)  90.3 % (90.2 % – 90.3 %)      100
      momentum    1 of 3                never              never  47.4 % (23.7 % – 69.6 %)      100  1 diverged at step 120, 1 out of budget
      sgd         0 of 3                never              never  78.5 % (78.4 % – 78.8 %)      100  3 out of budget"
    `);
  });

  it("a diverged run never wins, even with the best value before it diverged", () => {
    const lines = inventedRun({ optimizer: "wild", seed: 42, rate: 30, divergesAt: 60 });
    const tame = inventedRun({ optimizer: "tame", seed: 42, rate: 500 });
    const records = [lines, tame].map(asRecord);
    expect(aggregate(records)[0]?.contestants.map(({ label }) => label)).toEqual(["tame", "wild"]);
  });

  it("settings of one optimizer are told apart by what differs", () => {
    const changed = (learningRate: number) =>
      inventedRun({ optimizer: "adam", seed: 42, rate: 30 }).map((line) =>
        line.type === "header"
          ? { ...line, configuration: { ...line.configuration, hyperparameters: { beta1: 0.9, learningRate } } }
          : line,
      );
    const labels = aggregate([changed(0.1), changed(0.01)].map(asRecord))[0]?.contestants.map(({ label }) => label);
    expect(labels).toEqual(["adam (learningRate 0.1)", "adam (learningRate 0.01)"]);
  });

  it("runs in other places are told apart: by runtime, and by adapter where that does not say it", () => {
    const at = (runtime: string, description: string) =>
      asRecord(
        inventedRun({ optimizer: "adam", seed: 42, rate: 30 }).map((line) =>
          line.type === "header"
            ? { ...line, environment: { ...line.environment, runtime, adapter: { description, fallback: false } } }
            : line,
        ),
      );
    const labelsIn = (...records: RunRecord[]) => aggregate(records)[0]?.contestants.map(({ label }) => label);
    // A session that goes on after an update of Node is no other place.
    expect(labelsIn(at("node 20.20.1", "a"), at("node 20.20.2", "a"))).toEqual(["adam"]);
    expect(labelsIn(at("node 20.20.2", "a"), at("chrome 147.0.1.2", "also a"))).toEqual([
      "adam in node",
      "adam in chrome",
    ]);
    expect(labelsIn(at("node 20.20.2", "a"), at("node 20.20.2", "b"))).toEqual(["adam on a", "adam on b"]);
    expect(labelsIn(at("chrome 1", "a"), at("node 2", "a"), at("node 2", "b"))).toEqual([
      "adam in chrome",
      "adam in node on a",
      "adam in node on b",
    ]);
  });

  it("runs towards another target are another race", () => {
    const other = inventedRun({ optimizer: "adam", seed: 42, rate: 30 }).map((line) =>
      line.type === "header" ? { ...line, configuration: { ...line.configuration, target: null } } : line,
    );
    const races = aggregate([...records, asRecord(other)]);
    expect(races.map(({ target }) => target?.value)).toEqual([0.9, undefined]);
    expect(renderTable(races[1] as Race)).toContain("digits: best test accuracy");
  });
});

describe("curves", () => {
  const curve = (points: readonly (readonly [number, number])[], ending: "reached" | "diverged" | "stopped") => ({
    points: points.map(([x, y]) => ({ x, y })),
    seed: 0,
    ending,
  });

  it("the median keeps the last value of runs that reached the target, and drops what diverged", () => {
    const runs = [
      curve(
        [
          [0, 0],
          [1, 0.95],
        ],
        "reached",
      ),
      curve(
        [
          [0, 0],
          [2, 0.8],
          [3, 0.9],
        ],
        "reached",
      ),
      curve(
        [
          [0, 0],
          [1, 0.3],
        ],
        "diverged",
      ),
    ];
    expect(medianCurve(runs, "accuracy")).toEqual([
      { x: 0, y: 0 },
      { x: 1, y: 0.4 },
      { x: 2, y: 0.8 },
      { x: 3, y: 0.9 },
    ]);
  });

  it("the median ends where most runs have reached the target", () => {
    const ends = [1, 2, 5].map((end) =>
      curve(
        [
          [0, 0],
          [end, 0.95],
        ],
        "reached",
      ),
    );
    expect(medianCurve(ends, "accuracy").at(-1)).toEqual({ x: 2, y: 0.95 });
  });

  it("the median ends where a run stopped without the target", () => {
    const runs = [
      curve(
        [
          [0, 0],
          [1, 0.5],
        ],
        "stopped",
      ),
      curve(
        [
          [0, 0],
          [1, 0.5],
          [2, 0.9],
        ],
        "reached",
      ),
    ];
    expect(medianCurve(runs, "accuracy").at(-1)?.x).toBe(1);
  });

  it("an evaluation that is not finite is no point", () => {
    const lines = inventedRun({ optimizer: "adam", seed: 42, rate: 30 }).map((line) =>
      line.type === "evaluation" && line.step === 50
        ? { ...line, phases: { test: { loss: Number.NaN, dataLoss: Number.NaN, accuracy: 0.1 } } }
        : line,
    );
    expect(runCurve(asRecord(lines), "test", "loss", "steps").points.map(({ x }) => x)).not.toContain(50);
  });
});

describe("files", () => {
  it("page, SVG and PNG are written, self-contained and without a missing number", () => {
    const out = join(folder, "out");
    const { files } = writeReport({ records, problems: [] }, { folder: out, formats: ["html", "svg", "png"] });
    expect(files).toEqual(["report.html", "curves.svg", "curves.png"].map((name) => join(out, name)));
    const page = readFileSync(join(out, "report.html"), "utf8");
    const svg = readFileSync(join(out, "curves.svg"), "utf8");
    for (const text of [page, svg]) {
      expect(text).not.toMatch(/NaN|undefined|<script|(src|href)="/);
      expect(text).toContain("momentum, seed 43: diverged");
    }
    // Files use plain colours; only the page may rely on CSS variables.
    expect(svg).not.toContain("var(--");
    expect(page).toContain("prefers-color-scheme: dark");
    const png = readFileSync(join(out, "curves.png"));
    expect([...png.subarray(1, 4)]).toEqual([..."PNG"].map((letter) => letter.charCodeAt(0)));
    // Width in the image header: 1016 units at two pixels each.
    expect(png.readUInt32BE(16)).toBe(2032);
  });

  it("the page says who won and who missed", () => {
    expect(renderPage([race])).toContain(
      "adamw was fastest: 1.5 s of training in the median of 3 runs. Missed the target: momentum 2 of 3, sgd 3 of 3.",
    );
  });

  it("names from records cannot inject markup", () => {
    const lines = inventedRun({ optimizer: '<img src="x">', seed: 42, rate: 30 });
    expect(renderPage(aggregate([asRecord(lines)]))).not.toContain("<img");
  });

  it("several races give several figures", () => {
    const other = inventedRun({ optimizer: "adam", seed: 42, rate: 30 }).map((line) =>
      line.type === "header" ? { ...line, configuration: { ...line.configuration, workload: "a/b" } } : line,
    );
    const out = join(folder, "two");
    writeReport({ records: [...records, asRecord(other)], problems: [] }, { folder: out, formats: ["svg"] });
    expect(existsSync(join(out, "curves-1-digits.svg"))).toBe(true);
    expect(existsSync(join(out, "curves-2-a-b.svg"))).toBe(true);
  });

  it("a record of a run that is still going on is shown as not finished", () => {
    const lines = inventedRun({ optimizer: "adam", seed: 42, rate: 30 }).filter(({ type }) => type !== "end");
    expect(renderTable(aggregate([asRecord(lines)])[0] as Race)).toContain("1 not finished");
    writeFileSync(join(folder, "note.txt"), "not a record");
    expect(readRecords(folder).records).toHaveLength(12);
  });
});

/** Invented lines as a record. */
const asRecord = (lines: readonly RecordLine[]): RunRecord => parseRecord(lines.map(encodeLine).join(""), "run.jsonl");
