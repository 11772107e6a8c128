#!/usr/bin/env node
import { existsSync } from "node:fs";

// A checkout has the sources beside this file and runs them directly, so that the command works after `npm ci`
// with no build and never runs a stale one. The published package has only dist.
if (existsSync(new URL("../src/cli.ts", import.meta.url))) {
  await import("../../../scripts/run-sources.mjs");
  await import("../src/cli.ts");
} else {
  await import("../dist/cli.js");
}
