import type { Terminal } from "../terminal";

/** What every command gets. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Sets the exit code of a command that worked and has bad news, such as a missed target. */
  readonly setExitCode: (code: number) => void;
}
