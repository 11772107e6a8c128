/**
 * Decides what is stored in memory and which results one kernel computes.
 *
 * Views, generators and cheap elementwise operations are *virtual*: their readers compute them. Everything else is
 * *stored*. A stored result joins the kernel of one that it reads if it reads it element by element: then the value is
 * taken from a register, and a result that nobody else reads is never written. So matrix products get epilogues (bias,
 * activation, parameter update), softmax with cross entropy and its gradient become one pass over each row, and sums
 * over the same rows share their loop.
 */
import { topologicalOrder, usersOf } from "../graph/visit";
import { loweringOf } from "../primitives/definition";
import type { DotParams } from "../primitives/dot";
import { freeAxes } from "../primitives/dot";
import { sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { delinearize, type Index, linearize, variableIndex } from "../view";
import { type CompiledLoop, compiledLoop } from "./loops";
import { areFewRows, longestRowOf } from "./split-reduction";
import { stridedView } from "./strided";
import type { CompileTarget } from "./target";

/** How a member of a cluster is computed in the space of the cluster. */
export type Member =
  /** One value per element of the space. */
  | { readonly kind: "element"; readonly node: Tensor }
  /** One value per element of the space, from a loop over the reduced axes. */
  | { readonly kind: "reduction"; readonly node: Tensor }
  /** A loop over the axes behind the first `split` ones, which are the space; every iteration writes an element. */
  | { readonly kind: "loop"; readonly node: Tensor; readonly split: number }
  | { readonly kind: "contraction"; readonly node: Tensor }
  /** A kernel written by hand: the only member of its cluster. */
  | { readonly kind: "kernel"; readonly node: Tensor };

/** What one kernel computes: a space of elements, and members in the order of computation. */
export interface Cluster {
  readonly size: number;
  readonly members: Member[];
  /** Members whose results other kernels or the caller read. */
  readonly stored: Tensor[];
  /** Stored results of other clusters, and leaves, that are read. */
  readonly reads: Tensor[];
  /** A loop instead of a kernel: it has no members, and what is stored are its results. */
  readonly loop?: CompiledLoop;
}

export interface Fusion {
  /** In an order in which every cluster comes after those it reads. */
  readonly clusters: readonly Cluster[];
  readonly isStored: (node: Tensor) => boolean;
}

/** Elementwise work below this many operations per element is repeated rather than stored and loaded. */
const cheapWork = 64;

/** Work that is nothing beside the loads of whoever repeats it, outside of the inner loops of contractions. */
const trivialWork = 4;

/** Repeated work below this many operations in all is cheaper than one more kernel. */
const workOfKernel = 200_000;

/** Work in the inner loop of a contraction counts this many times: it competes with the multiply-adds. */
const operandWeight = 4;

/** Elements that one invocation may write in a loop where there are few rows. */
const longestRow = 1024;

export function fuse(outputs: readonly Tensor[], target: CompileTarget): Fusion {
  const order = topologicalOrder(outputs);
  const isFusing = !target.without?.includes("fuse");
  const stored = isFusing ? chooseStored(order, outputs, target) : allStored(order);
  const isStored = (node: Tensor) => stored.has(node) || loweringOf(node, "leaf") !== undefined;
  const groups: Group[] = [];
  const groupOf = new Map<Tensor, Group>();
  for (const node of order) {
    if (!stored.has(node)) continue;
    const reads = findReads(node, isStored);
    const loop = compiledLoop(node);
    if (loop !== undefined) {
      const own = groups.find((other) => other.loop === loop) ?? openLoop(loop, groups);
      own.nodes.push(node);
      for (const read of reads) own.reads.add(read);
      groupOf.set(node, own);
      continue;
    }
    const found = isFusing ? findGroup(node, reads, groups, groupOf, isStored, target) : undefined;
    const group = found ?? openGroup(node, groups);
    group.nodes.push(node);
    for (const read of reads) group.reads.add(read);
    groupOf.set(node, group);
  }
  return { clusters: finish(groups, groupOf, outputs), isStored };
}

const allStored = (order: readonly Tensor[]): Set<Tensor> =>
  new Set(order.filter((node) => !loweringOf(node, "leaf") && !loweringOf(node, "generator")));

/** A cluster that still grows. */
interface Group {
  readonly size: number;
  readonly members: Member[];
  readonly nodes: Tensor[];
  /** Everything stored that a member reads, members included. */
  readonly reads: Set<Tensor>;
  readonly loop?: CompiledLoop;
}

/**
 * What is computed more than once, and is not cheap, is stored. How much work a node is depends on what it reads being
 * stored, which is decided later, walking from users to inputs: so a first choice, for which nothing is, finds what is
 * expensive by itself, and the second one takes that as stored.
 */
function chooseStored(order: readonly Tensor[], outputs: readonly Tensor[], target: CompileTarget): Set<Tensor> {
  const first = storeRepeated(order, outputs, workPerElement(order, new Set()), target);
  const stored = storeRepeated(order, outputs, workPerElement(order, first), target);
  storeSums(order, stored);
  limitBindings(order, stored, target);
  return stored;
}

/** Walks from users to inputs and counts how often each virtual element would be computed. */
function storeRepeated(
  order: readonly Tensor[],
  outputs: readonly Tensor[],
  work: ReadonlyMap<Tensor, number>,
  target: CompileTarget,
): Set<Tensor> {
  const stored = new Set<Tensor>(outputs.filter((node) => !loweringOf(node, "leaf")));
  /** Evaluations by readers, and how many of them are in the inner loops of contractions. */
  const demand = new Map<Tensor, { all: number; inner: number }>();
  for (const node of [...order].reverse()) {
    const { kind } = node.primitive.lowering;
    if (kind === "leaf") continue;
    if (kind === "reduction" || kind === "contraction" || kind === "kernel" || kind === "loop") stored.add(node);
    if (kind === "kernel")
      for (const input of operandsInMemory(node)) if (!loweringOf(input, "leaf")) stored.add(input);
    let { all, inner } = demand.get(node) ?? { all: 0, inner: 0 };
    if (kind === "elementwise" && !stored.has(node)) {
      const own = work.get(node) as number;
      const repeated = (own > trivialWork ? all : Math.min(all, inner)) * own - node.size * own;
      if (repeated > Math.max(cheapWork * node.size, workOfKernel)) stored.add(node);
    }
    const isInner = kind === "contraction";
    if (stored.has(node)) [all, inner] = [node.size, 0];
    for (const [index, input] of node.inputs.entries()) {
      const more = stored.has(node) ? readsPerInput(node, index, target) : all;
      const before = demand.get(input) ?? { all: 0, inner: 0 };
      const innerMore = isInner ? more : stored.has(node) ? 0 : inner;
      demand.set(input, { all: before.all + more, inner: before.inner + innerMore });
    }
  }
  return stored;
}

/** What has to be in memory for a kernel written by hand: its inputs, or what they are strided views of. */
function operandsInMemory(node: Tensor): readonly Tensor[] {
  if (loweringOf(node, "kernel")?.strided !== true) return node.inputs;
  return node.inputs.map((input) => stridedView(input, () => false)?.base ?? input);
}

/**
 * Stores an elementwise result in place of the reduction or contraction that it is the only way to, if it has several
 * readers, which would have to read something else of that size as well: the sums of residual networks. It is one more
 * line in the kernel's epilogue, and no more memory.
 */
function storeSums(order: readonly Tensor[], stored: Set<Tensor>): void {
  const users = usersOf(order);
  const isStored = (node: Tensor) => stored.has(node) || loweringOf(node, "leaf") !== undefined;
  for (const start of order) {
    if (!loweringOf(start, "reduction") && !loweringOf(start, "contraction")) continue;
    let node = start;
    for (;;) {
      const [reader, another] = users.get(node) ?? [];
      if (reader === undefined || another !== undefined) break;
      if (reader.primitive.lowering.kind !== "elementwise" || stored.has(reader)) break;
      node = reader;
    }
    if (node === start || (users.get(node)?.length ?? 0) < 2) continue;
    const asLarge = [...findReads(node, isStored)].filter(({ size }) => size >= node.size);
    if (asLarge.length > 1) stored.add(node);
  }
}

/** Operations for one element, virtual inputs included; what is stored counts as a load. */
function workPerElement(order: readonly Tensor[], stored: ReadonlySet<Tensor>): Map<Tensor, number> {
  const work = new Map<Tensor, number>();
  for (const node of order) {
    const { lowering } = node.primitive;
    const own = lowering.kind === "elementwise" ? lowering.cost : lowering.kind === "gather" ? 2 : 0;
    const ends = ["reduction", "contraction", "kernel", "loop"].includes(lowering.kind);
    work.set(
      node,
      ends ? 0 : node.inputs.reduce((sum, input) => sum + (stored.has(input) ? 0 : (work.get(input) as number)), own),
    );
  }
  return work;
}

/** Evaluations of an input that one stored node needs. */
function readsPerInput(node: Tensor, index: number, target: CompileTarget): number {
  const input = node.inputs[index] as Tensor;
  if (loweringOf(node, "contraction")) {
    const { batch, contract } = node.params as DotParams;
    const other = node.inputs[1 - index] as Tensor;
    const side = (1 - index) as 0 | 1;
    const free = freeAxes(other.rank, batch[side], contract[side]);
    const repeats = Math.ceil(sizeOf(free.map((axis) => other.shape[axis] as number)) / target.operandReuse);
    return input.size * (repeats > 1 ? operandWeight * repeats : 1);
  }
  return loweringOf(node, "reduction") || loweringOf(node, "kernel") ? input.size : node.size;
}

/** Stores parts of expressions that read more buffers than one kernel can bind. */
function limitBindings(order: readonly Tensor[], stored: Set<Tensor>, target: CompileTarget): void {
  const isStored = (node: Tensor) => stored.has(node) || loweringOf(node, "leaf") !== undefined;
  const most = target.maxBindings - 1;
  for (const node of order) {
    if (node.primitive.lowering.kind !== "elementwise" && !stored.has(node)) continue;
    while (findReads(node, isStored).size > most) {
      const widest = node.inputs
        .flatMap((input) => virtualElementwise(input, isStored))
        .map((input) => ({ input, count: findReads(input, isStored).size }))
        .filter(({ count }) => count > 1 && count <= most)
        .sort((a, b) => b.count - a.count || a.input.id - b.input.id)[0];
      if (widest === undefined) break;
      stored.add(widest.input);
    }
  }
}

/** The elementwise nodes that are computed on the way to `node`, it included. */
function virtualElementwise(node: Tensor, isStored: (node: Tensor) => boolean): Tensor[] {
  const seen = new Set<Tensor>();
  const pending = [node];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next) || isStored(next)) continue;
    seen.add(next);
    pending.push(...next.inputs);
  }
  return [...seen].filter((own) => own.primitive.lowering.kind === "elementwise");
}

/** The stored nodes and leaves that computing `node` reads. */
export function findReads(node: Tensor, isStored: (node: Tensor) => boolean): Set<Tensor> {
  const reads = new Set<Tensor>();
  const seen = new Set<Tensor>();
  const pending = [...node.inputs];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    if (isStored(next)) reads.add(next);
    else pending.push(...next.inputs);
  }
  return reads;
}

/** Elements of the space in which a node is computed. */
const spaceOf = (node: Tensor): number => node.size;

function openGroup(node: Tensor, groups: Group[]): Group {
  const { kind } = node.primitive.lowering;
  const isOwnKind = kind === "reduction" || kind === "contraction" || kind === "kernel";
  const member: Member = isOwnKind ? { kind, node } : { kind: "element", node };
  const group: Group = { size: spaceOf(node), members: [member], nodes: [], reads: new Set() };
  groups.push(group);
  return group;
}

/** No space of elements is that of a loop, so that nothing joins it. */
function openLoop(loop: CompiledLoop, groups: Group[]): Group {
  const group: Group = { size: -1, members: [], nodes: [], reads: new Set(), loop };
  groups.push(group);
  return group;
}

/** The group that a node can join, with the node made its member; undefined if it needs a kernel of its own. */
function findGroup(
  node: Tensor,
  reads: ReadonlySet<Tensor>,
  groups: readonly Group[],
  groupOf: ReadonlyMap<Tensor, Group>,
  isStored: (node: Tensor) => boolean,
  target: CompileTarget,
): Group | undefined {
  if (loweringOf(node, "contraction") || loweringOf(node, "kernel")) return undefined;
  const producers = new Set([...reads].flatMap((read) => groupOf.get(read) ?? []));
  const related = groups.filter((group) => producers.has(group)).sort((a, b) => b.size - a.size);
  const siblings = groups.filter((group) => !producers.has(group) && sharesLoop(group, node, reads));
  for (const group of [...related, ...siblings]) {
    const member = memberIn(group, node, target);
    if (member === undefined || !fitsBindings(group, node, reads, target)) continue;
    if (dependsThrough(group, reads, groupOf)) continue;
    if (!readsOwnElements(group, member, isStored)) continue;
    group.members.push(member);
    return group;
  }
  return undefined;
}

/**
 * What need not read another result may still share its loop: elementwise results over the same tensors, reductions over
 * rows of the same number that read the same tensor, and small reductions beside each other.
 */
function sharesLoop(group: Group, node: Tensor, reads: ReadonlySet<Tensor>): boolean {
  if (group.size !== node.size) return false;
  if (!loweringOf(node, "reduction")) {
    return (
      group.members.every(({ kind }) => kind === "element") &&
      [...reads].some((read) => group.reads.has(read) && read.size === node.size)
    );
  }
  if (!group.members.some((member) => member.kind === "reduction")) return false;
  const small = node.size <= 16 && (node.inputs[0] as Tensor).size <= 4096 && groupTerms(group) <= 4096;
  return small || [...reads].some((read) => group.reads.has(read) && read.size > node.size);
}

const groupTerms = (group: Group): number =>
  Math.max(...group.members.map(({ node }) => (loweringOf(node, "reduction") ? (node.inputs[0] as Tensor).size : 0)));

function memberIn(group: Group, node: Tensor, target: CompileTarget): Member | undefined {
  if (group.members[0]?.kind === "kernel") return undefined;
  const isContraction = group.members[0]?.kind === "contraction";
  if (loweringOf(node, "reduction")) {
    return !isContraction && node.size === group.size ? { kind: "reduction", node } : undefined;
  }
  if (node.size === group.size) return { kind: "element", node };
  if (!group.members.some((member) => member.kind === "reduction")) return undefined;
  if (!canWriteRows(group.size, node.size / group.size, target)) return undefined;
  if (group.size === 1) return { kind: "loop", node, split: 0 };
  let leading = 1;
  for (const [axis, extent] of node.shape.entries()) {
    leading *= extent;
    if (leading === group.size && node.size > leading) return { kind: "loop", node, split: axis + 1 };
  }
  return undefined;
}

/** Long rows in one kernel with their reductions are worth it only where there are many of them. */
function canWriteRows(rows: number, length: number, target: CompileTarget): boolean {
  if (target.lanesPerRow <= 1) return length <= longestRow || rows >= 64;
  return length < longestRowOf(target) || !areFewRows(rows, target);
}

function fitsBindings(group: Group, node: Tensor, reads: ReadonlySet<Tensor>, target: CompileTarget): boolean {
  const buffers = new Set([...group.reads, ...reads, ...group.nodes, node]);
  return buffers.size <= target.maxBindings;
}

/** Does anything that is read, and that is not in the group, need the group? Then joining would close a cycle. */
function dependsThrough(group: Group, reads: ReadonlySet<Tensor>, groupOf: ReadonlyMap<Tensor, Group>): boolean {
  const seen = new Set<Group>([group]);
  const pending = [...reads].flatMap((read) => groupOf.get(read) ?? []).filter((other) => other !== group);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    for (const read of next.reads) {
      const producer = groupOf.get(read);
      if (producer === group) return true;
      if (producer !== undefined && producer !== next) pending.push(producer);
    }
  }
  return false;
}

/** Coordinates of a member's elements, from the position in the space and the variables of its own loop. */
export function memberCoordinates(member: Member, position: Index, loopVariables: readonly Index[]): Index[] {
  switch (member.kind) {
    case "element":
    case "contraction":
    case "kernel":
      return delinearize(position, member.node.shape);
    case "loop":
      return [...delinearize(position, member.node.shape.slice(0, member.split)), ...loopVariables];
    case "reduction": {
      const input = member.node.inputs[0] as Tensor;
      const axes = loweringOf(member.node, "reduction")?.axes(member.node.params) ?? [];
      const kept = delinearize(position, member.node.shape);
      let nextKept = 0;
      let nextLoop = 0;
      return input.shape.map(
        (_, axis) => (axes.includes(axis) ? loopVariables[nextLoop++] : kept[nextKept++]) as Index,
      );
    }
  }
}

/** Extents of the loop that a member runs for every element of the space. */
export function loopExtents(member: Member): number[] {
  if (member.kind === "loop") return member.node.shape.slice(member.split);
  if (member.kind !== "reduction") return [];
  const axes = loweringOf(member.node, "reduction")?.axes(member.node.params) ?? [];
  return axes.map((axis) => (member.node.inputs[0] as Tensor).shape[axis] as number);
}

/** Does the member read results of its own group only at its own element, where they are in registers? */
function readsOwnElements(group: Group, member: Member, isStored: (node: Tensor) => boolean): boolean {
  const position = variableIndex("element", 0, Math.max(0, group.size - 1));
  const own = new Set(group.nodes);
  const loops = new Set(group.members.filter(({ kind }) => kind === "loop").map(({ node }) => node));
  return everyRead(
    member,
    position,
    isStored,
    (node) => own.has(node),
    (node, at) => !loops.has(node) && linearize(at, node.shape).key === position.key,
  );
}

/** Where a virtual node reads each of its inputs; data-dependent coordinates are variables of their own. */
function inputCoordinates(node: Tensor, at: readonly Index[]): (readonly Index[])[] {
  const { lowering } = node.primitive;
  switch (lowering.kind) {
    case "movement":
      return [lowering.move(at, (node.inputs[0] as Tensor).shape, node.params).coordinates];
    case "barrier":
      return [at];
    case "gather": {
      const [x, indices] = node.inputs as [Tensor, Tensor];
      const axis = lowering.axis(node.params);
      const taken = variableIndex(`taken${node.id}`, 0, Math.max(0, (x.shape[axis] as number) - 1));
      const inner = at.slice(axis, axis + indices.rank);
      return [[...at.slice(0, axis), taken, ...at.slice(axis + indices.rank)], inner];
    }
    default:
      return node.inputs.map(() => at);
  }
}

/** Orders the groups and finds which members have to be written. */
function finish(groups: readonly Group[], groupOf: ReadonlyMap<Tensor, Group>, outputs: readonly Tensor[]): Cluster[] {
  const readElsewhere = new Set<Tensor>(outputs);
  for (const group of groups) {
    for (const read of group.reads) if (groupOf.get(read) !== group) readElsewhere.add(read);
  }
  const ordered: Group[] = [];
  const done = new Set<Group>();
  const visit = (group: Group): void => {
    if (done.has(group)) return;
    done.add(group);
    for (const read of group.reads) {
      const producer = groupOf.get(read);
      if (producer !== undefined && producer !== group) visit(producer);
    }
    ordered.push(group);
  };
  for (const group of groups) visit(group);
  return ordered.map((group) => ({
    ...(group.loop && { loop: group.loop }),
    size: group.size,
    members: group.members,
    stored: group.nodes.filter((node) => readElsewhere.has(node)),
    reads: [...group.reads].filter((read) => groupOf.get(read) !== group),
  }));
}

/**
 * May the result of a member replace `leaf` in memory while the cluster runs? Only if the cluster reads the leaf at the
 * very element it computes.
 */
export function canReplace(
  cluster: Cluster,
  result: Tensor,
  leaf: Tensor,
  isStored: (node: Tensor) => boolean,
): boolean {
  const own = cluster.members.find(({ node }) => node === result);
  if (own === undefined || own.kind === "contraction" || own.kind === "kernel") return false;
  // A loop writes while it runs, elements at the end: what a loop replaces, only the loop itself may read.
  return cluster.members.every((member) =>
    own.kind === "loop" && member !== own
      ? !findReads(member.node, isStored).has(leaf)
      : readsLeafAtOwnElement(cluster, member, leaf, isStored),
  );
}

function readsLeafAtOwnElement(
  cluster: Cluster,
  member: Member,
  leaf: Tensor,
  isStored: (node: Tensor) => boolean,
): boolean {
  if (!findReads(member.node, isStored).has(leaf)) return true;
  if (member.kind !== "element" && member.kind !== "loop") return false;
  const position = variableIndex("element", 0, Math.max(0, cluster.size - 1));
  const element = linearize(memberCoordinates(member, position, loopVariablesOf(member)), member.node.shape);
  return everyRead(
    member,
    position,
    isStored,
    (node) => node === leaf,
    (node, at) => linearize(at, node.shape).key === element.key,
  );
}

/** Are the members elementwise, and is whatever they read read at their own element, or at one place for all? */
export function readsAlongElements({ size, members }: Cluster, isStored: (node: Tensor) => boolean): boolean {
  const position = variableIndex("element", 0, Math.max(0, size - 1));
  return members.every(
    (member) =>
      member.kind === "element" &&
      everyRead(member, position, isStored, isStored, (node, at) => {
        const where = linearize(at, node.shape);
        return where.terms.length === 0 || (node.size === size && where.key === position.key);
      }),
  );
}

const loopVariablesOf = (member: Member): Index[] =>
  loopExtents(member).map((extent, index) => variableIndex(`loop${index}`, 0, Math.max(0, extent - 1)));

/** Does `test` hold for every stored node of interest that the member reads, at the coordinates at which it is read? */
export function everyRead(
  member: Member,
  position: Index,
  isStored: (node: Tensor) => boolean,
  isOfInterest: (node: Tensor) => boolean,
  test: (node: Tensor, at: readonly Index[]) => boolean,
): boolean {
  const loop = loopVariablesOf(member);
  const start = member.kind === "reduction" ? (member.node.inputs[0] as Tensor) : member.node;
  const isRead = (node: Tensor) => isStored(node) && node !== member.node;
  const paths = pathsTo(start, isRead, isOfInterest);
  if (!paths.has(start)) return true;
  const seen = new Set<string>();
  const check = (node: Tensor, at: readonly Index[]): boolean => {
    if (!paths.has(node)) return true;
    if (isRead(node)) return test(node, at);
    const key = `${node.id}@${at.map((index) => index.key).join()}`;
    if (seen.has(key)) return true;
    seen.add(key);
    return inputCoordinates(node, at).every((where, index) => check(node.inputs[index] as Tensor, where));
  };
  return check(start, memberCoordinates(member, position, loop));
}

/** The nodes on the way from `start` to what is read and of interest. Coordinates cost more than this look ahead. */
function pathsTo(
  start: Tensor,
  isRead: (node: Tensor) => boolean,
  isOfInterest: (node: Tensor) => boolean,
): Set<Tensor> {
  const paths = new Set<Tensor>();
  const seen = new Set<Tensor>();
  const visit = (node: Tensor): boolean => {
    if (seen.has(node)) return paths.has(node);
    seen.add(node);
    const leads = isRead(node)
      ? isOfInterest(node)
      : node.inputs.reduce((found, input) => visit(input) || found, false);
    if (leads) paths.add(node);
    return leads;
  };
  visit(start);
  return paths;
}
