import { createRequire } from "node:module";
import { localFiles } from "@thalweg/workloads/node";
import { parseHTML } from "linkedom";
import type { Platform } from "./platform";

/** The packages whose versions belong to a record: those that decide its numbers. */
const recordedPackages = [
  "@thalweg/tensor",
  "@thalweg/autograd",
  "@thalweg/nn",
  "@thalweg/optim",
  "@thalweg/workloads",
  "@thalweg/bench",
  "webgpu",
] as const;

export const describeRuntime: Platform["describeRuntime"] = () => ({
  packages: packageVersions(),
  runtime: `node ${process.versions.node}`,
  platform: `${process.platform} ${process.arch}`,
});

export const defaultFiles: Platform["defaultFiles"] = () => localFiles();

/** linkedom's document: all that Plot uses of a browser's. */
export const createDocument: Platform["createDocument"] = () =>
  parseHTML("<!doctype html><html><body></body></html>").document as unknown as Document;

function packageVersions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  const versions: Record<string, string> = {};
  for (const name of recordedPackages) {
    try {
      // Every package exports its package.json.
      versions[name] = (require(`${name}/package.json`) as { version: string }).version;
    } catch (error) {
      // webgpu is optional: a device of the user's own needs no adapter from it.
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  return versions;
}
