/** The outside world of a command, so that tests can look at what it writes. */
export interface Terminal {
  /** Results. With `--json` nothing but one JSON document. */
  readonly out: (text: string) => void;
  /** Progress and errors. */
  readonly error: (text: string) => void;
  /** Whether `error` reaches a person who sees a line being rewritten. */
  readonly live: boolean;
  /** Width of that person's window. */
  readonly columns: () => number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Aborted when the user presses Ctrl-C. */
  readonly signal: AbortSignal;
}
