import { defineConfig } from "tsup";

const shared = { format: "esm", target: "es2022", sourcemap: true } as const;

export default defineConfig([
  {
    ...shared,
    entry: {
      index: "src/index.ts",
      node: "src/node.ts",
      "platform.browser": "src/platform.browser.ts",
      "platform.node": "src/platform.node.ts",
      "runner-script.node": "src/browser/runner-script.node.ts",
    },
    // Chosen by the user's bundler or by Node, through the conditions of "imports" in package.json.
    external: ["#platform", "#runner-script"],
    dts: { entry: ["src/index.ts", "src/node.ts"] },
    clean: true,
  },
  {
    ...shared,
    // The script of the page that trains: one file with everything in it.
    entry: { "browser-runner": "src/browser/runner.ts" },
    platform: "browser",
    noExternal: [/./],
    splitting: false,
    minify: true,
    sourcemap: false,
  },
]);
