// What the studies in this folder share: runs of a race by name, and tables in markdown.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Contestant, Quartiles, RunRecord } from "@thalweg/bench";

/** `450 (400 – 500)`, `never` for an infinite median. */
export function formatQuartiles({ lower, median, upper }: Quartiles, digits: number): string {
  const show = (value: number) => (Number.isFinite(value) ? value.toFixed(digits) : "never");
  return lower === median && median === upper ? show(median) : `${show(median)} (${show(lower)} – ${show(upper)})`;
}

/** `3 of 3`, with the number of diverged runs if there are any. */
export function formatReached({ reached, runs, diverged }: Contestant): string {
  return `${reached} of ${runs.length}${diverged === 0 ? "" : `, ${diverged} diverged`}`;
}

/** One line for a finished run, for whoever waits. */
export function describeRun({ header: { configuration }, end }: RunRecord): string {
  const { optimizer, seed, hyperparameters } = configuration;
  const rate = typeof hyperparameters.learningRate === "number" ? ` rate ${hyperparameters.learningRate}` : "";
  const steps = end?.timeToTarget == null ? "" : ` after ${end.timeToTarget.steps} steps`;
  return `${optimizer} seed ${seed}${rate}: ${end?.status}${steps}`;
}

/** A table in markdown. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->` in a document; makes the document if it is missing. */
export function writeSection(path: string, name: string, content: string, whenMissing: string): void {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const before = existsSync(path) ? readFileSync(path, "utf8") : whenMissing;
  const text = before.includes(begin) ? before : `${before.trimEnd()}\n\n${begin}\n${end}\n`;
  const [head, rest] = [text.slice(0, text.indexOf(begin)), text.slice(text.indexOf(end))];
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${head}${begin}\n\n${content.trim()}\n\n${rest}`);
}
