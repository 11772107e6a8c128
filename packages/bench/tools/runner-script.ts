import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { RunnerScriptModule } from "../src/browser/runner-script";

/** The page's script, bundled from the sources. See `RunnerScriptModule`. */
export const runnerScript: RunnerScriptModule["runnerScript"] = () => bundleRunner({ sourcemap: "inline" });

/** The script of the page that trains, with everything in it, as one module. The build uses it too. */
export async function bundleRunner(options: {
  readonly minify?: boolean;
  readonly sourcemap?: "inline";
}): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("../src/browser/runner.ts", import.meta.url))],
    bundle: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    conditions: ["@thalweg/source"],
    write: false,
    ...options,
  });
  // One entry point makes one file.
  return (outputFiles[0] as (typeof outputFiles)[number]).text;
}
