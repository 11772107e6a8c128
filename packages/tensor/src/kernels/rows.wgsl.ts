/**
 * Many invocations compute one element of a space together: lanes share the terms of its reductions, and the elements
 * of the row that it writes. This is what GPUs run of the clusters that map.wgsl.ts computes with one invocation each.
 *
 * A *lane* takes every L-th term (four neighbouring terms at once, where they lie together in memory), combines its
 * terms in registers, and leaves the result in workgroup memory. There the lanes' results are combined in one or two
 * rounds of at most 16, in a fixed order, and every lane goes on with the total: a later reduction of the row, then the
 * row's elements. Nothing depends on timing or on the size of subgroups, so results repeat bit for bit.
 *
 * Layout: in *row* order the lanes of an element are neighbours, for terms that lie together; in *column* order the
 * elements are neighbours, for terms that lie apart while the elements lie together. Both make neighbouring
 * invocations load neighbouring memory.
 *
 * Traffic: every tensor once. The text of up to {@link unrolled} terms per lane is written out, so that loads, and what
 * was computed from them, stay in registers from one reduction of a row to the next: softmax reads its row once. Longer
 * rows are read again by each stage, from cache as far as they fit. Loads of a written-out row do not wait for each
 * other, which is what keeps a memory bus busy with few invocations.
 *
 * Accuracy: a lane adds at most 64 terms to one partial sum, partial sums are added one by one, and lanes in trees. The
 * error of a sum is at most (64 + terms / (64 · lanes) + log2 lanes + 2) · u · Σ|x| (Higham 2002, section 4.2).
 *
 * Workgroup memory: one value per invocation and accumulator, for as many accumulators at a time as the device has room
 * for. Barriers: two or three per stage, all outside of control flow. Needs no feature.
 */
import { type Emitter, laneIndex, laneName, literal, splat, type Value } from "../compiler/emit";
import { type Cluster, everyRead, findReads, loopExtents, type Member, memberCoordinates } from "../compiler/fuse";
import { smallBytes } from "../compiler/pack";
import type { CompileTarget } from "../compiler/target";
import { type ComputeType, computeType } from "../dtype";
import { type Combine, loweringOf } from "../primitives/definition";
import { sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import {
  type Atom,
  addIndex,
  constantIndex,
  delinearize,
  type Index,
  linearize,
  scaleIndex,
  substitute,
  variableIndex,
} from "../view";
import { combined, startOf } from "./combine";
import { bindingSlots, bytesOf, type KernelPart, type KernelTensors, makeEmitter, type WorkgroupArray } from "./kernel";

/** How the work of a cluster is spread over a workgroup. */
interface Layout {
  readonly order: "rows" | "columns";
  /** Invocations that share an element, a power of two. */
  readonly lanes: number;
  /** Elements (with vectors across the space: groups of four) of one workgroup. */
  readonly elements: number;
  /** Where vectors of four are used: along the terms, across the elements, or nowhere. */
  readonly vectors: "terms" | "space" | "none";
  /** Small kernels share their dispatch: several of their workgroups run in one that is larger. */
  readonly isDivisible: boolean;
  /** Are short loops over terms written out? Not in trials, which only ask what can be loaded as vectors. */
  readonly isUnrolled: boolean;
}

/** Terms per lane that are written out and stay in registers. */
const unrolled = 8;
/** Terms of one partial sum. */
const partialLength = 64;
/** Results of lanes that are combined in one round. */
const roundLength = 16;
/** Rows of at most so many terms are computed by one invocation each. */
const shortRow = 32;
/** Neighbouring elements from which on column order loads whole sectors of memory. */
const shortRun = 8;

/** @returns undefined where one invocation per element does as well. */
export function rowsKernel(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): KernelPart | undefined {
  const layout = chooseLayout(cluster, tensors, target);
  if (layout === undefined) return undefined;
  const slots = bindingSlots(tensors);
  const trial = makeEmitter(tensors, slots, () => false);
  new Drawing(trial, cluster, tensors, { ...layout, isUnrolled: false }, target).draw();
  const wide = wideTensors(cluster, tensors, layout, trial);
  const isVector = (node: Tensor) => wide.has(node);
  const emitter = makeEmitter(tensors, slots, isVector);
  const drawing = new Drawing(emitter, cluster, tensors, layout, target);
  drawing.draw();
  return {
    label: labelOf(cluster, layout),
    slots,
    vectors: slots.map((slot) => isVector(slot.tensors[0] as Tensor)),
    statements: { ...emitter.statements(), arrays: drawing.arrays(), isDivisible: layout.isDivisible },
    workgroupSize: layout.lanes * layout.elements,
    workgroups: drawing.workgroups,
    flops: cluster.members.reduce((sum, member) => sum + cluster.size * sizeOf(loopExtents(member)), 0),
    bytes: bytesOf([...tensors.reads, ...tensors.writes]),
  };
}

function labelOf({ members }: Cluster, { order, lanes, elements }: Layout): string {
  const reductions = members.filter(({ kind }) => kind === "reduction").map(({ node }) => node.primitive.name);
  const others = members.filter(({ kind }) => kind !== "reduction").map(({ node }) => node.primitive.name);
  const names = [...new Set([...reductions, ...others])].slice(0, 4).join("_");
  return `${order}_${names}_${members[0]?.node.dtype}_${elements}x${lanes}`;
}

const termsOf = (member: Member): number => sizeOf(loopExtents(member));
const ceilToPower = (x: number): number => 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, x))));
const floorToPower = (x: number): number => 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, x))));

function chooseLayout(cluster: Cluster, tensors: KernelTensors, target: CompileTarget): Layout | undefined {
  const reductions = cluster.members.filter(({ kind }) => kind === "reduction");
  if (target.lanesPerRow <= 1 || reductions.length === 0) return undefined;
  const terms = Math.max(...cluster.members.map(termsOf));
  const fits = (layout: Layout): boolean => {
    const emitter = makeEmitter(tensors, bindingSlots(tensors), () => false);
    new Drawing(emitter, cluster, tensors, { ...layout, isUnrolled: false }, target).draw();
    return emitter.splits === 0 && emitter.vectorLoads.size > 0;
  };
  const hasLoops = cluster.members.some(({ kind }) => kind === "loop");
  const most = Math.min(target.lanesPerRow, target.maxInvocationsPerWorkgroup);
  if (hasLoops || orderOf(reductions, cluster.size, tensors) === "rows") {
    if (terms <= shortRow) return undefined;
    const choose = (vectors: "terms" | "none") => rowLayout(cluster.size, terms, vectors, most, target);
    const wide = choose("terms");
    return shareable(terms % 4 === 0 && fits(wide) ? wide : choose("none"), cluster, tensors, most);
  }
  const stages = stagesOf(cluster, tensors).length;
  const choose = (vectors: "space" | "none") => columnLayout(cluster.size, terms, stages, vectors, most, target);
  const wide = cluster.size % 4 === 0 ? choose("space") : undefined;
  const layout = wide !== undefined && fits(wide) ? wide : choose("none");
  return layout.lanes === 1 ? undefined : shareable(layout, cluster, tensors, most);
}

/** Small kernels share dispatches with others, so their workgroups are whole ones of 64 invocations or twice as many. */
function shareable(layout: Layout, cluster: Cluster, tensors: KernelTensors, most: number): Layout {
  if (bytesOf([...tensors.reads, ...tensors.writes]) > smallBytes) return layout;
  const { order, lanes, elements, vectors } = layout;
  const units = vectors === "space" ? cluster.size / 4 : cluster.size;
  const room = floorToPower(most);
  if (units === 1) return { ...layout, lanes: Math.min(room, Math.max(64, lanes)), elements: 1, isDivisible: true };
  const wanted = order === "rows" ? 64 / Math.min(64, lanes) : ceilToPower(elements);
  const own = Math.min(lanes, Math.max(1, Math.floor((units >= 16 ? 64 : room) / wanted)));
  const invocations = Math.min(room, Math.max(64, ceilToPower(own * wanted)));
  return { ...layout, lanes: own, elements: invocations / own, isDivisible: true };
}

/**
 * Four loads per lane keep the bus busy and leave registers for the rows of softmax; short rows share a workgroup of
 * 64. Where all rows together do not fill the machine, more lanes per row do.
 */
function rowLayout(
  size: number,
  terms: number,
  vectors: "terms" | "none",
  most: number,
  { invocations }: CompileTarget,
): Layout {
  const loads = vectors === "terms" ? terms / 4 : terms;
  let lanes = Math.min(floorToPower(most), Math.max(8, ceilToPower(loads / 4)));
  while (lanes * 2 <= Math.min(most, loads) && lanes * size < invocations) lanes *= 2;
  const elements = Math.max(1, Math.min(Math.floor(Math.min(64, most) / lanes), size));
  return { order: "rows", lanes, elements, vectors, isDivisible: false, isUnrolled: true };
}

/**
 * 16 vectors, or 32 scalars, of neighbouring elements are whole lines of memory, an eighth of it a sector. Lanes as far as the machine needs them,
 * as a lane should add no more than {@link partialLength} terms, and as rows that are read in several stages should stay
 * in registers.
 */
function columnLayout(
  size: number,
  terms: number,
  stages: number,
  vectors: "space" | "none",
  most: number,
  { invocations }: CompileTarget,
): Layout {
  const units = vectors === "space" ? size / 4 : size;
  const line = vectors === "space" ? 16 : 32;
  // With few elements, sectors of memory rather than lines, and more workgroups.
  const widest = Math.min(units * roundLength < invocations ? line / 8 : line, most);
  const elements = Math.ceil(units / Math.ceil(units / widest));
  const wanted = Math.max(invocations / units, terms / (stages > 1 ? unrolled : partialLength));
  const lanes = Math.min(ceilToPower(wanted), floorToPower(terms / 2), floorToPower(most / elements));
  return { order: "columns", lanes, elements, vectors, isDivisible: false, isUnrolled: true };
}

/** Do the terms of an element lie together in memory, or neighbouring elements, in most of what is read? */
function orderOf(reductions: readonly Member[], size: number, { isStored }: KernelTensors): Layout["order"] {
  const position = variableIndex("element", 0, Math.max(0, size - 1));
  let balance = 0;
  for (const member of reductions) {
    const innermost = loopExtents(member).findLastIndex((extent) => extent > 1);
    const weigh = (node: Tensor, at: readonly Index[]): boolean => {
      const index = linearize(at, node.shape);
      if (runOf(index, `loop${innermost}`) > 0) balance += node.size;
      else if (runOf(index, "element") >= Math.min(shortRun, size)) balance -= node.size;
      return true;
    };
    everyRead(member, position, isStored, () => true, weigh);
  }
  return balance >= 0 ? "rows" : "columns";
}

/** For how many neighbouring values of a variable the index goes up by one; 0 if it does not. */
function runOf(index: Index, name: string): number {
  const runOfAtom = (atom: Atom): number => {
    if (atom.kind === "variable") return atom.key === name ? atom.high + 1 : 0;
    return atom.kind === "remainder" ? Math.min(atom.divisor, runOf(atom.of, name)) : 0;
  };
  return Math.max(0, ...index.terms.filter(({ factor }) => factor === 1).map(({ atom }) => runOfAtom(atom)));
}

/** Tensors declared as arrays of vectors: always loaded in fours, or written in fours. */
function wideTensors(cluster: Cluster, tensors: KernelTensors, layout: Layout, trial: Emitter): Set<Tensor> {
  const wide = new Set(trial.vectorLoads);
  for (const node of tensors.writes) {
    const member = cluster.members.find((own) => own.node === node) as Member;
    const written = member.kind === "loop" ? isWide(member, layout) : layout.vectors === "space";
    const before = tensors.inPlace.get(node);
    for (const own of before === undefined ? [node] : [node, before]) {
      if (written) wide.add(own);
      else wide.delete(own);
    }
  }
  return wide;
}

/** Does the member's loop over terms take four at a time? */
const isWide = (member: Member, { vectors }: Layout): boolean => vectors === "terms" && termsOf(member) % 4 === 0;

/** Members in the order of computation: reductions that do not need each other, then what needs their results. */
interface Stage {
  readonly reductions: Member[];
  readonly elements: Member[];
}

function stagesOf({ members }: Cluster, { isStored }: KernelTensors): Stage[] {
  const own = new Set(members.map(({ node }) => node));
  const levels = new Map<Tensor, number>();
  const stages: Stage[] = [];
  for (const member of members) {
    if (member.kind === "loop") continue;
    const needs = [...findReads(member.node, isStored)].filter((read) => own.has(read));
    const before = Math.max(0, ...needs.map((read) => levels.get(read) as number));
    const level = member.kind === "reduction" ? before + 1 : before;
    levels.set(member.node, level);
    while (stages.length <= level) stages.push({ reductions: [], elements: [] });
    (stages[level] as Stage)[member.kind === "reduction" ? "reductions" : "elements"].push(member);
  }
  return stages;
}

/** A term, or four neighbouring terms, of a lane. */
interface Term {
  /** Position among the terms; with the vector's lane where there are four. */
  readonly index: Index;
  /** False in lanes that have no such term, and repeat the last one; undefined: all have one. */
  readonly condition?: string;
}

/** A reduction on its way: variables of this lane. */
interface Accumulator {
  readonly member: Member;
  readonly combine: Combine;
  readonly type: ComputeType;
  readonly isWide: boolean;
  readonly start: string;
  readonly total: string;
  /** The position of the extreme, for combinations that give it. */
  readonly place: string | undefined;
  /** Where terms are added: the total, or a partial sum. */
  target: string;
}

/** What lanes hand to each other: a value, for positions of extremes with its place. */
interface Shared {
  readonly value: string;
  readonly place?: string;
}

/** One text of the kernel; statements go to an emitter. */
class Drawing {
  readonly workgroups: number;
  readonly #emitter: Emitter;
  readonly #cluster: Cluster;
  readonly #tensors: KernelTensors;
  readonly #layout: Layout;
  readonly #target: CompileTarget;
  readonly #tails = new Map<string, Index>();
  /** Arrays in workgroup memory: how many of every element type. */
  readonly #arrays = new Map<string, number>();
  #rounds = 0;

  constructor(emitter: Emitter, cluster: Cluster, tensors: KernelTensors, layout: Layout, target: CompileTarget) {
    this.#emitter = emitter;
    this.#cluster = cluster;
    this.#tensors = tensors;
    this.#layout = layout;
    this.#target = target;
    this.workgroups = Math.ceil(this.#units / layout.elements);
  }

  /** Elements of the space, or groups of four. */
  get #units(): number {
    return this.#layout.vectors === "space" ? this.#cluster.size / 4 : this.#cluster.size;
  }

  get #block(): string {
    return this.#layout.isDivisible ? "[own_block]" : "";
  }

  /** Lanes whose results are combined in the second round; 1 if there is only one round. */
  get #heads(): number {
    const { lanes } = this.#layout;
    return lanes <= roundLength ? 1 : Math.max(8, lanes / roundLength);
  }

  draw(): void {
    const emitter = this.#emitter;
    const { stored } = this.#cluster;
    const { vectors } = this.#layout;
    const inside = this.#drawPlace();
    const element = variableIndex("element", 0, this.#units - 1);
    const position = vectors === "space" ? addIndex(scaleIndex(element, 4), laneIndex) : element;
    const values = new Map<Tensor, Value>();
    const keep = (node: Tensor, value: Value): void => {
      emitter.setRegister(node, value);
      values.set(node, value);
    };
    for (const { reductions, elements } of stagesOf(this.#cluster, this.#tensors)) {
      const accumulators = reductions.map((member) => this.#open(member));
      for (const same of groupBy(accumulators, ({ member }) => termsOf(member))) this.#accumulate(same, position);
      for (const [accumulator, value] of this.#combineLanes(accumulators)) keep(accumulator.member.node, value);
      for (const { node } of elements) keep(node, emitter.compute(node, delinearize(position, node.shape)));
    }
    for (const member of this.#cluster.members) if (member.kind === "loop") this.#drawLoop(member, position, inside);
    // Results are written last. What they replace in place, all lanes have read before the first one writes.
    if (this.#tensors.inPlace.size > 0) emitter.line("storageBarrier();");
    for (const node of stored) {
      const value = values.get(node);
      const first = inside === undefined ? "worker == 0" : `worker == 0 && ${inside}`;
      if (value !== undefined) emitter.store(node, position, value, first);
    }
  }

  /** Names what this invocation works on: `element` and `worker`, its lane. Returns whether the element exists. */
  #drawPlace(): string | undefined {
    const emitter = this.#emitter;
    const { order, lanes, elements } = this.#layout;
    // Several workgroups in one cannot return alone: barriers are for all of them.
    const { isDivisible } = this.#layout;
    if (!isDivisible) emitter.line(`if (number >= ${this.workgroups}u) { return; }`);
    if (elements === 1 && !isDivisible) {
      emitter.line("let worker = i32(local);");
      emitter.line("let element = i32(number);");
      return undefined;
    }
    emitter.line(`let worker = i32(${order === "rows" ? `local % ${lanes}u` : `local / ${elements}u`});`);
    emitter.line(`let own = i32(${order === "rows" ? `local / ${lanes}u` : `local % ${elements}u`});`);
    const all = `i32(number) * ${elements} + own`;
    const units = this.#units;
    if (units % elements === 0 && !isDivisible) {
      emitter.line(`let element = ${all};`);
      return undefined;
    }
    emitter.line(`let inside = ${all} < ${units};`);
    emitter.line(`let element = min(${all}, ${units - 1});`);
    return "inside";
  }

  #open(member: Member): Accumulator {
    const emitter = this.#emitter;
    const combine = loweringOf(member.node, "reduction")?.combine as Combine;
    const input = member.node.inputs[0] as Tensor;
    const type = computeType[input.dtype];
    const wide = this.#layout.vectors === "space" || isWide(member, this.#layout);
    const start = `${wide ? `vec4<${type}>` : type}(${literal(startOf(combine, type), input.dtype)})`;
    const total = emitter.fresh("total");
    emitter.line(`var ${total} = ${start};`);
    const place = combine.startsWith("arg") ? emitter.fresh("place") : undefined;
    if (place !== undefined) emitter.line(`var ${place} = ${wide ? "vec4<i32>" : "i32"}(0);`);
    return { member, combine, type, isWide: wide, start, total, place, target: total };
  }

  /** One loop over the terms of a lane for reductions of as many terms. */
  #accumulate(accumulators: readonly Accumulator[], position: Index): void {
    const emitter = this.#emitter;
    const { member } = accumulators[0] as Accumulator;
    const sums = accumulators.filter(({ combine }) => combine === "sum");
    const inParts = (body: () => void): void => {
      for (const accumulator of sums) {
        accumulator.target = emitter.fresh("part");
        emitter.line(`var ${accumulator.target} = ${accumulator.start};`);
      }
      body();
      for (const accumulator of sums) {
        emitter.line(`${accumulator.total} = ${accumulator.total} + ${accumulator.target};`);
        accumulator.target = accumulator.total;
      }
    };
    this.#terms(termsOf(member), isWide(member, this.#layout), inParts, (term) => {
      for (const accumulator of accumulators) this.#add(accumulator, position, term);
    });
  }

  /** Runs `body` for every term of this lane: lane 0 has terms 0, L, 2L and so on. */
  #terms(count: number, wide: boolean, inParts: (body: () => void) => void, body: (term: Term) => void): void {
    const emitter = this.#emitter;
    const { lanes, isUnrolled } = this.#layout;
    const loads = wide ? count / 4 : count;
    const full = Math.floor(loads / lanes);
    const rest = loads % lanes;
    const worker = variableIndex("worker", 0, lanes - 1);
    const term = (load: Index): Index => (wide ? addIndex(scaleIndex(load, 4), laneIndex) : load);
    const at = (turn: Index) => body({ index: term(addIndex(worker, scaleIndex(turn, lanes))) });
    const turns = (length: number, first: Index): void =>
      emitter.loop(emitter.fresh("turn"), length, (turn) => at(addIndex(first, turn)));
    if (isUnrolled && full + Math.sign(rest) <= unrolled) {
      for (let turn = 0; turn < full; turn++) at(constantIndex(turn));
    } else if (full <= partialLength) {
      if (full > 0) turns(full, constantIndex(0));
    } else {
      const parts = Math.floor(full / partialLength);
      emitter.loop(emitter.fresh("block"), parts, (block) =>
        inParts(() => turns(partialLength, scaleIndex(block, partialLength))),
      );
      const left = full - parts * partialLength;
      if (left > 0) inParts(() => turns(left, constantIndex(parts * partialLength)));
    }
    if (rest > 0) body({ index: term(this.#tail(full * lanes, loads)), condition: `(worker < ${rest})` });
  }

  /** The last load of each lane where not all have one: those that do not, repeat the last of all. */
  #tail(first: number, loads: number): Index {
    const key = `${first}:${loads}`;
    const known = this.#tails.get(key);
    if (known !== undefined) return known;
    const name = this.#emitter.fresh("tail");
    this.#emitter.line(`let ${name} = min(worker${first > 0 ? ` + ${first}` : ""}, ${loads - 1});`);
    const tail = variableIndex(name, first, loads - 1);
    this.#tails.set(key, tail);
    return tail;
  }

  #add(accumulator: Accumulator, position: Index, { index, condition }: Term): void {
    const emitter = this.#emitter;
    const { member, combine, type, start, target, place } = accumulator;
    const input = member.node.inputs[0] as Tensor;
    const coordinates = memberCoordinates(member, position, delinearize(index, loopExtents(member)));
    const value = emitter.value(input, coordinates);
    const code = accumulator.isWide && value.width === 1 ? splat(value) : value.code;
    if (place === undefined) {
      const own = condition === undefined ? code : `select(${start}, ${code}, ${condition})`;
      const width = accumulator.isWide ? 4 : 1;
      emitter.line(`${target} = ${combined(emitter, { combine, type, width }, target, own)};`);
      return;
    }
    const compare = `${code} ${combine === "argmax" ? ">" : "<"} ${target}`;
    const exists = accumulator.isWide ? `vec4<bool>(${condition})` : condition;
    const better = emitter.fresh("better");
    emitter.line(`let ${better} = ${condition === undefined ? compare : `(${compare}) & ${exists}`};`);
    emitter.line(`${place} = select(${place}, ${this.#placeOf(accumulator, index)}, ${better});`);
    emitter.line(`${target} = select(${target}, ${code}, ${better});`);
  }

  #placeOf({ isWide: wide }: Accumulator, index: Index): string {
    const first = substitute(index, new Map([[laneName, constantIndex(0)]]));
    const { code } = this.#emitter.index(first);
    if (!wide) return code;
    return this.#layout.vectors === "terms" ? `(vec4<i32>(${code}) + vec4<i32>(0, 1, 2, 3))` : `vec4<i32>(${code})`;
  }

  /** The totals of all lanes, known to all lanes. */
  #combineLanes(accumulators: readonly Accumulator[]): (readonly [Accumulator, Value])[] {
    const results: (readonly [Accumulator, Value])[] = [];
    for (const round of this.#roundsOf(accumulators)) {
      // The arrays may still be read by lanes that have not come here.
      if (this.#rounds++ > 0) this.#emitter.line("workgroupBarrier();");
      results.push(...this.#drawRound(round));
    }
    return results;
  }

  /** As many accumulators at a time as workgroup memory has room for. */
  #roundsOf(accumulators: readonly Accumulator[]): Accumulator[][] {
    const { lanes, elements } = this.#layout;
    const perArray = elements * (lanes + (this.#heads > 1 ? this.#heads : 0)) * 4;
    const bytes = ({ place }: Accumulator): number =>
      perArray * (this.#layout.vectors === "space" ? 4 : 1) * (place === undefined ? 1 : 2);
    // Arrays of different types do not share memory: a half is left for the other types.
    const room = this.#target.maxWorkgroupBytes / 2;
    const rounds: Accumulator[][] = [];
    let used = room;
    for (const accumulator of accumulators) {
      if (used + bytes(accumulator) > room) {
        rounds.push([]);
        used = 0;
      }
      rounds.at(-1)?.push(accumulator);
      used += bytes(accumulator);
    }
    return rounds;
  }

  #drawRound(accumulators: readonly Accumulator[]): (readonly [Accumulator, Value])[] {
    const emitter = this.#emitter;
    const { lanes, vectors } = this.#layout;
    const heads = this.#heads;
    const used = new Map<string, number>();
    const array = (type: string): number => {
      const index = used.get(type) ?? 0;
      used.set(type, index + 1);
      this.#arrays.set(type, Math.max(this.#arrays.get(type) ?? 0, index + 1));
      return index;
    };
    const name = (type: string, index: number) => `${type.replace(/\W/g, "")}_${index}`;
    const typed = (type: string) => (vectors === "space" ? `vec4<${type}>` : type);
    const entries = accumulators.map((accumulator) => {
      const value = name(typed(accumulator.type), array(typed(accumulator.type)));
      const place = accumulator.place === undefined ? undefined : name(typed("i32"), array(typed("i32")));
      return { accumulator, value, place };
    });
    for (const { accumulator, value, place } of entries) {
      const own = this.#withinLane(accumulator);
      emitter.line(`lanes_${value}${this.#block}[local] = ${own.value};`);
      if (place !== undefined) emitter.line(`lanes_${place}${this.#block}[local] = ${own.place};`);
    }
    emitter.line("workgroupBarrier();");
    const read =
      (level: "lanes" | "heads", entry: (typeof entries)[0], at: (part: string) => string) =>
      (part: string): Shared => ({
        value: `${level}_${entry.value}${this.#block}[${at(part)}]`,
        ...(entry.place !== undefined && { place: `${level}_${entry.place}${this.#block}[${at(part)}]` }),
      });
    if (heads > 1) {
      emitter.block(`if (worker < ${heads}) {`, () => {
        for (const entry of entries) {
          const lane = read("lanes", entry, (part) => this.#laneAt(`worker + ${times(part, heads)}`));
          const head = this.#combineAll(entry.accumulator, lanes / heads, lane);
          emitter.line(`heads_${entry.value}${this.#block}[${this.#headAt("worker")}] = ${head.value};`);
          if (entry.place !== undefined) {
            emitter.line(`heads_${entry.place}${this.#block}[${this.#headAt("worker")}] = ${head.place};`);
          }
        }
      });
      emitter.line("workgroupBarrier();");
    }
    return entries.map((entry) => {
      const { accumulator } = entry;
      const total =
        heads > 1
          ? this.#combineAll(
              accumulator,
              heads,
              read("heads", entry, (part) => this.#headAt(part)),
            )
          : this.#combineAll(
              accumulator,
              lanes,
              read("lanes", entry, (part) => this.#laneAt(part)),
            );
      const result = emitter.fresh("result");
      emitter.line(`let ${result} = ${total.place ?? total.value};`);
      const width = vectors === "space" ? 4 : 1;
      return [accumulator, { code: result, width, dtype: accumulator.member.node.dtype, depth: 0 }] as const;
    });
  }

  /** Where the result of a lane of this element lies. */
  #laneAt(lane: string): string {
    const { order, lanes, elements } = this.#layout;
    if (elements === 1) return lane;
    return order === "rows" ? `own * ${lanes} + ${lane}` : `${times(lane, elements)} + own`;
  }

  #headAt(head: string): string {
    const { order, elements } = this.#layout;
    if (elements === 1) return head;
    return order === "rows" ? `own * ${this.#heads} + ${head}` : `${times(head, elements)} + own`;
  }

  /** The four partial results of a lane as one, if there are four terms in a vector. */
  #withinLane(accumulator: Accumulator): Shared {
    const { total, place } = accumulator;
    const four = this.#layout.vectors === "terms" && accumulator.isWide;
    if (!four) return { value: total, ...(place !== undefined && { place }) };
    return this.#combineAll(accumulator, 4, (part) => ({
      value: `${total}[${part}]`,
      ...(place !== undefined && { place: `${place}[${part}]` }),
    }));
  }

  /** All parts as one: values in a tree, in the order of the parts; positions one after the other. */
  #combineAll({ combine, type, place }: Accumulator, count: number, part: (index: string) => Shared): Shared {
    if (place !== undefined) return this.#firstBest(combine, count, part);
    const width = this.#layout.vectors === "space" ? 4 : 1;
    const tree = (first: number, length: number): string => {
      if (length === 1) return part(String(first)).value;
      const half = length >> 1;
      const [left, right] = [tree(first, half), tree(first + half, length - half)];
      return combined(this.#emitter, { combine, type, width }, left, right);
    };
    return { value: tree(0, count) };
  }

  /** The best value and its first position. Lanes take turns, so a later part can hold an earlier position. */
  #firstBest(combine: Combine, count: number, part: (index: string) => Shared): Shared {
    const emitter = this.#emitter;
    const [best, place, at] = [emitter.fresh("best"), emitter.fresh("place"), emitter.fresh("part")];
    emitter.line(`var ${best} = ${part("0").value};`);
    emitter.line(`var ${place} = ${part("0").place};`);
    emitter.block(`for (var ${at} = 1; ${at} < ${count}; ${at}++) {`, () => {
      const other = part(at);
      emitter.line(`let value = ${other.value};`);
      emitter.line(`let other = ${other.place};`);
      const comparison = combine === "argmax" ? ">" : "<";
      emitter.line(`let better = (value ${comparison} ${best}) | ((value == ${best}) & (other < ${place}));`);
      emitter.line(`${best} = select(${best}, value, better);`);
      emitter.line(`${place} = select(${place}, other, better);`);
    });
    return { value: best, place };
  }

  #drawLoop(member: Member, position: Index, inside: string | undefined): void {
    const emitter = this.#emitter;
    const { node } = member;
    const once = (body: () => void): void => body();
    this.#terms(termsOf(member), isWide(member, this.#layout), once, ({ index, condition }) => {
      const coordinates = memberCoordinates(member, position, delinearize(index, loopExtents(member)));
      const value = emitter.compute(node, coordinates);
      const conditions = [condition, inside].filter((part) => part !== undefined);
      const all = conditions.length > 0 ? conditions.join(" && ") : undefined;
      emitter.store(node, linearize(coordinates, node.shape), value, all);
    });
  }

  /** The arrays in workgroup memory. */
  arrays(): WorkgroupArray[] {
    const { lanes, elements } = this.#layout;
    const arrays: WorkgroupArray[] = [];
    for (const [type, count] of this.#arrays) {
      for (let index = 0; index < count; index++) {
        const name = `${type.replace(/\W/g, "")}_${index}`;
        arrays.push({ name: `lanes_${name}`, type, length: lanes * elements });
        if (this.#heads > 1) arrays.push({ name: `heads_${name}`, type, length: this.#heads * elements });
      }
    }
    return arrays;
  }
}

/** The text of a product with a constant, without what needs no computation. */
function times(text: string, factor: number): string {
  if (/^\d+$/.test(text)) return String(Number(text) * factor);
  return /^\w+$/.test(text) ? `${text} * ${factor}` : `(${text}) * ${factor}`;
}

function groupBy<T>(items: readonly T[], key: (item: T) => number): T[][] {
  const groups = new Map<number, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return [...groups.values()];
}
