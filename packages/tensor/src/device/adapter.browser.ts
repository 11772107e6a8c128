import { ArgumentError, UnsupportedError } from "../errors";
import { type AdapterRequest, adapterName, type FoundGpu, isSoftware } from "./adapter";

/** Finds an adapter of the browser (or of any runtime that has `navigator.gpu`). See `AdapterModule`. */
export async function findGpu(request: AdapterRequest): Promise<FoundGpu> {
  const { adapter: wanted, powerPreference } = request;
  if (wanted === "") throw new ArgumentError('requestDevice: adapter is empty. Use "auto", "software" or a name.');
  const gpu = (globalThis.navigator as { gpu?: GPU } | undefined)?.gpu;
  if (gpu === undefined) throw new UnsupportedError(missingGpu());
  const options: GPURequestAdapterOptions = { forceFallbackAdapter: wanted === "software" };
  if (powerPreference !== undefined) options.powerPreference = powerPreference;
  const adapter = await gpu.requestAdapter(options);
  if (adapter === null) {
    throw new UnsupportedError(
      `requestDevice: navigator.gpu has no ${wanted === "software" ? "software " : ""}adapter. Enable hardware ` +
        "acceleration in the browser's settings, update the graphics driver, or see chrome://gpu or about:support " +
        "for why WebGPU is blocked.",
    );
  }
  const { info } = adapter;
  const found = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`.toLowerCase();
  if (wanted !== "auto" && wanted !== "software" && !found.includes(wanted.toLowerCase())) {
    throw new UnsupportedError(
      `requestDevice: no adapter is named "${wanted}"; the browser offers ${adapterName(info)}. ` +
        'Use "auto", or a part of that name.',
    );
  }
  return { gpu, adapter, software: isSoftware(info) };
}

/** Prints a notice where developers look for it. */
export function defaultNotice(line: string): void {
  console.info(line);
}

function missingGpu(): string {
  const insecure = globalThis.isSecureContext === false;
  return insecure
    ? "requestDevice: navigator.gpu is missing because the page is not a secure context. Serve it over https or from localhost."
    : "requestDevice: navigator.gpu is missing. Use a browser with WebGPU: Chrome or Edge 113, Safari 26, Firefox 141 or later.";
}
