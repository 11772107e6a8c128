import { readFile } from "node:fs/promises";

/** The page's script, as the build has made it. See `RunnerScriptModule`. */
export const runnerScript = (): Promise<string> => readFile(new URL("./browser-runner.js", import.meta.url), "utf8");
