import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { RecordError, UsageError } from "../errors";
import { decodeLine } from "./codec";
import type {
  CheckpointLine,
  EndLine,
  EvaluationLine,
  HeaderLine,
  RecordLine,
  ResumeLine,
  TrainingLine,
} from "./schema";

/** A record that was read, with the lines that still count: what a resumed run did again is left out. */
export interface RunRecord {
  readonly path: string;
  readonly header: HeaderLine;
  /** In the order of steps, the first one at step 0. */
  readonly evaluations: readonly EvaluationLine[];
  readonly training: readonly TrainingLine[];
  readonly checkpoints: readonly CheckpointLine[];
  readonly resumes: readonly ResumeLine[];
  /** Undefined while the run goes on, and for ever after a kill. */
  readonly end: EndLine | undefined;
  /** Length of the file up to its last complete line. */
  readonly completeBytes: number;
  /** Lines that could not be read. They are left out above. */
  readonly problems: readonly RecordProblem[];
}

/** A line that could not be read. */
export interface RecordProblem {
  readonly path: string;
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
}

/** `file:line: message`, as compilers and editors write it. */
export function formatProblem({ path, line, message }: RecordProblem): string {
  return `${path}:${line}: ${message}`;
}

/**
 * Reads one record. A torn last line (the process was killed while it wrote) is left out without a word; any other
 * line that cannot be read is listed in `problems` and left out.
 *
 * @throws RecordError if there is no readable header, without which the other lines mean nothing.
 */
export function readRecord(path: string): RunRecord {
  const bytes = readFileSync(path);
  const completeBytes = bytes.lastIndexOf("\n") + 1;
  const texts = bytes.toString("utf8", 0, completeBytes).split("\n").slice(0, -1);
  const problems: RecordProblem[] = [];
  const lines: RecordLine[] = [];
  texts.forEach((text, index) => {
    try {
      lines.push(decodeLine(text));
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      problems.push({ path, line: index + 1, message: error.message });
    }
  });
  const [header, ...rest] = lines;
  if (header?.type !== "header") {
    const [first] = problems;
    throw new RecordError(
      first?.line === 1
        ? formatProblem(first)
        : `${path}:1: no header line: this is not a record, or it was cut at its start.`,
    );
  }
  return { path, header, ...replay(rest), completeBytes, problems };
}

/** Applies lines in order: a resume line takes back what came after its checkpoint. */
function replay(lines: readonly RecordLine[]) {
  let evaluations: EvaluationLine[] = [];
  let training: TrainingLine[] = [];
  let checkpoints: CheckpointLine[] = [];
  const resumes: ResumeLine[] = [];
  let end: EndLine | undefined;
  for (const line of lines) {
    switch (line.type) {
      case "evaluation":
        evaluations.push(line);
        break;
      case "training":
        training.push(line);
        break;
      case "checkpoint":
        checkpoints.push(line);
        break;
      case "end":
        end = line;
        break;
      case "resume": {
        const last = line.step ?? Number.NEGATIVE_INFINITY;
        evaluations = evaluations.filter(({ step }) => step <= last);
        // A training line at step n is the loss before update n, which a run that goes on at n computes again.
        training = training.filter(({ step }) => step < last);
        checkpoints = checkpoints.filter(({ step }) => step <= last);
        resumes.push(line);
        end = undefined;
        break;
      }
      case "header":
        break;
    }
  }
  return { evaluations, training, checkpoints, resumes, end };
}

/** All records below a folder, in the order of their paths. */
export interface RecordFolder {
  readonly records: readonly RunRecord[];
  readonly problems: readonly RecordProblem[];
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
    try {
      const record = readRecord(path);
      records.push(record);
      problems.push(...record.problems);
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      problems.push({ path, line: 1, message: error.message.replace(`${path}:1: `, "") });
    }
  }
  return { records, problems };
}
