import { ArgumentError, DeviceLostError, OutOfMemoryError, ThalwegError, UnsupportedError } from "../errors";
import { type TuneMode, Tuning } from "../tuning/tuning";
import { type AdapterDescription, type AdapterModule, adapterName, describeAdapter } from "./adapter";
import { BufferPool, type MemoryUse } from "./buffer-pool";
import { Counters } from "./counters";
import { bufferUsage } from "./gpu-flags";
import { checkCaps, type DeviceLimits, effectiveLimits, type LimitCaps, limitsToRequest } from "./limits";
import { PipelineCache, type PipelineSpec } from "./pipeline-cache";
import { Readback } from "./readback";

export type { AdapterDescription } from "./adapter";
export type { DeviceLimits } from "./limits";
export type { PipelineSpec } from "./pipeline-cache";

/** How a device is chosen. */
export interface DeviceOptions {
  /**
   * `"auto"` takes the best adapter, `"software"` one that computes on the CPU, anything else an adapter with that text
   * in its name. In Node the variable `THALWEG_ADAPTER` stands in for `"auto"`.
   *
   * @defaultValue `"auto"`
   */
  readonly adapter?: "auto" | "software" | (string & {});
  /** @defaultValue `"high-performance"` */
  readonly powerPreference?: GPUPowerPreference;
  /** Limits below the adapter's own that plans have to keep to. */
  readonly limits?: LimitCaps;
  /** A device of your own. It stays yours: `destroy` frees what was made on it and leaves the device alone. */
  readonly gpu?: GPUDevice;
  /**
   * Whether measurements on the adapter choose among variants of kernels. They are kept beside other cached files (in a
   * browser in IndexedDB) and may be taken only where this asks for it: another table of measurements can change the last
   * bits of results, because sums are added in another order.
   *
   * - `false`: heuristics choose.
   * - `"known"`: what was measured before is used; nothing is measured.
   * - `true`: as `"known"`, and `prepare` of compiled functions measures what is missing, for seconds. Calls never do.
   *
   * @defaultValue `false`
   */
  readonly tune?: TuneMode;
  /**
   * Told once if the adapter computes on the CPU, and at the end if errors of the device were never read.
   *
   * @defaultValue `console.error` in Node, `console.info` in browsers
   */
  readonly notice?: (line: string) => void;
}

/** One storage binding: a range of a buffer. */
export interface BindingRange {
  readonly buffer: GPUBuffer;
  /** In bytes; a multiple of `limits.minStorageBufferOffsetAlignment`. */
  readonly offset: number;
  /** In bytes; a multiple of 4, more than 0. */
  readonly size: number;
}

/** Bytes between the numbers of iterations: a multiple of what every device allows as a dynamic offset. */
export const iterationStride = 256;

/** Between a failed read and the news that its device is lost; in Chromium both come in one task or the next. */
const lossNoticeMs = 200;

/** What a {@link Device} is made of; see {@link requestDevice}. */
interface DeviceParts {
  readonly device: GPUDevice;
  /** The object that the device came from. */
  readonly origin: GPU | undefined;
  readonly info: GPUAdapterInfo;
  readonly caps: LimitCaps;
  readonly notice: (line: string) => void;
  readonly tune: TuneMode;
}

/** The features that are asked for where the adapter has them. */
const optionalFeatures = ["timestamp-query", "shader-f16", "subgroups"] as const satisfies readonly GPUFeatureName[];

/**
 * A GPU with what every computation shares: memory, pipelines, reads, counters, and errors that are not lost.
 *
 * After the GPU is lost or {@link destroy} was called, every method that would use it throws DeviceLostError. Errors
 * that the GPU reports late (a refused command, memory that ran out) are thrown by the next {@link read} or
 * {@link idle}, unless {@link takeErrors} took them before.
 */
export class Device {
  readonly gpu: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly limits: DeviceLimits;
  /** Optional features that kernels may use, such as `shader-f16`, `subgroups` and `timestamp-query`. */
  readonly features: ReadonlySet<string>;
  readonly counters = new Counters();
  readonly pool: BufferPool;
  /** What was measured on this adapter to choose variants of kernels. */
  readonly tuning: Tuning;
  /** Group 1 of all kernels that declare `struct Runtime { zero: u32 }`: a value that is 0 and that compilers do not know. */
  readonly runtimeBindGroup: GPUBindGroup;
  readonly runtimeLayout: GPUBindGroupLayout;

  // Held also so that it is not collected: a device of Dawn in Node does not outlive the object it came from.
  readonly #origin: GPU | undefined;
  readonly #notice: (line: string) => void;
  readonly #pipelines: PipelineCache;
  readonly #readback: Readback;
  readonly #runtimeBuffer: GPUBuffer;
  /** The numbers 0, 1, … at multiples of {@link iterationStride}, for kernels in loops. */
  #iterations: GPUBuffer | undefined;
  readonly #loopGroups = new Map<number, GPUBindGroup>();
  readonly #waiting = new Set<(error: DeviceLostError) => void>();
  readonly #onUncaptured: (event: GPUUncapturedErrorEvent) => void;
  /** Answers of the device that are still to come and may be errors. */
  readonly #unsettled = new Set<Promise<void>>();
  #errors: ThalwegError[] = [];
  #loss: DeviceLostError | undefined;
  #lastSubmitted = "";

  /** Users call {@link requestDevice}. */
  constructor({ device, origin, info, caps, notice, tune }: DeviceParts) {
    this.gpu = device;
    this.adapter = describeAdapter(info);
    this.tuning = new Tuning(tune, this.adapter, () => import("#tuning-store"));
    this.limits = effectiveLimits(device.limits, caps);
    this.features = new Set(device.features);
    this.#origin = origin;
    this.#notice = notice;

    const { limits, counters } = this;
    this.#onUncaptured = (event) => {
      event.preventDefault();
      this.#errors.push(this.#describeError(event.error));
    };
    const report = (outcome: Promise<ThalwegError | undefined>): void => {
      const settled = outcome.then((error) => {
        this.#unsettled.delete(settled);
        if (error !== undefined) this.#errors.push(error);
      });
      this.#unsettled.add(settled);
    };
    device.addEventListener("uncapturederror", this.#onUncaptured);
    void device.lost.then(({ reason, message }) => this.#lose(reason ?? "unknown", message));

    this.pool = new BufferPool({ gpu: device, limits, counters, report, assertUsable: () => this.#assertUsable() });
    this.#pipelines = new PipelineCache({ gpu: device, limits, counters, report });
    this.#readback = new Readback({
      gpu: device,
      limits,
      counters,
      submit: (commands) => this.submit(commands),
      untilLost: (promise) => this.#untilLost(promise),
    });
    // New buffers are zero, which is the value that kernels expect here.
    this.#runtimeBuffer = device.createBuffer({ label: "runtime", size: 16, usage: bufferUsage.uniform });
    counters.buffersCreated++;
    this.runtimeLayout = this.#pipelines.runtimeLayout;
    this.runtimeBindGroup = device.createBindGroup({
      label: "runtime",
      layout: this.runtimeLayout,
      entries: [{ binding: 0, resource: { buffer: this.#runtimeBuffer } }],
    });
    counters.bindGroupsCreated++;
  }

  /** True once the GPU is gone or the device was destroyed. */
  get lost(): boolean {
    return this.#loss !== undefined;
  }

  /** Bytes in use, free for reuse, and in use at most. */
  memory(): MemoryUse {
    return this.pool.memory();
  }

  /**
   * The pipeline of a kernel: the same object for the same text, bindings and entry point. Blocks while a new text
   * compiles; a text that does not compile is an error of the next {@link read}.
   *
   * @throws UnsupportedError - If the kernel needs more than {@link limits}.
   */
  pipeline(spec: PipelineSpec): GPUComputePipeline {
    this.#assertUsable();
    return this.#pipelines.pipeline(spec);
  }

  /**
   * As {@link pipeline}, compiled in the background.
   *
   * @throws UnsupportedError - If the kernel needs more than {@link limits}.
   * @throws ThalwegError - With code `shader` and the offending lines, if the text does not compile.
   */
  async pipelineAsync(spec: PipelineSpec): Promise<GPUComputePipeline> {
    this.#assertUsable();
    return this.#untilLost(this.#pipelines.pipelineAsync(spec));
  }

  /**
   * The bind group 0 of a kernel. Make it once and keep it: it costs 5 to 20 microseconds.
   *
   * @param entries - One range for each of the kernel's bindings, in their order.
   * @throws ArgumentError - If their number differs from the kernel's bindings.
   * @throws UnsupportedError - If a range is larger than one binding may be.
   */
  bindGroup(layoutOf: PipelineSpec, entries: readonly BindingRange[], label: string): GPUBindGroup {
    this.#assertUsable();
    const { bindings } = layoutOf;
    if (entries.length !== bindings.length) {
      throw new ArgumentError(
        `bindGroup ${label}: ${entries.length} ranges for the ${bindings.length} bindings of ${layoutOf.label}. ` +
          "Give one range per binding.",
      );
    }
    const limit = this.limits.maxStorageBufferBindingSize;
    for (const [binding, { size }] of entries.entries()) {
      if (size <= limit) continue;
      throw new UnsupportedError(
        `bindGroup ${label}: binding ${binding} has ${size} bytes, but this device allows ${limit} ` +
          "(maxStorageBufferBindingSize). Split the range.",
      );
    }
    this.counters.bindGroupsCreated++;
    return this.gpu.createBindGroup({
      label,
      layout: this.#pipelines.bindGroupLayout(bindings),
      entries: entries.map(({ buffer, offset, size }, binding) => ({ binding, resource: { buffer, offset, size } })),
    });
  }

  /**
   * Group 1 of kernels in loops: the runtime's buffer and the iteration numbers of so many loops. With the dynamic offset
   * `t · iterationStride` a kernel sees t.
   *
   * @param length - Iterations of the longest loop. A group for more of them replaces the ones made before.
   */
  loopBindGroup(loops: number, length: number): GPUBindGroup {
    this.#assertUsable();
    const iterations = this.#iterationNumbers(length);
    const known = this.#loopGroups.get(loops);
    if (known !== undefined) return known;
    const number = { buffer: iterations, size: 16 };
    const group = this.gpu.createBindGroup({
      label: `runtime and ${loops} loops`,
      layout: this.#pipelines.loopLayout(loops),
      entries: Array.from({ length: loops + 1 }, (_, binding) => ({
        binding,
        resource: binding === 0 ? { buffer: this.#runtimeBuffer } : number,
      })),
    });
    this.counters.bindGroupsCreated++;
    this.#loopGroups.set(loops, group);
    return group;
  }

  #iterationNumbers(length: number): GPUBuffer {
    const known = this.#iterations;
    if (known !== undefined && known.size >= length * iterationStride) return known;
    const count = Math.max(64, 2 ** Math.ceil(Math.log2(length)));
    const numbers = new Uint32Array((count * iterationStride) / 4);
    for (let t = 0; t < count; t++) numbers[(t * iterationStride) / 4] = t;
    const usage = bufferUsage.uniform | bufferUsage.copyDestination;
    const made = this.gpu.createBuffer({ label: "iterations", size: numbers.byteLength, usage });
    this.counters.buffersCreated++;
    this.write(made, 0, numbers);
    known?.destroy();
    this.#iterations = made;
    this.#loopGroups.clear();
    return made;
  }

  /** Hands encoded work to the GPU. The label of the last command buffer is named if the device is lost later. */
  submit(commandBuffers: readonly GPUCommandBuffer[]): void {
    this.#assertUsable();
    this.counters.submits++;
    this.#lastSubmitted = commandBuffers.at(-1)?.label || this.#lastSubmitted;
    this.gpu.queue.submit(commandBuffers);
  }

  /**
   * Copies host memory to the device, in order with submitted work.
   *
   * @param byteOffset - A multiple of 4.
   * @param data - If its length is not a multiple of 4, the last word is filled up with zeros.
   */
  write(buffer: GPUBuffer, byteOffset: number, data: ArrayBufferView): void {
    this.#assertUsable();
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const whole = bytes.length - (bytes.length % 4);
    this.#checkRange("write", buffer, byteOffset, bytes.length);
    const { queue } = this.gpu;
    if (whole > 0) queue.writeBuffer(buffer, byteOffset, bytes as Uint8Array<ArrayBuffer>, 0, whole);
    if (whole < bytes.length) {
      const tail = new Uint8Array(4);
      tail.set(bytes.subarray(whole));
      queue.writeBuffer(buffer, byteOffset + whole, tail);
    }
    this.counters.bytesUploaded += bytes.length;
  }

  /**
   * The bytes of a range as they are after the work submitted so far. Any number of reads may be under way.
   *
   * @throws DeviceLostError - If the device is lost, also while waiting.
   * @throws ThalwegError - The error that the device reported since the last read: the bytes would be wrong.
   */
  async read(buffer: GPUBuffer, byteOffset: number, bytes: number): Promise<ArrayBuffer> {
    this.#assertUsable();
    this.#checkRange("read", buffer, byteOffset, bytes);
    if (bytes === 0) return new ArrayBuffer(0);
    let result: ArrayBuffer;
    try {
      result = await this.#readback.read(buffer, byteOffset, bytes);
    } catch (error) {
      await this.#throwErrors();
      await this.#lossIfAny();
      throw error instanceof ThalwegError
        ? error
        : new ThalwegError("internal", `read: ${bytes} bytes of "${buffer.label}" could not be mapped.`, {
            cause: error,
          });
    }
    await this.#throwErrors();
    return result;
  }

  /**
   * Waits until all submitted work is done.
   *
   * @throws DeviceLostError - If the device is lost, also while waiting.
   * @throws ThalwegError - The error that the device reported since the last read.
   */
  async idle(): Promise<void> {
    this.#assertUsable();
    await this.#untilLost(this.gpu.queue.onSubmittedWorkDone());
    await this.#throwErrors();
  }

  /** The errors that the device reported and nobody has seen, oldest first. They count as seen afterwards. */
  takeErrors(): ThalwegError[] {
    const errors = this.#errors;
    this.#errors = [];
    return errors;
  }

  /** Frees everything on the device, and the device itself unless it was brought along. Reads under way fail. */
  destroy(): void {
    if (this.#loss === undefined) this.#lose("destroyed", "destroy() was called");
    this.#readback.destroy();
    this.pool.destroy();
    this.#runtimeBuffer.destroy();
    this.#iterations?.destroy();
    this.gpu.removeEventListener("uncapturederror", this.#onUncaptured as EventListener);
    if (this.#origin !== undefined) this.gpu.destroy();
    for (const error of this.takeErrors()) this.#notice(`thalweg: an error that was never read: ${error.message}`);
    if (this === currentDevice) currentDevice = undefined;
  }

  #assertUsable(): void {
    if (this.#loss !== undefined) throw this.#loss;
  }

  /** Throws the error that most likely caused the others; those then count as seen too. */
  async #throwErrors(): Promise<void> {
    if (this.#unsettled.size > 0) await this.#untilLost(Promise.all(this.#unsettled));
    this.#assertUsable();
    if (this.#errors.length === 0) return;
    const errors = this.takeErrors();
    // A text that does not compile and memory that is not there make every later command invalid, and are heard of later.
    const cause = errors.find(({ code }) => code !== "validation") ?? errors[0];
    if (cause !== undefined) throw cause;
  }

  /** Throws the loss of the device if one is under way: browsers fail reads of a lost device before they say that it is lost. */
  async #lossIfAny(): Promise<void> {
    await Promise.race([this.gpu.lost, new Promise((resolve) => setTimeout(resolve, lossNoticeMs))]);
    this.#assertUsable();
  }

  #checkRange(operation: string, buffer: GPUBuffer, byteOffset: number, bytes: number): void {
    if (byteOffset >= 0 && bytes >= 0 && byteOffset + bytes <= buffer.size) return;
    throw new ArgumentError(
      `${operation}: bytes ${byteOffset} to ${byteOffset + bytes} are outside of the buffer "${buffer.label}", which has ` +
        `${buffer.size}.`,
    );
  }

  #lose(reason: string, message: string): void {
    if (this.#loss !== undefined) return;
    const last = this.#lastSubmitted === "" ? "Nothing was submitted." : `Last submitted: "${this.#lastSubmitted}".`;
    const loss = new DeviceLostError(
      `device: the GPU device is lost (${reason}: ${message.trim().replace(/\.$/, "")}). ${last} Request a new device ` +
        "and restore the last checkpoint.",
    );
    this.#loss = loss;
    for (const reject of this.#waiting) reject(loss);
    this.#waiting.clear();
  }

  /** Settles as `promise` does, or fails at once when the device is lost. */
  #untilLost<T>(promise: Promise<T>): Promise<T> {
    // Promise.race with one promise that lives as long as the device would keep every reaction ever added to it.
    return new Promise<T>((resolve, reject) => {
      if (this.#loss !== undefined) {
        promise.catch(() => undefined);
        reject(this.#loss);
        return;
      }
      this.#waiting.add(reject);
      promise.then(
        (value) => {
          this.#waiting.delete(reject);
          resolve(value);
        },
        (error) => {
          this.#waiting.delete(reject);
          reject(error);
        },
      );
    });
  }

  #describeError(error: GPUError): ThalwegError {
    const last = this.#lastSubmitted === "" ? "" : ` Last submitted: "${this.#lastSubmitted}".`;
    // A name test and not instanceof: runtimes without global WebGPU classes have nothing to compare with.
    if (error.constructor.name === "GPUOutOfMemoryError") {
      const { liveBytes } = this.memory();
      const message = `device: out of memory: ${error.message.trim()}.${last}`;
      return new OutOfMemoryError(message, { requestedBytes: Number.NaN, liveBytes }, { cause: error });
    }
    return new ThalwegError("validation", `device: the GPU refused a command: ${error.message.trim()}${last}`, {
      cause: error,
    });
  }
}

/**
 * Finds a GPU and makes a device with everything that the adapter offers.
 *
 * @throws UnsupportedError - If there is no WebGPU or no adapter; it says what was tried and what to do.
 * @throws ArgumentError - For limits that do not exist or are not positive integers.
 */
export async function requestDevice(options: DeviceOptions = {}): Promise<Device> {
  const {
    adapter: wanted = "auto",
    powerPreference = "high-performance",
    limits: caps = {},
    gpu: own,
    tune = false,
  } = options;
  checkCaps(caps);
  const runtime: AdapterModule = await import("#adapter");
  const notice = options.notice ?? runtime.defaultNotice;
  const parts =
    own === undefined
      ? await openDevice(await runtime.findGpu({ adapter: wanted, powerPreference }), caps)
      : { device: own, origin: undefined, info: own.adapterInfo };
  const device = new Device({ ...parts, caps, notice, tune });
  if (tune !== false) await device.tuning.load();
  if (device.adapter.isSoftware) {
    notice(`thalweg: computing on the CPU (${adapterName(parts.info)}). Everything works, only slower than on a GPU.`);
  }
  return device;
}

async function openDevice(
  { gpu, adapter }: { readonly gpu: GPU; readonly adapter: GPUAdapter },
  caps: LimitCaps,
): Promise<Pick<DeviceParts, "device" | "origin" | "info">> {
  const { info } = adapter;
  try {
    const device = await adapter.requestDevice({
      label: "thalweg",
      requiredFeatures: optionalFeatures.filter((feature) => adapter.features.has(feature)),
      requiredLimits: limitsToRequest(adapter.limits, caps),
    });
    return { device, origin: gpu, info };
  } catch (cause) {
    throw new UnsupportedError(
      `requestDevice: the adapter ${adapterName(info)} gives no device. Close other programs that use the GPU, or ` +
        'choose another adapter, for example { adapter: "software" }.',
      { cause },
    );
  }
}

let currentDevice: Device | undefined;
let initializing: Promise<Device> | undefined;

/** The device that is used where none is given, or `undefined` before {@link init}. */
export function defaultDevice(): Device | undefined {
  return currentDevice;
}

/** Replaces the default device. The former one stays alive; destroying it is up to its owner. */
export function setDefaultDevice(device: Device | undefined): void {
  currentDevice = device;
}

/**
 * Requests a device and makes it the default. If there is a usable default already, that one is returned and the options
 * are not looked at; concurrent calls share one request.
 *
 * @throws UnsupportedError - If there is no adapter. A later call tries again.
 */
export async function init(options: DeviceOptions = {}): Promise<Device> {
  if (currentDevice !== undefined && !currentDevice.lost) return currentDevice;
  initializing ??= requestDevice(options)
    .then((device) => {
      currentDevice = device;
      return device;
    })
    .finally(() => {
      initializing = undefined;
    });
  return initializing;
}
