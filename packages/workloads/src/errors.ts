import { ThalwegError } from "@thalweg/tensor";

/** What a parser needs to know for its messages. */
export interface FileContext {
  /** Name of the file. */
  readonly file: string;
  /** The way out, a sentence: by default "fetch the file again". */
  readonly fix?: string | undefined;
}

/** What a {@link DataError} says: the four things that let a reader repair the data. */
export interface DataProblem {
  /** The file, address or data set that is wrong, as the user knows it. */
  readonly file: string;
  /** What is wrong, in a few words without a full stop. */
  readonly problem: string;
  /** What a good file has at the place that was looked at. */
  readonly expected?: string | undefined;
  /** What this file has there. */
  readonly found?: string | undefined;
  /** The way out: a sentence that says what to do. */
  readonly fix?: string | undefined;
  readonly cause?: unknown;
}

/**
 * A data file is missing, damaged or of another kind than its name says. The bytes that raised it are never used.
 *
 * The message names the file, what was expected, what was found, and the way out.
 */
export class DataError extends ThalwegError {
  /** The file, address or data set that is wrong. */
  readonly file: string;
  /** What is wrong, without the file, the values and the way out. */
  readonly problem: string;

  constructor({ file, problem, expected, found, fix = defaultFix, cause }: DataProblem) {
    const values = [
      expected === undefined ? undefined : `expected ${expected}`,
      found === undefined ? undefined : `found ${found}`,
    ].filter((part) => part !== undefined);
    const details = values.length === 0 ? "" : ` (${values.join(", ")})`;
    super("data", `${file}: ${problem}${details}. ${fix}`, cause === undefined ? undefined : { cause });
    this.name = "DataError";
    this.file = file;
    this.problem = problem;
  }
}

/** The way out where a parser knows the bytes and not where they came from. */
const defaultFix = "Fetch the file again from its publisher, or point to an undamaged copy.";

/** Bytes as two hexadecimal digits each, for messages. */
export function formatBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
