import type { Device } from "@thalweg/tensor";
import { describeRuntime } from "#platform";
import type { RunEnvironment } from "../records/schema";

/** Describes the device and the programs that a run is made with. */
export function describeEnvironment({ adapter, tuning }: Pick<Device, "adapter" | "tuning">): RunEnvironment {
  const parts = [adapter.vendor, adapter.architecture, adapter.device, adapter.description, adapter.backend];
  return {
    adapter: { description: parts.filter((part) => part !== "").join(" "), fallback: adapter.isSoftware },
    ...describeRuntime(),
    ...(tuning.mode === false ? {} : { tuned: true }),
  };
}
