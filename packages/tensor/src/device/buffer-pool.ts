import { ArgumentError, DisposedError, OutOfMemoryError, type ThalwegError } from "../errors";
import type { Counters } from "./counters";
import { bufferUsage } from "./gpu-flags";
import type { DeviceLimits } from "./limits";

/**
 * A reference-counted range of a GPU buffer. Several ranges may lie in one buffer, which goes back to the pool when the
 * last of them is released. A new range has one reference, which its creator owns.
 */
export interface Storage {
  readonly buffer: GPUBuffer;
  /** Where the range starts in `buffer`; a multiple of 4. */
  readonly byteOffset: number;
  /** Length of the range: what was asked for, rounded up to a multiple of 4 and at least 4, so that it can be bound. */
  readonly bytes: number;
  /** True after the last reference is gone. */
  readonly released: boolean;
  /** @throws DisposedError - If the range was released. */
  retain(): void;
  /** @throws DisposedError - If the range was released already: some owner released twice. */
  release(): void;
}

/** Bytes on the device, as the pool sees them. Buffers count with their whole size, rounding included. */
export interface MemoryUse {
  /** In buffers that somebody holds. */
  readonly liveBytes: number;
  /** In free buffers that wait for reuse. */
  readonly pooledBytes: number;
  /** The highest that `liveBytes` has been. */
  readonly peakBytes: number;
  /** Buffers that somebody holds. */
  readonly liveBuffers: number;
}

/** What the pool needs of its device. */
export interface PoolHost {
  readonly gpu: GPUDevice;
  readonly limits: DeviceLimits;
  readonly counters: Counters;
  /** Takes an answer of the device that comes after the call has returned: an error, or `undefined` for none. */
  readonly report: (outcome: Promise<ThalwegError | undefined>) => void;
  /** Throws if the device can no longer be used. */
  readonly assertUsable: () => void;
}

/** What released memory is overwritten with when `poison` is on: a NaN that is easy to recognise in a dump. */
export const poisonBits = 0x7fc0dead;

const storageUsage = bufferUsage.storage | bufferUsage.copySource | bufferUsage.copyDestination;
const smallestBuffer = 256;
const classesPerOctave = 8;
const poisonChunkBytes = 1 << 18;

/**
 * The only place that creates and destroys storage buffers.
 *
 * Sizes are rounded up to classes, eight to an octave, so that at most an eighth is wasted and a freed buffer is found
 * again by the next request of about that size. Reuse needs no waiting: the queue runs in order. Recycled memory holds
 * old data, so every kernel writes its whole output.
 */
export class BufferPool {
  /**
   * Overwrites memory when it is released, so that a use after release is seen. Costs an upload of the buffer's size.
   */
  poison = false;
  /** Free buffers beyond this many bytes are destroyed instead of kept. */
  maxPooledBytes = 1 << 29;

  readonly #host: PoolHost;
  readonly #free = new Map<number, GPUBuffer[]>();
  readonly #live = new Set<GPUBuffer>();
  /** Buffers that the driver had no memory for: they can be released and are never handed out again. */
  readonly #refused = new WeakSet<GPUBuffer>();
  #liveBytes = 0;
  #pooledBytes = 0;
  #peakBytes = 0;
  #poisonChunk: Uint32Array<ArrayBuffer> | undefined;

  constructor(host: PoolHost) {
    this.#host = host;
  }

  /**
   * A range of at least `bytes` bytes with usage storage, copy source and copy destination, with undefined contents.
   *
   * @param bytes - Zero is allowed and gives a range of 4 bytes.
   * @param label - What the memory is for; shown in messages of the device.
   * @throws OutOfMemoryError - If the size is above the device's limit for one buffer. Where the driver refuses later, the
   *   error is thrown by the next read.
   */
  allocate(bytes: number, label: string): Storage {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new ArgumentError(`allocate ${label}: ${bytes} bytes is not a size. Give an integer of at least 0.`);
    }
    this.#host.assertUsable();
    const usable = Math.max(4, Math.ceil(bytes / 4) * 4);
    const limit = this.#host.limits.maxBufferSize;
    if (usable > limit) {
      throw new OutOfMemoryError(
        `allocate ${label}: ${usable} bytes are more than one buffer of this device can hold, which is ${limit} bytes ` +
          `(${formatBytes(this.#liveBytes)} in use). Split the tensor or use a smaller batch.`,
        { requestedBytes: usable, liveBytes: this.#liveBytes, limitBytes: limit },
      );
    }
    const size = Math.min(sizeClass(usable), limit);
    const buffer = this.#reuse(size, label) ?? this.#create(size, label);
    this.#live.add(buffer);
    this.#liveBytes += size;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes);
    return new Range(new Allocation(buffer, (freed) => this.#recycle(freed)), 0, usable);
  }

  /**
   * A part of a range, with its own reference: the buffer stays in use until both are released.
   *
   * @param byteOffset - Counted from the start of `storage`; a multiple of 4.
   * @param bytes - Rounded up to a multiple of 4; the part has to lie inside `storage`.
   */
  view(storage: Storage, byteOffset: number, bytes: number): Storage {
    if (!(storage instanceof Range)) {
      throw new ArgumentError("view: the storage is not from a pool. Allocate it with pool.allocate.");
    }
    if (storage.released) throw new DisposedError("view: the storage was released. Take the view before releasing it.");
    const usable = Math.max(4, Math.ceil(bytes / 4) * 4);
    const fits = byteOffset >= 0 && byteOffset % 4 === 0 && byteOffset + usable <= storage.bytes;
    if (!fits) {
      throw new ArgumentError(
        `view: bytes ${byteOffset} to ${byteOffset + usable} do not lie in a range of ${storage.bytes}, or do not start ` +
          "at a multiple of 4.",
      );
    }
    return new Range(storage.allocation, storage.byteOffset + byteOffset, usable);
  }

  /** Destroys all free buffers. Memory in use is not touched. */
  trim(): void {
    for (const buffers of this.#free.values()) for (const buffer of buffers) buffer.destroy();
    const freed = this.#pooledBytes > 0;
    this.#free.clear();
    this.#pooledBytes = 0;
    // Dawn gives destroyed memory back at the next submit, even an empty one.
    if (freed) this.#host.gpu.queue.submit([]);
  }

  /** How much memory is in use, waiting and was in use at most. */
  memory(): MemoryUse {
    return {
      liveBytes: this.#liveBytes,
      pooledBytes: this.#pooledBytes,
      peakBytes: this.#peakBytes,
      liveBuffers: this.#live.size,
    };
  }

  /** Destroys every buffer, those in use included. For the end of the device. */
  destroy(): void {
    for (const buffer of this.#live) buffer.destroy();
    for (const buffers of this.#free.values()) for (const buffer of buffers) buffer.destroy();
    this.#live.clear();
    this.#free.clear();
    this.#liveBytes = 0;
    this.#pooledBytes = 0;
  }

  #reuse(size: number, label: string): GPUBuffer | undefined {
    const buffer = this.#free.get(size)?.pop();
    if (buffer === undefined) return undefined;
    buffer.label = label;
    this.#pooledBytes -= size;
    return buffer;
  }

  #create(size: number, label: string): GPUBuffer {
    const { gpu, counters, report } = this.#host;
    const liveBytes = this.#liveBytes;
    gpu.pushErrorScope("out-of-memory");
    const buffer = gpu.createBuffer({ label, size, usage: storageUsage });
    counters.buffersCreated++;
    // A lost device rejects here; that is reported where the loss is.
    const outcome = gpu.popErrorScope().catch(() => null);
    const failure = (error: GPUError): OutOfMemoryError => {
      this.#refused.add(buffer);
      return new OutOfMemoryError(
        `allocate ${label}: the driver has no ${formatBytes(size)} more (${formatBytes(liveBytes)} in use). ` +
          "Use a smaller batch, dispose tensors that are no longer needed, or trim the pool.",
        { requestedBytes: size, liveBytes },
        { cause: error },
      );
    };
    report(outcome.then((error) => (error === null ? undefined : failure(error))));
    return buffer;
  }

  #recycle(buffer: GPUBuffer): void {
    // After destroy() the sets are empty, and late releases have nothing to give back.
    if (!this.#live.delete(buffer)) return;
    this.#liveBytes -= buffer.size;
    if (this.#refused.has(buffer) || this.#pooledBytes + buffer.size > this.maxPooledBytes) {
      buffer.destroy();
      return;
    }
    if (this.poison) this.#fillWithPoison(buffer);
    const sameSize = this.#free.get(buffer.size);
    if (sameSize === undefined) this.#free.set(buffer.size, [buffer]);
    else sameSize.push(buffer);
    this.#pooledBytes += buffer.size;
  }

  #fillWithPoison(buffer: GPUBuffer): void {
    this.#poisonChunk ??= new Uint32Array(poisonChunkBytes / 4).fill(poisonBits);
    for (let offset = 0; offset < buffer.size; offset += poisonChunkBytes) {
      const words = Math.min(poisonChunkBytes, buffer.size - offset) / 4;
      this.#host.gpu.queue.writeBuffer(buffer, offset, this.#poisonChunk, 0, words);
    }
  }
}

/** A buffer and how many ranges of it are in use. */
class Allocation {
  readonly buffer: GPUBuffer;
  readonly #onFree: (buffer: GPUBuffer) => void;
  #ranges = 0;

  constructor(buffer: GPUBuffer, onFree: (buffer: GPUBuffer) => void) {
    this.buffer = buffer;
    this.#onFree = onFree;
  }

  addRange(): void {
    this.#ranges++;
  }

  removeRange(): void {
    this.#ranges--;
    if (this.#ranges === 0) this.#onFree(this.buffer);
  }
}

class Range implements Storage {
  readonly allocation: Allocation;
  readonly byteOffset: number;
  readonly bytes: number;
  #references = 1;

  constructor(allocation: Allocation, byteOffset: number, bytes: number) {
    this.allocation = allocation;
    this.byteOffset = byteOffset;
    this.bytes = bytes;
    allocation.addRange();
  }

  get buffer(): GPUBuffer {
    return this.allocation.buffer;
  }

  get released(): boolean {
    return this.#references === 0;
  }

  retain(): void {
    if (this.released) throw new DisposedError(`retain: the storage "${this.buffer.label}" was released before.`);
    this.#references++;
  }

  release(): void {
    if (this.released) throw new DisposedError(`release: the storage "${this.buffer.label}" was released before.`);
    this.#references--;
    if (this.#references === 0) this.allocation.removeRange();
  }
}

/** The smallest size of a buffer that holds `bytes`: 256·2^k plus a number of eighths, in multiples of 256. */
export function sizeClass(bytes: number): number {
  if (bytes <= smallestBuffer) return smallestBuffer;
  const octave = 2 ** Math.floor(Math.log2(bytes));
  const step = Math.max(smallestBuffer, octave / classesPerOctave);
  return Math.ceil(bytes / step) * step;
}

/** A size for people: `12 B`, `3.5 KiB`, `1.25 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toFixed(2))} ${units[power]}`;
}
