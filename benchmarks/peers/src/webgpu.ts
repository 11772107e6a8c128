import { create as createGpu, globals } from "webgpu";
import type { AdapterName } from "./results";

/**
 * Puts Dawn behind `navigator.gpu` for all engines and says which adapter they will get. An adapter serves one
 * device, so every engine asks for its own; with the same preference they are of the same kind.
 */
export async function installWebGpu(): Promise<AdapterName> {
  Object.assign(globalThis, globals);
  const gpu = createGpu([]);
  Object.defineProperty(globalThis, "navigator", {
    value: { gpu, userAgent: `Node.js/${process.versions.node}` },
    configurable: true,
  });
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) {
    throw new UsageError(
      "Dawn found no adapter: install a Vulkan driver, or point VK_DRIVER_FILES at one (see README.md).",
    );
  }
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const text = `${vendor} ${architecture} ${device} ${description}`;
  return {
    name: nameOf({ vendor, architecture, device, description }),
    vendor,
    architecture,
    device,
    description,
    isSoftware: isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(text),
  };
}

/** Vendors put the name of the device or that of the driver into one field or the other. */
function nameOf({
  vendor,
  architecture,
  device,
  description,
}: Record<keyof Pick<AdapterName, "vendor" | "architecture" | "device" | "description">, string>): string {
  const isNamed = device !== "" && !/^0x[0-9a-f]+$/i.test(device);
  const parts = [isNamed ? device : "", description].filter((part) => part !== "");
  return parts.length > 0 ? parts.join(", ") : `${vendor} ${architecture}`.trim();
}

/** A mistake in how the benchmark was called; shown without a stack. */
export class UsageError extends Error {}
