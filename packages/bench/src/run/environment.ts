import { createRequire } from "node:module";
import type { Device } from "@thalweg/tensor";
import type { RunEnvironment } from "../records/schema";

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

/** Describes the device and the programs that a run is made with. */
export function describeEnvironment({ adapter, tuning }: Pick<Device, "adapter" | "tuning">): RunEnvironment {
  const parts = [adapter.vendor, adapter.architecture, adapter.device, adapter.description, adapter.backend];
  return {
    adapter: { description: parts.filter((part) => part !== "").join(" "), fallback: adapter.isSoftware },
    packages: packageVersions(),
    runtime: `node ${process.versions.node}`,
    platform: `${process.platform} ${process.arch}`,
    ...(tuning.mode === false ? {} : { tuned: true }),
  };
}

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
