import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "./architecture";

/** What a finished command left: its exit code and everything it printed. */
export interface Outcome {
  readonly exitCode: number | null;
  readonly output: string;
}

/** Runs Node with `args` and waits for its end. `stdin` is empty, as on a build server. */
export function runNode(args: readonly string[], { cwd = repositoryRoot, timeoutMs = 240_000 } = {}): Outcome {
  const { NODE_OPTIONS: _, VITEST: __, ...env } = process.env;
  const result = spawnSync(process.execPath, args, {
    cwd,
    env: { ...env, TURBO_TELEMETRY_DISABLED: "1", NO_COLOR: "1" },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    maxBuffer: 2 ** 26,
  });
  const ending = result.error === undefined ? "" : `\n${result.error.message}`;
  return { exitCode: result.status, output: `${result.stdout}${result.stderr}${ending}` };
}

/** Runs the command `name` of an installed package without a shell, which differs between systems. */
export function runTool(name: string, args: readonly string[], options?: Parameters<typeof runNode>[1]): Outcome {
  const folder = join(repositoryRoot, "node_modules", name);
  const { bin } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const script = typeof bin === "string" ? bin : Object.values(bin as Record<string, string>)[0];
  return runNode([join(folder, script ?? ""), ...args], options);
}
