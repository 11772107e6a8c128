import { defineConfig } from "tsup";

export default defineConfig({
  entry: ["src/index.ts", "src/node.ts", "src/platform.browser.ts", "src/platform.node.ts"],
  // Chosen by the user's bundler or by Node, through the conditions of "imports" in package.json.
  external: ["#platform"],
  format: "esm",
  target: "es2022",
  dts: { entry: ["src/index.ts", "src/node.ts"] },
  sourcemap: true,
  clean: true,
});
