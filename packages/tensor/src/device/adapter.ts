/** What is known about the adapter behind a device. Strings are empty where the runtime does not tell. */
export interface AdapterDescription {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** The native interface, such as `vulkan`, `metal` or `D3D12`; few runtimes tell. */
  readonly backend: string;
  /** True if the adapter computes on the CPU. */
  readonly isSoftware: boolean;
  /** Smallest number of invocations in a subgroup, or 0 if unknown. */
  readonly subgroupMinSize: number;
  /** Largest number of invocations in a subgroup, or 0 if unknown. */
  readonly subgroupMaxSize: number;
}

/** What a caller asks of the runtime. */
export interface AdapterRequest {
  /** `"auto"`, `"software"`, or a part of an adapter's name. */
  readonly adapter: string;
  readonly powerPreference: GPUPowerPreference | undefined;
}

/** An adapter and the object it came from, which has to stay referenced as long as the device is in use. */
export interface FoundGpu {
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  /** True if `adapter` computes on the CPU. */
  readonly software: boolean;
}

/**
 * The contract of the module `#adapter`, of which there is one for browsers and one for Node. The package's
 * `imports` conditions choose between them, so that a bundle for the browser contains no Node code.
 */
export interface AdapterModule {
  /**
   * Finds an adapter. Every call gives a new one, because an adapter serves a single device.
   *
   * @throws UnsupportedError - If there is none; it names what was tried and the way out.
   */
  findGpu(request: AdapterRequest): Promise<FoundGpu>;
  /** Where a notice goes if the caller does not say. */
  defaultNotice(line: string): void;
}

/** Reads the adapter's information, with the vendor's silence as empty strings and zeros. */
export function describeAdapter(info: GPUAdapterInfo): AdapterDescription {
  // `backend` is not standard; Chromium gives it with developer features enabled.
  const backend = (info as { backend?: unknown }).backend;
  return {
    vendor: info.vendor ?? "",
    architecture: info.architecture ?? "",
    device: info.device ?? "",
    description: info.description ?? "",
    backend: typeof backend === "string" ? backend : "",
    isSoftware: isSoftware(info),
    subgroupMinSize: info.subgroupMinSize ?? 0,
    subgroupMaxSize: info.subgroupMaxSize ?? 0,
  };
}

/** One line that names an adapter to a person. */
export function adapterName(info: Pick<GPUAdapterInfo, "vendor" | "architecture" | "description">): string {
  const { vendor = "", architecture = "", description = "" } = info;
  return description.trim() || `${vendor} ${architecture}`.trim() || "an adapter without a name";
}

/** True for adapters that compute on the CPU: what the standard says, or a known rasteriser's name. */
export function isSoftware(info: GPUAdapterInfo): boolean {
  if (info.isFallbackAdapter === true) return true;
  const name = `${info.vendor} ${info.architecture} ${info.description}`;
  return /llvmpipe|lavapipe|swiftshader|basic render driver/i.test(name);
}
