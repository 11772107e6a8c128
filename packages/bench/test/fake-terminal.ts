import { main } from "../src/cli/main";
import type { Terminal } from "../src/cli/terminal";

/** What a command did. */
export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** Runs a command in this process, as a program that nobody watches would. */
export async function runCommand(args: readonly string[], signal = new AbortController().signal): Promise<Outcome> {
  let out = "";
  let error = "";
  const terminal: Terminal = {
    out: (text) => {
      out += text;
    },
    error: (text) => {
      error += text;
    },
    live: false,
    columns: () => 100,
    now: () => performance.now(),
    signal,
  };
  const code = await main(args, terminal, "1.2.3");
  return { code, out, error };
}
