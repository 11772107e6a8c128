import { ArgumentError, ThalwegError, UnsupportedError } from "../errors";
import type { Counters } from "./counters";
import { computeStage } from "./gpu-flags";
import type { DeviceLimits } from "./limits";

/** How a kernel sees a storage buffer: `var<storage, read>` or `var<storage, read_write>`. */
export type StorageAccess = "read" | "read_write";

/** A kernel's text and everything else that its pipeline depends on. */
export interface PipelineSpec {
  /** Names the kernel in messages, profiles and captures, like `dot_f32_64x64x16`. Not part of the cache's key. */
  readonly label: string;
  /** The whole WGSL text. */
  readonly code: string;
  /** The function to run; `main` by default. */
  readonly entry?: string;
  /** Invocations along x, y and z, as the text declares them; missing ones are 1. Checked against the limits. */
  readonly workgroupSize: readonly number[];
  /** Access of `@group(0) @binding(0)`, `@binding(1)` and so on. */
  readonly bindings: readonly StorageAccess[];
  /**
   * True if the text declares `@group(1) @binding(0) var<uniform> runtime: Runtime`. A number n, for kernels in loops: that,
   * and bindings 1 to n with the numbers of the iterations of the n outermost loops, at dynamic offsets.
   */
  readonly uniforms?: boolean | number;
}

/** What the cache needs of its device. */
export interface PipelineHost {
  readonly gpu: GPUDevice;
  readonly limits: DeviceLimits;
  readonly counters: Counters;
  readonly report: (outcome: Promise<ThalwegError | undefined>) => void;
}

/** Makes compute pipelines and their layouts, each once. */
export class PipelineCache {
  /** The layout of group 1: a single uniform buffer. */
  readonly runtimeLayout: GPUBindGroupLayout;

  readonly #host: PipelineHost;
  readonly #bindGroupLayouts = new Map<string, GPUBindGroupLayout>();
  readonly #loopLayouts = new Map<number, GPUBindGroupLayout>();
  readonly #pipelineLayouts = new Map<string, GPUPipelineLayout>();
  readonly #pipelines = new Map<string, GPUComputePipeline>();
  readonly #pending = new Map<string, Promise<GPUComputePipeline>>();

  constructor(host: PipelineHost) {
    this.#host = host;
    this.runtimeLayout = host.gpu.createBindGroupLayout({
      label: "runtime",
      entries: [{ binding: 0, visibility: computeStage, buffer: { type: "uniform" } }],
    });
  }

  /**
   * The pipeline of a kernel, made now if need be. A text that does not compile is reported later, by the next read;
   * {@link pipelineAsync} tells at once and does not block.
   *
   * @throws UnsupportedError - If the kernel needs more than the device's limits.
   */
  pipeline(spec: PipelineSpec): GPUComputePipeline {
    const key = pipelineKey(spec);
    const cached = this.#pipelines.get(key);
    if (cached !== undefined) return cached;
    this.#check(spec);
    const { gpu, counters, report } = this.#host;
    gpu.pushErrorScope("validation");
    const descriptor = this.#descriptor(spec);
    const pipeline = gpu.createComputePipeline(descriptor);
    counters.pipelinesCreated++;
    const outcome = gpu.popErrorScope().catch(() => null);
    const failure = async (error: GPUError): Promise<ThalwegError> => {
      this.#pipelines.delete(key);
      return shaderError(spec, descriptor.compute.module, error.message, error);
    };
    report(outcome.then((error) => (error === null ? undefined : failure(error))));
    this.#pipelines.set(key, pipeline);
    return pipeline;
  }

  /**
   * The pipeline of a kernel, compiled without blocking the caller's thread. Concurrent calls share one compilation.
   *
   * @throws UnsupportedError - If the kernel needs more than the device's limits.
   * @throws ThalwegError - With code `shader`, the compiler's messages and the lines they point to, if the text does not
   *   compile or does not fit the bindings.
   */
  pipelineAsync(spec: PipelineSpec): Promise<GPUComputePipeline> {
    const key = pipelineKey(spec);
    const cached = this.#pipelines.get(key);
    if (cached !== undefined) return Promise.resolve(cached);
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    const compiled = this.#compile(spec, key).finally(() => this.#pending.delete(key));
    this.#pending.set(key, compiled);
    return compiled;
  }

  /** The layout of group 1 in loops: the runtime's buffer, and the iteration numbers of so many loops. */
  loopLayout(loops: number): GPUBindGroupLayout {
    const cached = this.#loopLayouts.get(loops);
    if (cached !== undefined) return cached;
    const layout = this.#host.gpu.createBindGroupLayout({
      label: `runtime and ${loops} loops`,
      entries: Array.from({ length: loops + 1 }, (_, binding) => ({
        binding,
        visibility: computeStage,
        buffer: { type: "uniform", hasDynamicOffset: binding > 0 },
      })),
    });
    this.#loopLayouts.set(loops, layout);
    return layout;
  }

  /** The layout of group 0 for a list of accesses. */
  bindGroupLayout(bindings: readonly StorageAccess[]): GPUBindGroupLayout {
    const key = bindings.join();
    const cached = this.#bindGroupLayouts.get(key);
    if (cached !== undefined) return cached;
    const layout = this.#host.gpu.createBindGroupLayout({
      label: `storage(${key})`,
      entries: bindings.map((access, binding) => ({
        binding,
        visibility: computeStage,
        buffer: { type: access === "read" ? ("read-only-storage" as const) : ("storage" as const) },
      })),
    });
    this.#bindGroupLayouts.set(key, layout);
    return layout;
  }

  async #compile(spec: PipelineSpec, key: string): Promise<GPUComputePipeline> {
    this.#check(spec);
    const { gpu, counters } = this.#host;
    // A module with an error in it raises that error by itself, besides failing the pipeline.
    gpu.pushErrorScope("validation");
    const descriptor = this.#descriptor(spec);
    const moduleOutcome = gpu.popErrorScope().catch(() => null);
    let pipeline: GPUComputePipeline;
    try {
      pipeline = await gpu.createComputePipelineAsync(descriptor);
    } catch (error) {
      const moduleError = await moduleOutcome;
      const message = moduleError?.message ?? (error instanceof Error ? error.message : String(error));
      throw await shaderError(spec, descriptor.compute.module, message, error);
    }
    counters.pipelinesCreated++;
    // The synchronous way may have been faster; one text has one pipeline.
    const other = this.#pipelines.get(key);
    if (other !== undefined) return other;
    this.#pipelines.set(key, pipeline);
    return pipeline;
  }

  #descriptor(spec: PipelineSpec): GPUComputePipelineDescriptor {
    const { label, code, entry = "main" } = spec;
    const module = this.#host.gpu.createShaderModule({ label, code });
    return { label, layout: this.#pipelineLayout(spec), compute: { module, entryPoint: entry } };
  }

  #pipelineLayout(spec: PipelineSpec): GPUPipelineLayout {
    const key = layoutKey(spec);
    const cached = this.#pipelineLayouts.get(key);
    if (cached !== undefined) return cached;
    const storage = this.bindGroupLayout(spec.bindings);
    const layout = this.#host.gpu.createPipelineLayout({
      label: key,
      bindGroupLayouts: spec.uniforms ? [storage, this.#uniformLayout(spec.uniforms)] : [storage],
    });
    this.#pipelineLayouts.set(key, layout);
    return layout;
  }

  #uniformLayout(uniforms: true | number): GPUBindGroupLayout {
    return uniforms === true ? this.runtimeLayout : this.loopLayout(uniforms);
  }

  #check(spec: PipelineSpec): void {
    const { limits } = this.#host;
    const [x = 1, y = 1, z = 1] = spec.workgroupSize;
    if (spec.workgroupSize.length > 3 || [x, y, z].some((extent) => !Number.isInteger(extent) || extent < 1)) {
      throw new ArgumentError(
        `pipeline ${spec.label}: workgroup size [${spec.workgroupSize.join(", ")}] is not one to three positive integers.`,
      );
    }
    const require = (what: string, needed: number, name: keyof DeviceLimits): void => {
      if (needed <= limits[name]) return;
      throw new UnsupportedError(
        `pipeline ${spec.label}: ${needed} ${what}, but this device allows ${limits[name]} (${name}). ` +
          "Split the kernel or choose a smaller variant.",
      );
    };
    require("storage buffers", spec.bindings.length, "maxStorageBuffersPerShaderStage");
    require("invocations in a workgroup", x * y * z, "maxComputeInvocationsPerWorkgroup");
    require("invocations along x", x, "maxComputeWorkgroupSizeX");
    require("invocations along y", y, "maxComputeWorkgroupSizeY");
    require("invocations along z", z, "maxComputeWorkgroupSizeZ");
  }
}

/** The key names everything that a pipeline depends on; above all it contains the whole text, never a digest of it. */
function pipelineKey(spec: PipelineSpec): string {
  return `${layoutKey(spec)} ${spec.entry ?? "main"}\n${spec.code}`;
}

function layoutKey(spec: PipelineSpec): string {
  return `${spec.bindings.join()}${spec.uniforms ? `;runtime ${Number(spec.uniforms === true ? 0 : spec.uniforms)}` : ""}`;
}

/** The compiler's messages with the lines that they point to. */
async function shaderError(
  spec: PipelineSpec,
  module: GPUShaderModule,
  fallback: string,
  cause: unknown,
): Promise<ThalwegError> {
  const messages = await module.getCompilationInfo().then(
    (info) => info.messages.filter((message) => message.type === "error"),
    () => [],
  );
  const details = messages.length > 0 ? messages.map((message) => pointTo(spec.code, message)) : [fallback.trim()];
  const what = messages.length > 0 ? "the WGSL text does not compile" : "the pipeline cannot be made";
  return new ThalwegError("shader", `pipeline ${spec.label}: ${what}.\n${details.join("\n")}`, { cause });
}

function pointTo(code: string, { lineNum, linePos, message }: GPUCompilationMessage): string {
  const line = code.split("\n")[lineNum - 1];
  if (line === undefined) return message;
  const gutter = `${lineNum} | `;
  const caret = " ".repeat(gutter.length + Math.max(0, linePos - 1));
  return `${lineNum}:${linePos}: ${message}\n${gutter}${line}\n${caret}^`;
}
