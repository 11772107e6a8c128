// Bundles src/main.ts and the three engines into dist/. The engines are separate chunks, because TensorFlow.js and jax-js look for
// `navigator.gpu` while they are being imported or initialised, and main.ts has to put it there first.
import { build } from "esbuild";

await build({
  entryPoints: ["src/main.ts"],
  outdir: "dist",
  bundle: true,
  splitting: true,
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: true,
  // One copy of tfjs-core: its WebGPU back end imports the ES module build, so everyone must.
  mainFields: ["module", "main"],
  conditions: ["@thalweg/source", "module"],
  loader: { ".py": "text" },
  // Dawn is a native module; node-fetch is loaded by tfjs-core only when something is downloaded.
  external: ["webgpu", "node-fetch"],
  banner: {
    js: 'import { createRequire as createBundleRequire } from "node:module"; const require = createBundleRequire(import.meta.url);',
  },
  logLevel: "warning",
});
