import type { Device } from "@thalweg/tensor";
import { describeRuntime } from "#platform";
import type { RunEnvironment } from "../records/schema";

/**
 * Describes the device and the programs that a run is made with.
 *
 * @param known What somebody else knows better than the platform itself.
 */
export function describeEnvironment(
  { adapter, tuning }: Pick<Device, "adapter" | "tuning">,
  known: Partial<RunEnvironment> = {},
): RunEnvironment {
  const parts = [adapter.vendor, adapter.architecture, adapter.device, adapter.description, adapter.backend];
  return {
    adapter: { description: parts.filter((part) => part !== "").join(" "), fallback: adapter.isSoftware },
    ...describeRuntime(),
    ...known,
    ...(tuning.mode === false ? {} : { tuned: true }),
  };
}
