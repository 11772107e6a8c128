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
  const completeBytes = bytes.lastIndexOf(lineEnd) + 1;
  const texts = new TextDecoder().decode(bytes.subarray(0, completeBytes)).split("\n").slice(0, -1);
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

const lineEnd = "\n".charCodeAt(0);

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
