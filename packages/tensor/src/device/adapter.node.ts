import { constants } from "node:os";
import process from "node:process";
import { ArgumentError, UnsupportedError } from "../errors";
import { type AdapterRequest, type FoundGpu, isSoftware } from "./adapter";
// With an extension, because without one the name looks like a native addon to bundlers.
import { swiftshaderPackage, unpackSwiftShader } from "./swiftshader.node.js";

/** Dawn for Node: `create` makes a `GPU` object with its own view of the machine's drivers. */
type Dawn = typeof import("webgpu");

/** Timestamps otherwise come in steps of 65,536 ns, longer than most kernels take. */
const dawnFlags = ["disable-dawn-features=timestamp_quantization"];

/**
 * Finds an adapter in Node. See `AdapterModule`.
 *
 * `"auto"` takes, in this order, the machine's best adapter through the npm package `webgpu`, an adapter of the runtime's own
 * `navigator.gpu`, and SwiftShader from npm. The variable `THALWEG_ADAPTER` stands in for `"auto"`: `software`
 * takes SwiftShader at once, any other value the adapter with that text in its name.
 */
export async function findGpu(request: AdapterRequest): Promise<FoundGpu> {
  const wanted = request.adapter === "auto" ? process.env.THALWEG_ADAPTER || "auto" : request.adapter;
  if (wanted === "") throw new ArgumentError('requestDevice: adapter is empty. Use "auto", "software" or a name.');
  const tried: string[] = [];
  const dawn = await importDawn(tried);
  const attempts = [
    ...(wanted === "software" ? [] : [() => fromDawn(dawn, wanted, request.powerPreference, tried)]),
    ...(wanted === "auto" ? [() => fromNavigator(request.powerPreference, tried)] : []),
    ...(wanted === "auto" || wanted === "software" ? [() => fromSwiftShader(dawn, tried)] : []),
  ];
  for (const attempt of attempts) {
    const found = await attempt();
    if (found !== undefined) return found;
  }
  throw new UnsupportedError(
    `requestDevice: no ${wanted === "auto" ? "" : `"${wanted}" `}WebGPU adapter. Tried: ${tried.join("; ")}. ` +
      wayOut(wanted, dawn !== undefined),
  );
}

function wayOut(wanted: string, hasDawn: boolean): string {
  if (!hasDawn) return 'Run "npm install webgpu".';
  if (wanted !== "auto" && wanted !== "software") return 'Use "auto", "software", or a part of a name that is there.';
  return (
    "Install a Vulkan driver (on Debian and Ubuntu: mesa-vulkan-drivers, version 24 or later), or on Linux x64 a " +
    `software one with "npm install ${swiftshaderPackage}".`
  );
}

/** Prints a notice beside, not into, a program's output. */
export function defaultNotice(line: string): void {
  console.error(line);
}

async function importDawn(tried: string[]): Promise<Dawn | undefined> {
  try {
    return await import("webgpu");
  } catch (error) {
    tried.push(`the npm package webgpu, which did not load (${firstLine(error)})`);
    return undefined;
  }
}

async function fromDawn(
  dawn: Dawn | undefined,
  wanted: string,
  powerPreference: GPUPowerPreference | undefined,
  tried: string[],
): Promise<FoundGpu | undefined> {
  if (dawn === undefined) return undefined;
  const gpu = dawn.create(wanted === "auto" ? dawnFlags : [...dawnFlags, `adapter=${wanted}`]);
  try {
    const adapter = await gpu.requestAdapter(powerPreference === undefined ? {} : { powerPreference });
    if (adapter !== null) return { gpu, adapter, software: isSoftware(adapter.info) };
    tried.push("the machine's drivers through webgpu, which found none");
  } catch (error) {
    // Where a name fits none, Dawn throws and lists the adapters that there are, one in a line with its name in quotes.
    const names = [...String(error).matchAll(/name: '(.*)'$/gm)].map(([, name]) => name);
    const found = names.length > 0 ? `which are: ${names.join(", ")}` : `which failed (${firstLine(error)})`;
    tried.push(`the machine's drivers through webgpu, ${found}`);
  }
  return undefined;
}

/** Deno and other runtimes with a WebGPU of their own. */
async function fromNavigator(
  powerPreference: GPUPowerPreference | undefined,
  tried: string[],
): Promise<FoundGpu | undefined> {
  const gpu = (globalThis.navigator as { gpu?: GPU } | undefined)?.gpu;
  if (gpu === undefined) return undefined;
  const adapter = await gpu.requestAdapter(powerPreference === undefined ? {} : { powerPreference });
  if (adapter !== null) return { gpu, adapter, software: isSoftware(adapter.info) };
  tried.push("navigator.gpu, which has no adapter");
  return undefined;
}

async function fromSwiftShader(dawn: Dawn | undefined, tried: string[]): Promise<FoundGpu | undefined> {
  if (dawn === undefined) return undefined;
  if (process.platform !== "linux" || process.arch !== "x64") {
    tried.push(`SwiftShader from npm, which is for linux-x64 and not ${process.platform}-${process.arch}`);
    return undefined;
  }
  try {
    const { loader, manifest } = await unpackSwiftShader();
    preload(loader);
    const { gpu, pending } = withDriver(manifest, () => {
      const gpu = dawn.create(dawnFlags);
      return { gpu, pending: gpu.requestAdapter() };
    });
    const adapter = await pending;
    if (adapter !== null) return { gpu, adapter, software: true };
    tried.push(`SwiftShader of ${swiftshaderPackage}, which gave no adapter`);
  } catch (error) {
    tried.push(`SwiftShader of ${swiftshaderPackage}, which did not load (${firstLine(error)})`);
  }
  return undefined;
}

/**
 * Loads the Vulkan loader that Dawn later asks for by name, for machines that have none.
 *
 * `dlopen` is made for Node's own addons and always throws for another library, but the library stays loaded: the flag
 * 0x1000 is RTLD_NODELETE. If the machine's loader is already there, Dawn uses that one, which serves as well.
 */
function preload(library: string): void {
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, library, RTLD_NOW | RTLD_GLOBAL | 0x1000);
  } catch (error) {
    if (!/did not self-register/.test(firstLine(error))) throw error;
  }
}

/**
 * Runs `find` with one driver as the only one that Vulkan sees.
 *
 * Dawn reads the drivers before `requestAdapter` returns its promise, so that the variable can be put back at once and
 * neither child processes nor later requests inherit it.
 */
function withDriver<T>(manifest: string, find: () => T): T {
  const { VK_DRIVER_FILES } = process.env;
  process.env.VK_DRIVER_FILES = manifest;
  try {
    return find();
  } finally {
    if (VK_DRIVER_FILES === undefined) delete process.env.VK_DRIVER_FILES;
    else process.env.VK_DRIVER_FILES = VK_DRIVER_FILES;
  }
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n", 1)[0] ?? "";
}
