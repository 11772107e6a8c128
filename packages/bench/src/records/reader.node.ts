import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../errors";
import { parseRecord, parseRecords, type RecordFolder, type RecordProblem, type RunRecord } from "./reader";

/** Reads the record in a file: {@link parseRecord}. */
export function readRecord(path: string): RunRecord {
  return parseRecord(readFileSync(path), path);
}

/**
 * Reads every record (`*.jsonl`) in a folder and the folders below it.
 *
 * @throws UsageError if the folder does not exist or is no folder.
 */
export function readRecords(folder: string): RecordFolder {
  if (!existsSync(folder)) {
    throw new UsageError(`folder ${folder} does not exist. Give the folder that a benchmark wrote with --out.`);
  }
  if (!statSync(folder).isDirectory())
    throw new UsageError(`${folder} is a file. Give the folder that holds the records.`);
  const records: RunRecord[] = [];
  const problems: RecordProblem[] = [];
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".jsonl"));
  for (const name of names.sort()) {
    const path = join(folder, name);
    const found = parseRecords(readFileSync(path), path);
    records.push(...found.records);
    problems.push(...found.problems);
  }
  return { records, problems };
}
