import { defineConfig } from "tsup";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    testing: "src/testing/index.ts",
    "adapter.browser": "src/device/adapter.browser.ts",
    "adapter.node": "src/device/adapter.node.ts",
    "tuning-store.browser": "src/tuning/store.browser.ts",
    "tuning-store.node": "src/tuning/store.node.ts",
  },
  // Chosen by the user's bundler or by Node, through the conditions of "imports" in package.json.
  external: ["#adapter", "#tuning-store"],
  format: "esm",
  target: "es2022",
  dts: {
    entry: { index: "src/index.ts", testing: "src/testing/index.ts" },
    // The public types name GPUDevice and its kin; bundling the declarations drops references in the sources.
    banner: '/// <reference types="@webgpu/types" />',
  },
  sourcemap: true,
  clean: true,
});
