/**
 * A plan on a device: pipelines made once, bind groups kept for every set of buffers that comes back, and a run that
 * only encodes a fixed list of dispatches.
 */
import type { Storage } from "../device/buffer-pool";
import type { BindingRange, Device } from "../device/device";
import { TimestampProfiler } from "../device/profiler";
import { invariant, OutOfMemoryError } from "../errors";
import type { Kernel } from "../kernels/kernel";
import type { Tensor } from "../tensor";
import type { Plan } from "./plan";
import { alignUp, tensorBytes } from "./plan-memory";

/** Where the data of one run are. */
export interface Bindings {
  /** Storage of a leaf that is read, or of a leaf whose memory is taken over. */
  readonly leaf: (leaf: Tensor) => Storage;
  /** The block of results; undefined if the plan has none. */
  readonly results: Storage | undefined;
}

/** Sets of bind groups that are kept. */
const keptSets = 32;

export class Executable {
  readonly device: Device;
  readonly plan: Plan;
  readonly #pipelines: (GPUComputePipeline | undefined)[];
  readonly #groups = new Map<string, readonly GPUBindGroup[]>();
  #arenas: Storage[] | undefined;
  #profiler: TimestampProfiler | undefined;

  constructor(device: Device, plan: Plan) {
    this.device = device;
    this.plan = plan;
    this.#pipelines = plan.kernels.map(() => undefined);
  }

  /** Compiles all pipelines at once, without blocking; a run compiles what is missing. */
  async prepare(): Promise<void> {
    await Promise.all(
      this.plan.kernels.map(async ({ spec }, index) => {
        this.#pipelines[index] = await this.device.pipelineAsync(spec);
      }),
    );
  }

  /**
   * Encodes one run and submits it.
   *
   * @param copiesIn copies that go before the first kernel.
   * @param copiesOut copies that go behind the last one.
   */
  run(
    bindings: Bindings,
    copiesIn: readonly Copy[] = [],
    copiesOut: readonly Copy[] = [],
    options: { readonly isTimed?: boolean } = {},
  ): void {
    const { device, plan } = this;
    const groups = this.#bindGroups(bindings);
    const encoder = device.gpu.createCommandEncoder({ label: "step" });
    for (const copy of copiesIn) encodeCopy(encoder, copy);
    if (options.isTimed) this.#encodeTimed(encoder, groups);
    else if (plan.kernels.length > 0) {
      const pass = encoder.beginComputePass();
      for (const [index, kernel] of plan.kernels.entries()) this.#dispatch(pass, index, kernel, groups[index]);
      pass.end();
    }
    for (const { node, destination } of plan.outputs) {
      if (destination.kind === "state" && destination.copied) {
        const to = bindings.leaf(destination.leaf);
        encodeCopy(encoder, { from: this.#locate(node, bindings), to: rangeOf(to, node) });
      } else if (destination.kind === "result" && !this.#isDirect(node)) {
        const results = bindings.results as Storage;
        encodeCopy(encoder, {
          from: this.#locate(node, bindings),
          to: { buffer: results.buffer, offset: results.byteOffset + destination.offset, size: bindingBytes(node) },
        });
      }
    }
    for (const copy of copiesOut) encodeCopy(encoder, copy);
    device.counters.dispatches += plan.kernels.length;
    device.submit([encoder.finish()]);
  }

  /** Nanoseconds of every kernel in the last timed run. */
  async times(): Promise<Float64Array> {
    invariant(this.#profiler, "a timed run came before");
    return this.#profiler.read(this.plan.kernels.length);
  }

  /** Gives the temporaries' memory back; the next run takes it again. */
  releaseArenas(): void {
    for (const arena of this.#arenas ?? []) arena.release();
    this.#arenas = undefined;
    this.#groups.clear();
  }

  #encodeTimed(encoder: GPUCommandEncoder, groups: readonly GPUBindGroup[]): void {
    this.#profiler ??= new TimestampProfiler(this.device, Math.max(1, this.plan.kernels.length));
    for (const [index, kernel] of this.plan.kernels.entries()) {
      const pass = encoder.beginComputePass({ timestampWrites: this.#profiler.timestampWrites(index) });
      this.#dispatch(pass, index, kernel, groups[index]);
      pass.end();
    }
    this.#profiler.resolve(encoder);
  }

  #dispatch(pass: GPUComputePassEncoder, index: number, kernel: Kernel, group: GPUBindGroup | undefined): void {
    this.#pipelines[index] ??= this.device.pipeline(kernel.spec);
    pass.setPipeline(this.#pipelines[index]);
    pass.setBindGroup(0, group as GPUBindGroup);
    if (kernel.spec.uniforms) pass.setBindGroup(1, this.device.runtimeBindGroup);
    pass.dispatchWorkgroups(...kernel.workgroups);
  }

  /** Bind groups of all kernels for one set of outside buffers. */
  #bindGroups(bindings: Bindings): readonly GPUBindGroup[] {
    const { plan, device } = this;
    const outside = [...plan.leaves.map(bindings.leaf), ...(bindings.results ? [bindings.results] : [])];
    const key = outside.map((storage) => `${numberOf(storage.buffer)}+${storage.byteOffset}`).join();
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const groups = plan.kernels.map((kernel) =>
      device.bindGroup(
        kernel.spec,
        kernel.bindings.map(([node]) => this.#locate(node as Tensor, bindings)),
        kernel.spec.label,
      ),
    );
    if (this.#groups.size >= keptSets) this.#groups.delete(this.#groups.keys().next().value as string);
    this.#groups.set(key, groups);
    return groups;
  }

  /** Is a result computed in its place in the block of results? */
  #isDirect(node: Tensor): boolean {
    return !this.plan.memory.places.has(node) && !this.plan.inPlace.has(node);
  }

  #locate(node: Tensor, bindings: Bindings): BindingRange {
    const { plan } = this;
    const place = plan.memory.places.get(node);
    if (place !== undefined) {
      const arena = this.#arena(place.arena);
      return { buffer: arena.buffer, offset: arena.byteOffset + place.offset, size: bindingBytes(node) };
    }
    const replaced = plan.inPlace.get(node);
    if (replaced !== undefined) return rangeOf(bindings.leaf(replaced), node);
    const output = plan.outputs.find((own) => own.node === node && own.destination.kind === "result");
    if (output?.destination.kind === "result") {
      const results = bindings.results as Storage;
      return {
        buffer: results.buffer,
        offset: results.byteOffset + output.destination.offset,
        size: bindingBytes(node),
      };
    }
    return rangeOf(bindings.leaf(node), node);
  }

  #arena(index: number): Storage {
    this.#arenas ??= this.#allocateArenas();
    return this.#arenas[index] as Storage;
  }

  #allocateArenas(): Storage[] {
    const { arenas } = this.plan.memory;
    const made: Storage[] = [];
    try {
      for (const [arena, bytes] of arenas.entries()) made.push(this.device.pool.allocate(bytes, `arena ${arena}`));
    } catch (error) {
      for (const storage of made) storage.release();
      if (!(error instanceof OutOfMemoryError)) throw error;
      const planned = arenas.reduce((sum, bytes) => sum + bytes, 0);
      throw new OutOfMemoryError(
        `A program of ${this.plan.kernels.length} kernels planned ${planned} bytes of temporaries in ${arenas.length} buffers ` +
          `(at least ${this.plan.memory.lowerBound} are alive at once), and one of them does not fit: ${error.message}`,
        { requestedBytes: planned, liveBytes: error.liveBytes, limitBytes: error.limitBytes },
        { cause: error },
      );
    }
    return made;
  }
}

/** A copy between ranges of one size. */
export interface Copy {
  readonly from: BindingRange;
  readonly to: BindingRange;
}

function encodeCopy(encoder: GPUCommandEncoder, { from, to }: Copy): void {
  encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, alignUp(from.size, 4));
}

/** Bindings cover whole vectors of four, which every allocation has room for. */
export const bindingBytes = (node: Tensor): number => alignUp(tensorBytes(node), 16);

const rangeOf = (storage: Storage, node: Tensor): BindingRange => ({
  buffer: storage.buffer,
  offset: storage.byteOffset,
  size: bindingBytes(node),
});

const numbers = new WeakMap<GPUBuffer, number>();
let nextNumber = 0;

/** A number that stands for a buffer in keys. */
function numberOf(buffer: GPUBuffer): number {
  let number = numbers.get(buffer);
  if (number === undefined) {
    number = nextNumber++;
    numbers.set(buffer, number);
  }
  return number;
}
