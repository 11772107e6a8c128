import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../records/durable.node.js";
import type { RecordFolder } from "../records/reader";
import { aggregate, type Race } from "./aggregate";
import { renderFigure } from "./figure";
import { renderPage } from "./page";
import { renderPng } from "./png.node.js";
import { lightTheme } from "./theme";

/** Kinds of files that a report can be written as. */
export const reportFormats = ["html", "svg", "png"] as const;

/** One of {@link reportFormats}. */
export type ReportFormat = (typeof reportFormats)[number];

/** Options of {@link writeReport}. */
export interface ReportOptions {
  /** Folder for the files; made where it is missing. */
  readonly folder: string;
  readonly formats: readonly ReportFormat[];
}

/**
 * Writes the report of a folder of records: `report.html`, and `curves.svg` and `curves.png` (one for each race, with
 * the workload's name added where there are several). Only the records are read.
 *
 * @returns the races and the paths of the files.
 */
export function writeReport(
  { records, problems }: RecordFolder,
  { folder, formats }: ReportOptions,
): { readonly races: readonly Race[]; readonly files: readonly string[] } {
  const races = aggregate(records);
  const files: string[] = [];
  const write = (name: string, content: string | Uint8Array) => {
    const path = join(folder, name);
    replaceFile(path, typeof content === "string" ? Buffer.from(content) : content);
    files.push(path);
  };
  mkdirSync(folder, { recursive: true });
  if (formats.includes("html")) write("report.html", renderPage(races, problems));
  races.forEach((race, index) => {
    const name = races.length === 1 ? "curves" : `curves-${index + 1}-${race.workload.replace(/[^A-Za-z0-9_-]/g, "-")}`;
    const svg = renderFigure(race, lightTheme);
    if (formats.includes("svg")) write(`${name}.svg`, svg);
    if (formats.includes("png")) write(`${name}.png`, renderPng(svg));
  });
  return { races, files };
}
