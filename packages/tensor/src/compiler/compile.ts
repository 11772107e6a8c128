/**
 * `compile`: a function over trees of tensors as one recorded program per signature of its arguments.
 */

import type { Storage } from "../device/buffer-pool";
import type { Device } from "../device/device";
import { defaultDevice } from "../device/device";
import type { ProfileRow } from "../device/profiler";
import { ArgumentError, UnsupportedError } from "../errors";
import { placeholder, Tensor } from "../tensor";
import { formatPath, formatStructure, type TreePath, type TreeStructure, treeFlatten, treeUnflatten } from "../tree";
import { tunePlan } from "../tuning/tune";
import type { TuneMode, TuningReport } from "../tuning/tuning";
import { checkFinite, isChecking } from "./debug";
import { attachCheck, evaluateOn, readRaw } from "./evaluate";
import { bindingBytes, type Copy, Executable } from "./executable";
import { explainPlan } from "./explain";
import { makePlan, type Plan } from "./plan";
import { alignUp, tensorBytes } from "./plan-memory";
import { type CompileTarget, compileTarget } from "./target";
import { storageOn } from "./upload";

export interface CompileOptions {
  /**
   * Positions of arguments that the call uses up. Their memory is updated in place by the results of the same structure,
   * shapes and dtypes; the tensors passed in cannot be used afterwards.
   */
  readonly donate?: readonly number[];
  /** Default: the default device. */
  readonly device?: Device;
  /** Named in errors and profiles; default: the function's name. */
  readonly name?: string;
  /**
   * Whether measurements on the device choose among variants of this program's kernels; see {@link DeviceOptions.tune}.
   * They are read, and with `true` taken, in `prepare`: a program that is called without it is as it would be with `false`
   * unless the device has its measurements already.
   *
   * Default: as the device was opened.
   */
  readonly tune?: TuneMode;
}

/** What one call costs, for the signature of the last call. */
export interface ProgramStatistics {
  readonly dispatches: number;
  /** 1, unless loops hold more work than one submit may have on the device. */
  readonly submits: number;
  /** Bytes of temporaries, results and state that the program holds on the device. */
  readonly bytesPeak: number;
  /** Bytes that the same order of kernels needs at least: state, results, and the temporaries alive at the worst moment. */
  readonly bytesLowerBound: number;
  readonly kernels: readonly {
    readonly label: string;
    /** How often one call runs it: 1 outside of loops. */
    readonly runs: number;
    /** Of one run, as the bytes. */
    readonly flops: number;
    readonly bytes: number;
    readonly workgroups: readonly number[];
    readonly code: string;
  }[];
}

/** A compiled function. Calling it encodes and submits; it never waits. */
export interface Program<A extends readonly unknown[], R> {
  (...args: A): R;
  /** Traces and compiles for arguments like these, without blocking and without running. */
  prepare(...args: A): Promise<void>;
  /**
   * Measures on the device, whatever the option `tune` says, which variants of kernels are the fastest for arguments like
   * these, where that is not known from before; then prepares the program with them. It runs kernels on memory of its
   * own and neither reads nor changes the arguments. Takes seconds; nothing else ever measures while a program runs.
   *
   * Results are bitwise reproducible given the same measurements; other ones may change their last bits.
   */
  tune(...args: A): Promise<TuningReport>;
  /** Runs once with every kernel timed on the GPU. @throws UnsupportedError without timestamps. */
  profile(...args: A): Promise<{ readonly result: R; readonly rows: readonly ProfileRow[] }>;
  /** @throws ArgumentError before the first call. */
  statistics(): ProgramStatistics;
  /** What the compiler made of the function: kernels in order, what each reads and writes, and memory. */
  explain(): string;
  /** Frees all memory that the program holds. Tensors that it returned stay valid. */
  dispose(): void;
}

/**
 * Compiles a function over trees of tensors into one program: one list of kernels, memory planned once, one submit per
 * call. It is traced once for every signature (structure, shapes and dtypes of the arguments); numbers, strings and
 * booleans among the arguments are constants of the trace.
 *
 * @example
 * const step = compile((state: State, batch: Batch) => {
 *   const [loss, grads] = valueAndGrad(lossOf)(state, batch);
 *   return [treeMap((p: Tensor, g: Tensor) => p.sub(g.mul(0.1)), state, grads), { loss }] as const;
 * }, { donate: [0] });
 */
export function compile<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  { donate = [], device, name = fn.name || "a compiled function", tune }: CompileOptions = {},
): Program<A, R> {
  const traces = new Map<string, Trace>();
  let latest: Trace | undefined;
  let mode = tune;

  const prepare = (args: A): { trace: Trace; leaves: readonly Tensor[] } => {
    const own = device ?? defaultDevice();
    if (own === undefined) {
      throw new UnsupportedError(
        `${name}: there is no device yet. Call \`await init()\` once before the first compiled call.`,
      );
    }
    const flat = flattenArguments(args, donate);
    const key = signatureOf(flat);
    let trace = traces.get(key);
    if (trace === undefined) {
      trace = new Trace(own, name, fn as (...args: readonly unknown[]) => unknown, flat, mode);
      traces.set(key, trace);
    }
    latest = trace;
    return { trace, leaves: flat.tensors };
  };

  const program = (...args: A): R => {
    const { trace, leaves } = prepare(args);
    const check = isChecking() ? checkFinite(trace.rebuild(leaves), trace.device, { evaluateOn, readRaw }) : undefined;
    const { result, tensors } = trace.run(leaves, false);
    if (check !== undefined) for (const tensor of tensors) attachCheck(tensor, check);
    return result as R;
  };
  return Object.assign(program, {
    async prepare(...args: A) {
      const { trace } = prepare(args);
      const own = mode ?? trace.device.tuning.mode;
      if (own === true) await tunePlan(trace.device, trace.plan, compileTarget(trace.device, false));
      else if (own === "known") await trace.device.tuning.load();
      if (own !== false) trace.replan(own);
      await trace.executable.prepare();
    },
    async tune(...args: A) {
      const { trace } = prepare(args);
      const report = await tunePlan(trace.device, trace.plan, compileTarget(trace.device, false));
      mode = mode || "known";
      trace.replan(mode);
      await trace.executable.prepare();
      return report;
    },
    async profile(...args: A) {
      const { trace, leaves } = prepare(args);
      await trace.executable.prepare();
      const { result } = trace.run(leaves, true);
      const times = await trace.executable.times();
      const rows = trace.plan.kernels.map(({ spec, flops, bytes }, index) => ({
        label: spec.label,
        ns: times[index] ?? Number.NaN,
        flops: flops * (trace.executable.runs[index] as number),
        bytes: bytes * (trace.executable.runs[index] as number),
      }));
      return { result: result as R, rows };
    },
    statistics: () => called(latest, name).statistics(),
    explain: () => explainPlan(name, called(latest, name).plan),
    dispose() {
      for (const trace of traces.values()) trace.dispose();
      traces.clear();
    },
  });
}

function called(trace: Trace | undefined, name: string): Trace {
  if (trace === undefined)
    throw new ArgumentError(`${name} has not been called or prepared: there is no program to look at.`);
  return trace;
}

interface FlatArguments {
  readonly structure: TreeStructure;
  readonly leaves: readonly unknown[];
  readonly paths: readonly TreePath[];
  readonly tensors: readonly Tensor[];
  /** For every tensor: is it donated? */
  readonly donated: readonly boolean[];
}

function flattenArguments(args: readonly unknown[], donate: readonly number[]): FlatArguments {
  const { leaves, paths, structure } = treeFlatten<unknown>(args);
  const tensors: Tensor[] = [];
  const donated: boolean[] = [];
  for (const [index, leaf] of leaves.entries()) {
    if (!(leaf instanceof Tensor)) continue;
    tensors.push(leaf);
    donated.push(donate.includes(Number(paths[index]?.[0])));
  }
  return { structure, leaves, paths, tensors, donated };
}

function signatureOf({ structure, leaves, paths, donated }: FlatArguments): string {
  const parts = leaves.map((leaf, index) => {
    if (leaf instanceof Tensor) return `${leaf.dtype}[${leaf.shape}]`;
    if (["number", "string", "boolean"].includes(typeof leaf)) return JSON.stringify(leaf) ?? String(leaf);
    throw new ArgumentError(
      `The argument at ${formatPath(paths[index] as TreePath)} is no tensor, number, string or boolean. ` +
        "Close over anything else instead of passing it.",
    );
  });
  return `${formatStructure(structure)};${parts.join(";")};${donated.map(Number).join("")}`;
}

/** The memory of donated arguments, and who holds it at the moment. */
interface Residence {
  readonly storages: readonly Storage[];
  /** The tensors that stand for the state, by slot. */
  holders: (WeakRef<Tensor> | undefined)[];
}

/** Arguments that come from the host and are at most this large are written into a place of their own in every call. */
const smallHostBytes = 65_536;

/**
 * Results up to this size are computed in memory that stays, and copied out: so the bind groups stay as well. Copying more
 * than this takes longer than making bind groups for memory that the caller keeps.
 */
const copiedResultBytes = 2 ** 20;

/** One trace: the program for one signature. */
class Trace {
  readonly device: Device;
  readonly #name: string;
  readonly #fn: (...args: readonly unknown[]) => unknown;
  readonly #flat: FlatArguments;
  readonly #placeholders: readonly Tensor[];
  readonly #position: ReadonlyMap<Tensor, number>;
  readonly #outputs: {
    readonly structure: TreeStructure;
    readonly leaves: readonly unknown[];
    readonly tensors: readonly Tensor[];
  };
  /** For every donated tensor that an output replaces: its slot. */
  readonly #slots = new Map<Tensor, number>();
  readonly #residences: Residence[] = [];
  readonly #hostSlots = new Map<Tensor, Storage>();
  #results: Storage | undefined;
  readonly #replaces: readonly (Tensor | undefined)[];
  #target: CompileTarget;
  #plan: Plan;
  #executable: Executable;

  constructor(
    device: Device,
    name: string,
    fn: (...args: readonly unknown[]) => unknown,
    flat: FlatArguments,
    mode: TuneMode | undefined,
  ) {
    this.device = device;
    this.#name = name;
    this.#fn = fn;
    this.#flat = {
      ...flat,
      tensors: [],
      leaves: flat.leaves.map((leaf) => (leaf instanceof Tensor ? undefined : leaf)),
    };
    this.#placeholders = flat.tensors.map((tensor) => placeholder(tensor.shape, tensor.dtype));
    this.#position = new Map(this.#placeholders.map((leaf, index) => [leaf, index]));
    const result = this.#call(flat.leaves, this.#placeholders);
    const { leaves, structure } = treeFlatten<unknown>(result);
    const tensors = leaves.filter((leaf) => leaf instanceof Tensor);
    this.#outputs = { structure, leaves, tensors };
    this.#replaces = pairDonations(this.#placeholders, flat, result, tensors);
    for (const leaf of this.#replaces) if (leaf !== undefined) this.#slots.set(leaf, this.#slots.size);
    this.#target = compileTarget(device, mode);
    this.#plan = makePlan(tensors, this.#replaces, this.#target);
    this.#executable = new Executable(device, this.#plan);
  }

  get plan(): Plan {
    return this.#plan;
  }

  get executable(): Executable {
    return this.#executable;
  }

  /** Chooses variants anew, if measurements came in since. State and results stay where they are. */
  replan(mode: TuneMode): void {
    const target = compileTarget(this.device, mode);
    if (target === this.#target) return;
    this.#executable.releaseArenas();
    this.#target = target;
    this.#plan = makePlan(this.#outputs.tensors, this.#replaces, target);
    this.#executable = new Executable(this.device, this.#plan);
  }

  /** The function applied to arguments with the tensors replaced, in order. */
  #call(leaves: readonly unknown[], tensors: readonly Tensor[]): unknown {
    let next = 0;
    const replaced = leaves.map((leaf) => (leaf instanceof Tensor || leaf === undefined ? tensors[next++] : leaf));
    return this.#fn(...(treeUnflatten(this.#flat.structure, replaced) as readonly unknown[]));
  }

  /** The graph of the function on given arguments, for the debug mode. */
  rebuild(tensors: readonly Tensor[]): Tensor[] {
    const { leaves } = treeFlatten<unknown>(this.#call(this.#flat.leaves, tensors));
    return leaves.filter((leaf) => leaf instanceof Tensor);
  }

  run(tensors: readonly Tensor[], isTimed: boolean): { result: unknown; tensors: Tensor[] } {
    const { device, plan } = this;
    this.#checkDonations(tensors);
    // Arguments that are still graphs are computed first, together.
    evaluateOn(device, tensors);
    const copiesIn: Copy[] = [];
    const residence = this.#slots.size > 0 ? this.#settle(tensors, copiesIn) : undefined;
    const storages = new Map<Tensor, Storage>();
    for (const leaf of plan.leaves) {
      const slot = this.#slots.get(leaf);
      const position = this.#position.get(leaf);
      if (slot !== undefined) storages.set(leaf, residence?.storages[slot] as Storage);
      else if (position === undefined) storages.set(leaf, storageOn(device, leaf));
      else storages.set(leaf, this.#argument(leaf, tensors[position] as Tensor));
    }
    for (const [leaf, slot] of this.#slots) storages.set(leaf, residence?.storages[slot] as Storage);

    const fresh = plan.resultBytes > 0 ? device.pool.allocate(plan.resultBytes, `${this.#name}: results`) : undefined;
    const copiesOut: Copy[] = [];
    let results = fresh;
    if (fresh !== undefined && this.#copiesResults) {
      this.#results ??= device.pool.allocate(plan.resultBytes, `${this.#name}: results`);
      results = this.#results;
      const range = ({ buffer, byteOffset }: Storage) => ({ buffer, offset: byteOffset, size: plan.resultBytes });
      copiesOut.push({ from: range(results), to: range(fresh) });
    }
    this.executable.run({ leaf: (leaf) => storages.get(leaf) as Storage, results }, copiesIn, copiesOut, { isTimed });
    return this.#wrap(tensors, residence, fresh, storages);
  }

  get #copiesResults(): boolean {
    return this.plan.resultBytes <= copiedResultBytes;
  }

  /** The results as tensors, and the end of the donated ones. */
  #wrap(
    tensors: readonly Tensor[],
    residence: Residence | undefined,
    fresh: Storage | undefined,
    storages: ReadonlyMap<Tensor, Storage>,
  ): { result: unknown; tensors: Tensor[] } {
    const { device, plan } = this;
    const made = this.#outputs.tensors.map((output, index): Tensor => {
      const destination = plan.outputs[index]?.destination;
      const result = placeholder(output.shape, output.dtype);
      const own = (storage: Storage) => result.realize({ kind: "device", device, storage });
      if (destination?.kind === "result") {
        own(device.pool.view(fresh as Storage, destination.offset, tensorBytes(output)));
        return result;
      }
      const leaf = destination?.leaf as Tensor;
      const slot = this.#slots.get(leaf);
      const position = this.#position.get(leaf);
      // An argument that comes back unchanged and is not donated is returned as it is.
      if (slot === undefined && position !== undefined && !this.#flat.donated[position])
        return tensors[position] as Tensor;
      const storage = slot === undefined ? (storages.get(leaf) as Storage) : (residence?.storages[slot] as Storage);
      storage.retain();
      own(storage);
      if (slot !== undefined && residence !== undefined) residence.holders[slot] = new WeakRef(result);
      return result;
    });
    fresh?.release();
    for (const [index, tensor] of tensors.entries()) {
      if (this.#flat.donated[index]) tensor.retire(`donated to ${this.#name}`);
    }
    let next = 0;
    const leaves = this.#outputs.leaves.map((leaf) => (leaf instanceof Tensor ? made[next++] : leaf));
    return { result: treeUnflatten(this.#outputs.structure, leaves), tensors: made };
  }

  #checkDonations(tensors: readonly Tensor[]): void {
    const donated = new Set(tensors.filter((_, index) => this.#flat.donated[index]));
    const count = this.#flat.donated.filter(Boolean).length;
    const also = tensors.some((tensor, index) => !this.#flat.donated[index] && donated.has(tensor));
    if (donated.size === count && !also) return;
    throw new ArgumentError(
      `${this.#name}: a tensor is passed twice, and at least once as a donated argument. Its memory would be replaced while ` +
        "it is read: pass a copy, or do not donate.",
    );
  }

  /** Memory that holds the donated state: where it already is, or a free place into which it is copied. */
  #settle(tensors: readonly Tensor[], copies: Copy[]): Residence {
    const state = [...this.#slots].map(([leaf, slot]) => ({
      slot,
      leaf,
      tensor: tensors[this.#position.get(leaf) as number] as Tensor,
    }));
    const holds = ({ storages }: Residence, { slot, tensor }: (typeof state)[0]): boolean => {
      const data = tensor.realized;
      return data?.kind === "device" && data.storage === storages[slot];
    };
    const isFree = ({ holders }: Residence, slot: number): boolean => holders[slot]?.deref()?.disposed ?? true;
    const usable = (residence: Residence) => state.every((own) => holds(residence, own) || isFree(residence, own.slot));
    const candidates = this.#residences.filter(usable);
    const best = candidates.find((residence) => state.some((own) => holds(residence, own))) ?? candidates[0];
    const residence = best ?? this.#newResidence(state.map(({ leaf }) => leaf));
    for (const own of state) {
      if (holds(residence, own)) continue;
      const to = residence.storages[own.slot] as Storage;
      const data = own.tensor.realized;
      if (data?.kind === "host") {
        if (data.bytes.byteLength > 0) this.device.write(to.buffer, to.byteOffset, new Uint8Array(data.bytes));
        continue;
      }
      const from = storageOn(this.device, own.tensor);
      const size = tensorBytes(own.leaf);
      copies.push({
        from: { buffer: from.buffer, offset: from.byteOffset, size },
        to: { buffer: to.buffer, offset: to.byteOffset, size },
      });
    }
    return residence;
  }

  #newResidence(leaves: readonly Tensor[]): Residence {
    const storages = new Map<Tensor, Storage>();
    for (const group of this.plan.neighbours) {
      const block = this.device.pool.allocate(group.bytes, `${this.#name}: state`);
      for (const [leaf, offset] of group.offsets) {
        storages.set(leaf, this.device.pool.view(block, offset, bindingBytes(leaf)));
      }
      block.release();
    }
    const own = leaves.map(
      (leaf) => storages.get(leaf) ?? this.device.pool.allocate(bindingBytes(leaf), `${this.#name}: state`),
    );
    const residence: Residence = { storages: own, holders: [] };
    this.#residences.push(residence);
    return residence;
  }

  #argument(leaf: Tensor, tensor: Tensor): Storage {
    const data = tensor.realized;
    if (data?.kind !== "host" || data.bytes.byteLength > smallHostBytes) return storageOn(this.device, tensor);
    const place = this.#hostSlots.get(leaf) ?? this.device.pool.allocate(bindingBytes(leaf), `${this.#name}: argument`);
    this.#hostSlots.set(leaf, place);
    if (data.bytes.byteLength > 0) this.device.write(place.buffer, place.byteOffset, new Uint8Array(data.bytes));
    return place;
  }

  statistics(): ProgramStatistics {
    const { kernels, memory, resultBytes } = this.plan;
    const state = [...this.#slots.keys()].reduce((sum, leaf) => sum + alignUp(bindingBytes(leaf)), 0);
    const arenas = memory.arenas.reduce((sum, bytes) => sum + bytes, 0);
    return {
      dispatches: this.executable.dispatches,
      submits: this.executable.submits,
      bytesPeak: arenas + state + (this.#copiesResults ? 2 : 1) * resultBytes,
      bytesLowerBound: memory.lowerBound + state + resultBytes,
      kernels: kernels.map(({ spec, flops, bytes, workgroups }, index) => ({
        label: spec.label,
        runs: this.executable.runs[index] as number,
        flops,
        bytes,
        workgroups,
        code: spec.code,
      })),
    };
  }

  dispose(): void {
    this.executable.releaseArenas();
    this.#results?.release();
    this.#results = undefined;
    for (const { storages } of this.#residences) for (const storage of storages) storage.release();
    this.#residences.length = 0;
    for (const storage of this.#hostSlots.values()) storage.release();
    this.#hostSlots.clear();
  }
}

/**
 * Which output takes over which donated leaf: the outputs in a subtree with the structure, shapes and dtypes of the
 * donated argument, in order; leaves that find no such subtree take the first free output like them.
 */
function pairDonations(
  placeholders: readonly Tensor[],
  flat: FlatArguments,
  result: unknown,
  outputs: readonly Tensor[],
): (Tensor | undefined)[] {
  const replaces = new Array<Tensor | undefined>(outputs.length).fill(undefined);
  const outputPaths = treeFlatten<unknown>(result).paths.filter(
    (_, index) => treeFlatten<unknown>(result).leaves[index] instanceof Tensor,
  );
  const tensorPaths = flat.paths.filter((_, index) => flat.leaves[index] instanceof Tensor);
  const like = (a: Tensor, b: Tensor) => a.dtype === b.dtype && a.shape.join() === b.shape.join();
  for (const [index, leaf] of placeholders.entries()) {
    if (!flat.donated[index]) continue;
    // The path inside of the argument, at the end of the output's path, is the same leaf of the next state.
    const suffix = (tensorPaths[index] as TreePath).slice(1).join("/");
    const free = outputs.flatMap((output, own) => (replaces[own] === undefined && like(output, leaf) ? [own] : []));
    const match =
      free.find((own) => {
        const path = (outputPaths[own] as TreePath).join("/");
        return path === suffix || path.endsWith(`/${suffix}`) || suffix === "";
      }) ?? free[0];
    if (match !== undefined) replaces[match] = leaf;
  }
  return replaces;
}
