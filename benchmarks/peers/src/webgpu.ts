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
  const isSoftware = isFallbackAdapter || /llvmpipe|lavapipe|swiftshader/i.test(text);
  // On a GPU the device is the product and the description the driver; software says both in its description.
  const parts = [isSoftware ? "" : device, description].filter((part) => part !== "");
  const name = parts.length > 0 ? parts.join(", ") : `${vendor} ${architecture}`.trim();
  return { name, vendor, architecture, device, description, isSoftware };
}

/** A mistake in how the benchmark was called; shown without a stack. */
export class UsageError extends Error {}
