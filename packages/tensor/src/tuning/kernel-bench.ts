/**
 * Runs single kernels on scratch memory: what they compute from fixed data, and how long they take.
 */
import { bindingBytes } from "../compiler/executable";
import type { Storage } from "../device/buffer-pool";
import type { Device } from "../device/device";
import { TimestampProfiler } from "../device/profiler";
import { bytesPerElement, type DType, decodeElements, encodeElements, isFloat } from "../dtype";
import type { Kernel } from "../kernels/kernel";
import type { Tensor } from "../tensor";
import type { Measurer, Results } from "./select";

/** A timed batch of dispatches takes about so long, well above the steps of any clock that is used. */
const batchNanoseconds = { timestamps: 2e6, host: 30e6 };
const mostDispatches = 256;

/** Elements after which the data repeat: twice a prime, so that no period of a kernel's indices divides it. */
const period = 2 * 131_071;

/** Larger than any of the data: what a kernel leaves unwritten does not agree. */
const unwritten = 0x7f;

/** Two sets of data, because what hides a mistake in one (saturation, NaN under a square root) does not in the other. */
const fillings = ["signed", "positive"] as const;

/** Memory and clock for measuring kernels that have the same bindings. */
export class KernelBench implements Measurer<Kernel> {
  readonly #device: Device;
  readonly #storages = new Map<Tensor, Storage>();
  readonly #profiler: TimestampProfiler | undefined;
  readonly #repeats = new Map<Kernel, number>();
  readonly #now: () => number;

  /** @param now milliseconds; asked only where the device has no clock of its own. */
  constructor(device: Device, now: () => number = () => performance.now()) {
    this.#device = device;
    this.#now = now;
    this.#profiler = TimestampProfiler.isAvailable(device) ? new TimestampProfiler(device, 1) : undefined;
  }

  async prepare(kernels: readonly Kernel[]): Promise<readonly (string | undefined)[]> {
    const made = await Promise.allSettled(kernels.map(({ spec }) => this.#device.pipelineAsync(spec)));
    return made.map((outcome) => (outcome.status === "rejected" ? String(outcome.reason) : undefined));
  }

  async results(kernel: Kernel): Promise<readonly Results[]> {
    const results: Results[] = [];
    const written = kernel.bindings.flatMap(([node], index) =>
      kernel.spec.bindings[index] === "read_write" ? [node as Tensor] : [],
    );
    for (const filling of fillings) {
      for (const [index, [node, before]] of kernel.bindings.entries()) {
        const isWritten = kernel.spec.bindings[index] === "read_write";
        this.#fill(node as Tensor, index, isWritten && before === undefined ? undefined : filling);
      }
      await this.#run(kernel, 1);
      for (const node of written) {
        const { buffer, byteOffset } = this.#storage(node);
        const bytes = await this.#device.read(buffer, byteOffset, bindingBytes(node));
        results.push({
          values: decodeElements(bytes, node.size, node.dtype),
          isExact: !isFloat(node.dtype),
          unitRoundoff: node.dtype === "f16" ? 2 ** -11 : 2 ** -24,
        });
      }
    }
    return results;
  }

  async time(kernel: Kernel): Promise<number> {
    const wanted = this.#profiler === undefined ? batchNanoseconds.host : batchNanoseconds.timestamps;
    let repeats = this.#repeats.get(kernel);
    if (repeats === undefined) {
      // The first dispatches pay for caches and clocks that have to wake up.
      await this.#run(kernel, 1);
      const once = Math.max(await this.#run(kernel, 1), 1);
      repeats = Math.min(mostDispatches, Math.max(1, Math.ceil(wanted / once)));
      this.#repeats.set(kernel, repeats);
      if (repeats === 1) return once;
    }
    return (await this.#run(kernel, repeats)) / repeats;
  }

  /** Gives the scratch memory back. */
  dispose(): void {
    for (const storage of this.#storages.values()) storage.release();
    this.#storages.clear();
    this.#profiler?.destroy();
  }

  /** @returns nanoseconds of all dispatches together. */
  async #run(kernel: Kernel, repeats: number): Promise<number> {
    const device = this.#device;
    const pipeline = await device.pipelineAsync(kernel.spec);
    const ranges = kernel.bindings.map(([node]) => {
      const { buffer, byteOffset } = this.#storage(node as Tensor);
      return { buffer, offset: byteOffset, size: bindingBytes(node as Tensor) };
    });
    const group = device.bindGroup(kernel.spec, ranges, kernel.spec.label);
    const encoder = device.gpu.createCommandEncoder({ label: "tuning" });
    const pass = encoder.beginComputePass(
      this.#profiler === undefined ? {} : { timestampWrites: this.#profiler.timestampWrites(0) },
    );
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    const { uniforms } = kernel.spec;
    if (uniforms === true) pass.setBindGroup(1, device.runtimeBindGroup);
    else if (uniforms) pass.setBindGroup(1, device.loopBindGroup(uniforms, 1), Array(uniforms).fill(0));
    for (let dispatch = 0; dispatch < repeats; dispatch++) pass.dispatchWorkgroups(...kernel.workgroups);
    pass.end();
    this.#profiler?.resolve(encoder);
    const start = this.#now();
    device.submit([encoder.finish()]);
    device.counters.dispatches += repeats;
    if (this.#profiler === undefined) {
      await device.idle();
      return (this.#now() - start) * 1e6;
    }
    const [elapsed] = await this.#profiler.read();
    // A clock that went backwards: as if it had taken for ever, so that the run counts for nothing.
    return elapsed === undefined || Number.isNaN(elapsed) ? Number.MAX_VALUE : elapsed;
  }

  #storage(node: Tensor): Storage {
    let storage = this.#storages.get(node);
    if (storage === undefined) {
      storage = this.#device.pool.allocate(bindingBytes(node), "tuning");
      this.#storages.set(node, storage);
    }
    return storage;
  }

  /** Fixed data that differ from binding to binding, or the mark of what was not written. */
  #fill(node: Tensor, binding: number, filling: (typeof fillings)[number] | undefined): void {
    const { buffer, byteOffset } = this.#storage(node);
    const bytes = bindingBytes(node);
    const block =
      filling === undefined
        ? new Uint8Array(Math.min(bytes, period * 4)).fill(unwritten)
        : testData(node.dtype, Math.min(bytes / bytesPerElement[node.dtype], period), binding, filling);
    for (let offset = 0; offset < bytes; offset += block.byteLength) {
      this.#device.write(buffer, byteOffset + offset, block.subarray(0, Math.min(block.byteLength, bytes - offset)));
    }
  }
}

/**
 * Odd eighths below 1. Products of two of them are multiples of 1/64, so that sums of up to 300,000 are exact in f32: plain
 * contractions agree to the last bit whatever their order, and a term too many or too few is seen.
 * Integers are small, whatever they are used for.
 */
function testData(dtype: DType, count: number, binding: number, filling: (typeof fillings)[number]): Uint8Array {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const bits = mix(i + binding * 0x9e3779b9);
    if (dtype === "bool") values[i] = bits & 1;
    else if (!isFloat(dtype)) values[i] = bits & 127;
    else values[i] = (((bits & 3) * 2 + 1) / 8) * (filling === "signed" && bits & 4 ? -1 : 1);
  }
  return new Uint8Array(encodeElements(values, dtype));
}

/** A bijection of 32 bits that leaves no pattern (finalizer of MurmurHash3). */
function mix(value: number): number {
  let state = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) >>> 3;
}
