import { sizeClass } from "./buffer-pool";
import type { Counters } from "./counters";
import { bufferUsage, mapModeRead } from "./gpu-flags";
import type { DeviceLimits } from "./limits";

/** What reading needs of its device. */
export interface ReadbackHost {
  readonly gpu: GPUDevice;
  readonly limits: DeviceLimits;
  readonly counters: Counters;
  readonly submit: (commands: readonly GPUCommandBuffer[]) => void;
  /** Fails as soon as the device is lost, whatever the promise does. */
  readonly untilLost: <T>(promise: Promise<T>) => Promise<T>;
}

const ringSize = 3;
/** Larger staging buffers are rare and not worth keeping. */
const largestKept = 1 << 24;

/**
 * Copies from the device to the host through a ring of staging buffers.
 *
 * A read copies when it is called, in order with the work submitted before it, so that what happens to the buffer
 * afterwards does not matter. Reads beyond the ring's three get a staging buffer of their own, which goes away again.
 */
export class Readback {
  readonly #host: ReadbackHost;
  readonly #idle: GPUBuffer[] = [];
  readonly #busy = new Set<GPUBuffer>();

  constructor(host: ReadbackHost) {
    this.#host = host;
  }

  /** The bytes of a range that lies inside `buffer`; offset and length need not be multiples of 4. */
  async read(buffer: GPUBuffer, byteOffset: number, bytes: number): Promise<ArrayBuffer> {
    const { gpu, counters, submit, untilLost } = this.#host;
    const start = Math.floor(byteOffset / 4) * 4;
    const length = Math.ceil((byteOffset + bytes) / 4) * 4 - start;
    const staging = this.#acquire(length);
    try {
      const encoder = gpu.createCommandEncoder({ label: "read" });
      encoder.copyBufferToBuffer(buffer, start, staging, 0, length);
      submit([encoder.finish({ label: `read ${buffer.label}` })]);
      counters.readbacks++;
      counters.bytesRead += bytes;
      await untilLost(staging.mapAsync(mapModeRead, 0, length));
      const from = byteOffset - start;
      return staging.getMappedRange(0, length).slice(from, from + bytes);
    } finally {
      this.#release(staging);
    }
  }

  /** Destroys all staging buffers. Reads under way fail. */
  destroy(): void {
    for (const staging of [...this.#idle, ...this.#busy]) staging.destroy();
    this.#idle.length = 0;
    this.#busy.clear();
  }

  /** The idle buffer that fits best, or a new one in the place of the smallest. */
  #acquire(bytes: number): GPUBuffer {
    // Idle buffers are kept in order of size.
    const fitting = this.#idle.findIndex((staging) => staging.size >= bytes);
    const staging = fitting < 0 ? this.#create(bytes) : this.#idle.splice(fitting, 1)[0];
    if (staging === undefined) throw new RangeError("readback: an index that was just found is gone.");
    this.#busy.add(staging);
    return staging;
  }

  #create(bytes: number): GPUBuffer {
    const { gpu, limits, counters } = this.#host;
    const ringIsFull = this.#idle.length + this.#busy.size >= ringSize;
    if (ringIsFull) this.#idle.shift()?.destroy();
    counters.buffersCreated++;
    return gpu.createBuffer({
      label: "staging",
      size: Math.min(sizeClass(bytes), limits.maxBufferSize),
      usage: bufferUsage.mapRead | bufferUsage.copyDestination,
    });
  }

  #release(staging: GPUBuffer): void {
    // False after destroy(), which has destroyed it.
    if (!this.#busy.delete(staging)) return;
    staging.unmap();
    if (staging.size > largestKept || this.#idle.length + this.#busy.size >= ringSize) {
      staging.destroy();
      return;
    }
    const larger = this.#idle.findIndex((other) => other.size >= staging.size);
    this.#idle.splice(larger < 0 ? this.#idle.length : larger, 0, staging);
  }
}
