/**
 * A plan on a device: pipelines made once, bind groups kept for every set of buffers that comes back, and a run that
 * only encodes a fixed list of dispatches.
 */
import type { Storage } from "../device/buffer-pool";
import { type BindingRange, type Device, iterationStride } from "../device/device";
import { TimestampProfiler } from "../device/profiler";
import { invariant, OutOfMemoryError } from "../errors";
import type { Kernel } from "../kernels/kernel";
import type { Tensor } from "../tensor";
import { deepestLoop } from "./loops";
import type { Plan } from "./plan";
import { alignUp, type LoopRange, tensorBytes } from "./plan-memory";

/** Where the data of one run are. */
export interface Bindings {
  /** Storage of a leaf that is read, or of a leaf whose memory is taken over. */
  readonly leaf: (leaf: Tensor) => Storage;
  /** The block of results; undefined if the plan has none. */
  readonly results: Storage | undefined;
}

/** A kernel by its number, or a loop over kernels and loops. */
type Item = number | { readonly loop: LoopRange; readonly items: readonly Item[] };

/** The kernels from one number up to another one, with those of loops inside of them. */
function nest(plan: Plan, from: number, to: number, level: number): Item[] {
  const items: Item[] = [];
  for (let next = from; next < to; ) {
    const loop = plan.loops.find((own) => own.level === level && own.from === next);
    if (loop === undefined) items.push(next++);
    else {
      items.push({ loop, items: nest(plan, loop.from, loop.to, level + 1) });
      next = loop.to;
    }
  }
  return items;
}

/** Runs of one kernel that are timed; more of them repeat the same work. */
const timedRuns = 64;

/** Sets of bind groups that are kept. */
const keptSets = 32;

export class Executable {
  readonly device: Device;
  readonly plan: Plan;
  readonly #pipelines: (GPUComputePipeline | undefined)[];
  /** For every kernel, a bind group for each combination of parities of the loops around it. */
  readonly #groups = new Map<string, readonly (readonly GPUBindGroup[])[]>();
  /** Kernels and loops in the order in which they run. */
  readonly #schedule: readonly Item[];
  /** How often each kernel runs. */
  readonly runs: readonly number[];
  #arenas: Storage[] | undefined;
  #profiler: TimestampProfiler | undefined;

  constructor(device: Device, plan: Plan) {
    this.device = device;
    this.plan = plan;
    this.#pipelines = plan.kernels.map(() => undefined);
    this.#schedule = nest(plan, 0, plan.kernels.length, 0);
    this.runs = plan.kernels.map((_, index) =>
      plan.loops.reduce((runs, { from, to, length }) => (from <= index && index < to ? runs * length : runs), 1),
    );
  }

  /** Dispatches of one run. */
  get dispatches(): number {
    return this.runs.reduce((sum, runs) => sum + runs, 0);
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
    let encoder = device.gpu.createCommandEncoder({ label: "step" });
    for (const copy of copiesIn) encodeCopy(encoder, copy);
    if (options.isTimed) this.#encodeTimed(encoder, groups);
    else if (plan.kernels.length > 0) {
      const isFull = this.#submitter();
      let pass = encoder.beginComputePass();
      this.#encode(this.#schedule, groups, (kernel) => {
        if (isFull(kernel)) {
          pass.end();
          device.submit([encoder.finish()]);
          encoder = device.gpu.createCommandEncoder({ label: "step, continued" });
          pass = encoder.beginComputePass();
        }
        return pass;
      });
      pass.end();
    }
    for (const { node, destination } of plan.outputs) {
      if (destination.kind === "state" && destination.copied) {
        const to = bindings.leaf(destination.leaf);
        encodeCopy(encoder, { from: this.#locate(node, bindings), to: rangeOf(to, node) });
      } else if (destination.kind === "result" && !plan.direct.has(node)) {
        const results = bindings.results as Storage;
        encodeCopy(encoder, {
          from: this.#locate(node, bindings),
          to: { buffer: results.buffer, offset: results.byteOffset + destination.offset, size: bindingBytes(node) },
        });
      }
    }
    for (const copy of copiesOut) encodeCopy(encoder, copy);
    device.counters.dispatches += this.dispatches;
    device.submit([encoder.finish()]);
  }

  /** Submits of one run that is not timed: one, unless loops hold more work than one submit may have. */
  get submits(): number {
    const isFull = this.#submitter();
    const count = (items: readonly Item[]): number =>
      items.reduce<number>((sum, item) => {
        if (typeof item === "number") return sum + (isFull(item) ? 1 : 0);
        let own = 0;
        for (let t = 0; t < item.loop.length; t++) own += count(item.items);
        return sum + own;
      }, 0);
    return 1 + count(this.#schedule);
  }

  /** Told of every dispatch before it is encoded: is the current submit full? Only loops are cut. */
  #submitter(): (kernel: number) => boolean {
    const { kernels, workPerSubmit } = this.plan;
    let work = 0;
    return (kernel) => {
      const { flops, bytes } = kernels[kernel] as Kernel;
      const own = flops + 10 * bytes;
      const isFull = this.plan.loops.length > 0 && work > 0 && work + own > workPerSubmit;
      work = isFull ? own : work + own;
      return isFull;
    };
  }

  /** Nanoseconds of every kernel in the last timed run, all of its runs together. */
  async times(): Promise<Float64Array> {
    invariant(this.#profiler, "a timed run came before");
    const timed = this.runs.map((runs) => Math.min(runs, timedRuns));
    const passes = await this.#profiler.read(timed.reduce((sum, count) => sum + count, 0));
    let first = 0;
    return Float64Array.from(this.runs, (runs, index) => {
      const own = passes.subarray(first, first + (timed[index] as number));
      first += own.length;
      return (own.reduce((sum, ns) => sum + ns, 0) * runs) / own.length;
    });
  }

  /** Gives the temporaries' memory back; the next run takes it again. */
  releaseArenas(): void {
    for (const arena of this.#arenas ?? []) arena.release();
    this.#arenas = undefined;
    this.#groups.clear();
  }

  /** A pass per dispatch, which has to be one to be timed; of a kernel in a loop, the first runs stand for all. */
  #encodeTimed(encoder: GPUCommandEncoder, groups: readonly (readonly GPUBindGroup[])[]): void {
    const firsts: number[] = [];
    let passes = 0;
    for (const runs of this.runs) {
      firsts.push(passes);
      passes += Math.min(runs, timedRuns);
    }
    const profiler = this.#profiler ?? new TimestampProfiler(this.device, Math.max(1, passes));
    this.#profiler = profiler;
    const done = this.runs.map(() => 0);
    let open: GPUComputePassEncoder | undefined;
    this.#encode(this.#schedule, groups, (index) => {
      open?.end();
      const run = (done[index] as number)++;
      open = encoder.beginComputePass(
        run < timedRuns ? { timestampWrites: profiler.timestampWrites((firsts[index] as number) + run) } : {},
      );
      return open;
    });
    open?.end();
    profiler.resolve(encoder);
  }

  /**
   * @param passFor the pass into which the next dispatch of a kernel goes.
   */
  #encode(
    schedule: readonly Item[],
    groups: readonly (readonly GPUBindGroup[])[],
    passFor: (kernel: number) => GPUComputePassEncoder,
  ): void {
    const { device, plan } = this;
    const longest = plan.loops.reduce((most, { length }) => Math.max(most, length), 0);
    const offsets = new Uint32Array(deepestLoop);
    const loopGroups = Array.from({ length: deepestLoop + 1 }, (_, loops) =>
      plan.kernels.some(({ spec }) => spec.uniforms === loops) ? device.loopBindGroup(loops, longest) : undefined,
    );
    const encode = (items: readonly Item[], parities: number): void => {
      for (const item of items) {
        if (typeof item === "number") {
          const { spec, workgroups } = plan.kernels[item] as Kernel;
          const pass = passFor(item);
          this.#pipelines[item] ??= device.pipeline(spec);
          pass.setPipeline(this.#pipelines[item]);
          pass.setBindGroup(0, groups[item]?.[parities] as GPUBindGroup);
          if (spec.uniforms === true) pass.setBindGroup(1, device.runtimeBindGroup);
          else if (spec.uniforms)
            pass.setBindGroup(1, loopGroups[spec.uniforms] as GPUBindGroup, offsets, 0, spec.uniforms);
          pass.dispatchWorkgroups(...workgroups);
          continue;
        }
        const { level, length } = item.loop;
        for (let t = 0; t < length; t++) {
          offsets[level] = t * iterationStride;
          encode(item.items, parities | ((t & 1) << level));
        }
      }
    };
    encode(schedule, 0);
  }

  /** Bind groups of all kernels for one set of outside buffers. */
  #bindGroups(bindings: Bindings): readonly (readonly GPUBindGroup[])[] {
    const { plan, device } = this;
    const outside = [...plan.leaves.map(bindings.leaf), ...(bindings.results ? [bindings.results] : [])];
    const key = outside.map((storage) => `${numberOf(storage.buffer)}+${storage.byteOffset}`).join();
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const depth = plan.loops.reduce((most, { level }) => Math.max(most, level + 1), 0);
    const groups = plan.kernels.map(({ spec, bindings: own, segments }) => {
      const made = new Map<string, GPUBindGroup>();
      return Array.from({ length: 2 ** depth }, (_, bits) => {
        const parities = Array.from({ length: depth }, (_, level) => (bits >> level) & 1);
        const tensors = own.map((binding, index) =>
          (segments?.[index] ?? [binding]).map(([node]) => plan.memoryOf.at(node as Tensor, parities)),
        );
        const memory = tensors.map((list) => list.map(({ id }) => id)).join();
        const group =
          made.get(memory) ??
          device.bindGroup(
            spec,
            tensors.map((list) => rangeAround(list.map((tensor) => this.#locate(tensor, bindings)))),
            spec.label,
          );
        made.set(memory, group);
        return group;
      });
    });
    if (this.#groups.size >= keptSets) this.#groups.delete(this.#groups.keys().next().value as string);
    this.#groups.set(key, groups);
    return groups;
  }

  #locate(own: Tensor, bindings: Bindings): BindingRange {
    const { plan } = this;
    const node = plan.memoryOf.at(own, []);
    const place = plan.memory.places.get(node);
    if (place !== undefined) {
      const arena = this.#arena(place.arena);
      return { buffer: arena.buffer, offset: arena.byteOffset + place.offset, size: bindingBytes(node) };
    }
    const output = plan.direct.has(node)
      ? plan.outputs.find((own) => own.node === node && own.destination.kind === "result")
      : undefined;
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

/** The range from the first to the last of ranges in one buffer. */
function rangeAround(ranges: readonly BindingRange[]): BindingRange {
  const [{ buffer }] = ranges as readonly [BindingRange];
  invariant(
    ranges.every((range) => range.buffer === buffer),
    "tensors of a binding lie in one buffer",
  );
  const offset = Math.min(...ranges.map((range) => range.offset));
  return { buffer, offset, size: Math.max(...ranges.map((range) => range.offset + range.size)) - offset };
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
