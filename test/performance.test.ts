import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { renderPerformance } from "../scripts/performance.mjs";

const root = resolve(import.meta.dirname, "..");
const page = readFileSync(join(root, "docs/performance.md"), "utf8");

const adapter = {
  name: "",
  vendor: "v",
  architecture: "a",
  device: "card-9",
  description: "driver 1.2",
  isSoftware: false,
};
const row = (name: string, engine: string, msMedian: number, more: object = {}) => ({
  case: name,
  type: "training",
  description: "a network",
  engine,
  version: "1",
  msMedian,
  msQuartiles: [msMedian, msMedian],
  firstMs: 1234,
  dispatches: 15,
  submits: 1,
  bindGroupsCreated: 0,
  peakBytes: 20_000_000,
  ...more,
});
const results = (rows: readonly object[], more: object = {}) => ({
  kind: "peers",
  adapter,
  date: "2026-01-02",
  versions: { thalweg: "0.1.0", node: "20.1.0" },
  rows,
  ...more,
});
/** What stands between the markers of a block. */
const block = (text: string, name: string): string =>
  text.slice(text.indexOf(`<!-- begin ${name} -->`), text.indexOf(`<!-- end ${name} -->`));

describe("docs/performance.md", () => {
  it("shows what the results files say", () => {
    const folder = join(root, "docs/performance");
    const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
    const files = names.sort().map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
    expect(renderPerformance(page, files)).toBe(page);
  });

  it("keeps the prose and replaces what was between the markers", () => {
    const once = renderPerformance(page, [results([row("net", "thalweg", 10), row("net", "tfjs", 20)])]);
    const twice = renderPerformance(once, [results([row("net", "thalweg", 10), row("net", "tfjs", 50)])]);
    expect(block(twice, "training")).toContain("| 5.00 |");
    expect(block(twice, "training")).not.toContain("| 2.00 |");
    const prose = (text: string) => text.replaceAll(/<!-- begin (\w+) -->[\s\S]*?<!-- end \1 -->/g, "");
    expect(prose(twice)).toBe(prose(page));
  });

  it("takes the mean over cases of the better peer, and the smallest case", () => {
    const rows = [
      row("one", "thalweg", 10),
      row("one", "jax-js", 20),
      row("one", "tfjs", 90),
      row("two", "thalweg", 10),
      row("two", "jax-js", 300),
      row("two", "tfjs", 80),
      // PyTorch is no peer in this sense, and a case that only Thalweg ran says nothing.
      row("two", "pytorch", 1),
      row("three", "thalweg", 10),
    ];
    expect(block(renderPerformance(page, [results(rows)]), "summary")).toContain(
      "| card-9, driver 1.2 | 2 | 4.00 × | 2.00 × (`one`) |",
    );
  });

  it("says why an engine was not timed", () => {
    const failed = {
      case: "net",
      type: "training",
      description: "",
      engine: "tfjs",
      version: "1",
      error: "no | such op",
    };
    const text = block(renderPerformance(page, [results([row("net", "thalweg", 10), failed])]), "training");
    expect(text).toContain("TensorFlow.js | not timed: no \\| such op");
  });

  it("puts GPUs before software, and shows files of unknown kinds", () => {
    const software = { ...adapter, device: "x", description: "rasteriser", isSoftware: true };
    const text = renderPerformance(page, [
      results([row("net", "thalweg", 10)], { adapter: software }),
      results([row("net", "thalweg", 10)]),
      results([{ case: "scan", ms: 1.5 }], { kind: "later" }),
    ]);
    const training = block(text, "training");
    expect(training.indexOf("### card-9, driver 1.2")).toBeGreaterThan(0);
    expect(training.indexOf("### rasteriser")).toBeGreaterThan(training.indexOf("### card-9, driver 1.2"));
    expect(block(text, "other")).toContain("| scan | 1.50 |");
  });

  it("refuses a page without its markers", () => {
    expect(() => renderPerformance("# Performance", [])).toThrow("begin summary");
  });
});
