import { ArgumentError, ThalwegError } from "@thalweg/tensor";
import { UsageError } from "../errors";

/** What the process tells its caller. */
export const exitCodes = {
  success: 0,
  /** Something went wrong while working. */
  failure: 1,
  /** The command line asks for something that does not exist. */
  usage: 2,
  /** All went well, but no run reached the target. */
  targetMissed: 3,
  /** Ctrl-C, by the shells' convention 128 + the number of SIGINT. */
  interrupted: 130,
} as const;

/** The exit code that belongs to an error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError || error instanceof ArgumentError ? exitCodes.usage : exitCodes.failure;
}

/** One message without a stack, with the way out. `THALWEG_DEBUG=stack` shows where an error comes from. */
export function describeFailure(error: unknown, showStack = process.env.THALWEG_DEBUG === "stack"): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`;
  const message = `error: ${error instanceof ThalwegError ? error.message : describeForeign(error)}`;
  return showStack && error.stack !== undefined ? `${message}\n${error.stack}` : message;
}

const causes: Readonly<Record<string, string>> = {
  EACCES: "permission denied. Choose a folder that you may write to.",
  EPERM: "not permitted. Choose a folder that you may write to.",
  EROFS: "the disk is read-only. Choose a folder on another one.",
  ENOSPC: "no space left on the disk. Free some, then run the same command again: it goes on where it stopped.",
  ENOENT: "no such file or folder.",
  ENOTDIR: "a part of the path is a file, not a folder.",
  EISDIR: "it is a folder, not a file.",
  EMFILE: "too many open files.",
};

/** Errors of the system say what failed; all others are defects of this program, and say so. */
function describeForeign(error: Error): string {
  const { code, path } = error as NodeJS.ErrnoException;
  const cause = code === undefined ? undefined : causes[code];
  if (cause !== undefined) return `${path ?? error.message}: ${cause}`;
  return `${error.message} (unexpected; THALWEG_DEBUG=stack shows where)`;
}
