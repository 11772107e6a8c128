import { RecordError } from "../errors";
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
 * Reads one record from its text. A torn last line (the process was killed while it wrote) is left out without a word; any
 * other line that cannot be read is listed in `problems` and left out.
 *
 * @param content The record, as text or as its bytes in UTF-8.
 * @param path What messages call it: its path, or its name.
 * @throws RecordError if there is no readable header, without which the other lines mean nothing.
 */
export function parseRecord(content: Uint8Array | string, path: string): RunRecord {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  // Of the bytes as they are: what is no UTF-8 has another length as text.
  return { ...recordOf(linesOf(content), path, 1), completeBytes: bytes.lastIndexOf(lineEnd) + 1 };
}

const lineEnd = "\n".charCodeAt(0);

/**
 * Reads a file that may hold several records, one after the other, as the browser app exports them: each begins with its
 * header line. What cannot be read is listed in `problems`.
 *
 * @param content The file, as text or as its bytes in UTF-8.
 * @param path What messages call it.
 */
export function parseRecords(content: Uint8Array | string, path: string): RecordFolder {
  const texts = linesOf(content);
  const starts = texts.flatMap((text, index) => (index === 0 || isHeader(text) ? [index] : []));
  const records: RunRecord[] = [];
  const problems: RecordProblem[] = texts.length === 0 ? [{ path, line: 1, message: noHeader }] : [];
  starts.forEach((start, index) => {
    const line = start + 1;
    try {
      const record = recordOf(texts.slice(start, starts[index + 1]), path, line);
      records.push(record);
      problems.push(...record.problems);
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      problems.push({ path, line, message: error.message.replace(`${path}:${line}: `, "") });
    }
  });
  return { records, problems };
}

/** Also of a header that is damaged: the lines behind it belong to no record before it. */
function isHeader(text: string): boolean {
  return /"type"\s*:\s*"header"/.test(text);
}

/** The lines that are complete. */
function linesOf(content: Uint8Array | string): readonly string[] {
  const text = typeof content === "string" ? content : new TextDecoder().decode(content);
  return text.split("\n").slice(0, -1);
}

/** @param firstLine The number of the first line in its file. */
function recordOf(texts: readonly string[], path: string, firstLine: number): RunRecord {
  const problems: RecordProblem[] = [];
  const lines: RecordLine[] = [];
  texts.forEach((text, index) => {
    try {
      lines.push(decodeLine(text));
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      problems.push({ path, line: firstLine + index, message: error.message });
    }
  });
  const [header, ...rest] = lines;
  if (header?.type !== "header") {
    const [first] = problems;
    throw new RecordError(
      first?.line === firstLine ? formatProblem(first) : formatProblem({ path, line: firstLine, message: noHeader }),
    );
  }
  const completeBytes = new TextEncoder().encode(texts.map((text) => `${text}\n`).join("")).length;
  return { path, header, ...replay(rest), completeBytes, problems };
}

const noHeader = "no header line: this is not a record, or it was cut at its start.";

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

/** All records of a file, or of the files below a folder in the order of their paths. */
export interface RecordFolder {
  readonly records: readonly RunRecord[];
  readonly problems: readonly RecordProblem[];
}
