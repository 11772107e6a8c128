import { readFileSync } from "node:fs";
import { exitCodes, main, type Terminal } from "@thalweg/bench/node";

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    // The first one lets the run write its record and stop; whoever asks twice does not want to wait.
    if (interruption.signal.aborted) process.exit(exitCodes.interrupted);
    interruption.abort();
  });
}

// A reader that has seen enough, such as `head`, closes the pipe.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.success);
  throw error;
});

const terminal: Terminal = {
  out: (text) => process.stdout.write(text),
  error: (text) => process.stderr.write(text),
  live: process.stderr.isTTY === true,
  columns: () => process.stderr.columns ?? 80,
  now: () => performance.now(),
  signal: interruption.signal,
};

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};
const code = await main(process.argv.slice(2), terminal, version);
// Both streams are written out before the process ends, also where they are pipes; a device would keep it alive.
await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write("", done))));
process.exit(code);
