import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { defineConfig } from "tsup";
import { bundleRunner } from "./tools/runner-script";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    node: "src/node.ts",
    "platform.browser": "src/platform.browser.ts",
    "platform.node": "src/platform.node.ts",
    "runner-script.node": "src/browser/runner-script.node.ts",
  },
  // Chosen by the user's bundler or by Node, through the conditions of "imports" in package.json.
  external: ["#platform", "#runner-script"],
  format: "esm",
  target: "es2022",
  dts: { entry: ["src/index.ts", "src/node.ts"] },
  sourcemap: true,
  clean: true,
  onSuccess: async () => writeFile(join("dist", "browser-runner.js"), await bundleRunner({ minify: true })),
});
