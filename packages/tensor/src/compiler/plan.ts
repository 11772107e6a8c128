/**
 * From a graph to everything that running it needs: the passes of the compiler, in order.
 */
import { OutOfMemoryError, UnsupportedError } from "../errors";
import { topologicalOrder } from "../graph/visit";
import { boundTensors, type Kernel, type KernelTensors } from "../kernels/kernel";
import { loweringOf, type Primitive } from "../primitives/definition";
import { reshape } from "../primitives/movement";
import { apply, type Tensor } from "../tensor";
import { type FlatGraph, flatten, type MemoryOf } from "./flatten";
import { type Cluster, canReplace, type Fusion, fuse } from "./fuse";
import { type PlannedGraph, type PreparedGraph, prepareLoops, startedIn } from "./loops";
import { parallelize } from "./parallelize";
import { alignUp, type LoopRange, type MemoryPlan, peakBytes, planMemory, type Step, tensorBytes } from "./plan-memory";
import { cheapestFirst, freeingFirst, reorder } from "./reorder";
import { chooseSegments, fillTable, type Neighbours, neighbourLists, placeNeighbours } from "./segments";
import { simplify } from "./simplify";
import type { CompileTarget } from "./target";

/** Where a result goes. */
export type Destination =
  /** Its own place in the block of results. */
  | { readonly kind: "result"; readonly offset: number }
  /** The place of a leaf that it replaces; `copied` if it is computed elsewhere first. */
  | { readonly kind: "state"; readonly leaf: Tensor; readonly copied: boolean }
  /** It is a leaf itself: nothing is computed. */
  | { readonly kind: "leaf"; readonly leaf: Tensor };

export interface Plan {
  /** Every kernel once, in order; those of a loop's body are run several times. */
  readonly kernels: readonly Kernel[];
  /** The clusters that the kernels compute. */
  readonly lowered: readonly { readonly cluster: Cluster; readonly tensors: KernelTensors }[];
  /** Ranges of kernels that are run several times, outer ones first. */
  readonly loops: readonly LoopRange[];
  /** Leaves that kernels or copies read, in order of first use. */
  readonly leaves: readonly Tensor[];
  readonly memory: MemoryPlan;
  /** The simplified node of every output, and where it goes. */
  readonly outputs: readonly { readonly node: Tensor; readonly destination: Destination }[];
  /** Results that are computed in a leaf's own memory. */
  readonly inPlace: ReadonlyMap<Tensor, Tensor>;
  /** Results that kernels write into the block of results. */
  readonly direct: ReadonlySet<Tensor>;
  readonly resultBytes: number;
  /** See {@link CompileTarget.workPerSubmit}. */
  readonly workPerSubmit: number;
  /** Leaves whose memory is taken over that must lie in one block each. */
  readonly neighbours: readonly Neighbours[];
  /** The tensor whose memory a node of a kernel has, by the parities of the iterations of the loops around it. */
  readonly memoryOf: MemoryOf;
}

/**
 * @param outputs what to compute.
 * @param replaces for each output, the leaf whose memory it takes over, if any.
 */
export function makePlan(
  outputs: readonly Tensor[],
  replaces: readonly (Tensor | undefined)[],
  target: CompileTarget,
): Plan {
  const prepared = prepareLoops(prepare(outputs, target), replacedBy(replaces, target), 0, {
    simplify: (nodes) => prepare(nodes, target),
    plan: (graph, leaves) => planGraph(graph, leaves, target),
  });
  const simple = copyMovedLeaves(prepared.outputs, replaces);
  const graph = planGraph({ outputs: simple, stored: prepared.stored }, replaces, target);
  const results = placeResults(simple, replaces, graph.inPlace);
  const isPacking = !target.without?.includes("pack");
  const flat = flatten(graph, target, (clusters) =>
    isPacking ? chooseSegments(clusters, graph.inPlace, results.direct, target) : [],
  );
  // Loops share memory in ways that only show now. What cannot lie together gets kernels of its own.
  return (
    finish(flat, simple, results, target) ??
    (finish(
      flatten(graph, target, () => []),
      simple,
      results,
      target,
    ) as Plan)
  );
}

/** Memory for a list of kernels; undefined if the segments among them cannot have what they need. */
function finish(
  { kernels, lowered, loops, segments, memoryOf, levelOf, inPlace }: FlatGraph,
  simple: readonly Tensor[],
  results: Results,
  target: CompileTarget,
): Plan | undefined {
  const steps = kernels.map((kernel): Step => {
    const touched = (access: "read" | "read_write") =>
      boundTensors(kernel).flatMap((own) => (own.access === access ? memoryOf.all(own.tensors[0] as Tensor) : []));
    return { reads: touched("read"), writes: touched("read_write") };
  });
  const isOwn = (node: Tensor) => memoryOf.at(node, []) === node;
  const direct = writtenInPlace(new Set([...results.direct].filter(isOwn)), steps);
  const isLeaf = (node: Tensor) => loweringOf(node, "leaf") !== undefined && !memoryOf.isSpare(node);
  const temporaries = new Set(
    steps.flatMap(({ writes }) => writes).filter((node) => !isLeaf(node) && !direct.has(node)),
  );
  const together = neighbourLists(segments, (node) => memoryOf.at(node, []));
  const hasRoom = together.lists.every(
    (list) =>
      (list.every(isLeaf) || list.every((node) => temporaries.has(node))) &&
      list.reduce((sum, node) => sum + alignUp(tensorBytes(node)), 0) <= target.maxBindingBytes,
  );
  if (!hasRoom || steps.some(({ reads, writes }) => together.crosses(reads, writes))) return undefined;
  const final = simple.map((node) => memoryOf.at(node, []));
  const isReusing = !target.without?.includes("reuse");
  const kept = isReusing ? new Set(final.filter((node) => temporaries.has(node))) : temporaries;
  const used = new Set([...steps.flatMap(({ reads, writes }) => [...reads, ...writes]), ...final]);
  const bound = together.lists.filter((list) => !list.every(isLeaf));
  const given = steps.map((_, index) => index);
  const rules = isReordering(target) ? [freeingFirst, cheapestFirst] : [];
  const orders = [given, ...rules.map((rule) => reorder(steps, rule, temporaries, kept, loops))].map((order) => {
    const ordered = order.map((index) => steps[index] as Step);
    return { order, ordered, peak: peakBytes(ordered, temporaries, kept, loops, levelOf) };
  });
  const { order, ordered } = orders.reduce((best, own) => (own.peak < best.peak ? own : best));
  const memory = planMemory(ordered, temporaries, kept, target.maxBufferBytes, loops, levelOf, bound);
  const neighbours = together.lists.filter((list) => list.every(isLeaf)).map(placeNeighbours);
  for (const segment of segments) fillTable(segment, memoryOf, memory, neighbours);
  return {
    kernels: order.map((index) => kernels[index] as Kernel),
    lowered,
    loops,
    leaves: [...used].filter(isLeaf),
    memory,
    outputs: simple.map((node, index) => ({ node, destination: results.destinations[index] as Destination })),
    inPlace,
    direct,
    resultBytes: results.bytes,
    workPerSubmit: target.workPerSubmit,
    neighbours,
    memoryOf,
  };
}

const isReordering = (target: CompileTarget): boolean => !target.without?.includes("reorder");

function prepare(outputs: readonly Tensor[], target: CompileTarget): Tensor[] {
  return parallelize(simplify(outputs, target), target);
}

/** What takes over whose memory, unless that is left out. */
const replacedBy = (replaces: readonly (Tensor | undefined)[], target: CompileTarget) =>
  target.without?.includes("inPlace") ? [] : replaces;

function planGraph(
  { outputs, stored }: PreparedGraph,
  replaces: readonly (Tensor | undefined)[],
  target: CompileTarget,
): PlannedGraph {
  checkTarget(outputs, target);
  const fusion = fuse([...new Set([...outputs, ...stored].filter((node) => !loweringOf(node, "leaf")))], target);
  const { order: found, inPlace } = schedule(fusion, outputs, replacedBy(replaces, target));
  const order = isReordering(target) ? reordered(found, new Set([...outputs, ...stored]), inPlace) : found;
  return { order: order.filter(({ size, loop }) => size > 0 || loop !== undefined), inPlace, fusion };
}

/** A leaf that takes the place of another one is copied by a kernel first: the two might trade places. */
const copyMovedLeaves = (nodes: readonly Tensor[], replaces: readonly (Tensor | undefined)[]): Tensor[] =>
  nodes.map((node, index) => {
    const leaf = replaces[index];
    const moves = leaf !== undefined && leaf !== node && loweringOf(node, "leaf");
    return moves ? apply(reshape as Primitive, [node], { shape: node.shape }) : node;
  });

function checkTarget(outputs: readonly Tensor[], target: CompileTarget): void {
  for (const node of topologicalOrder(outputs)) {
    if (node.dtype === "f16" && !target.hasF16) {
      throw new UnsupportedError(
        `${node.primitive.name}: the adapter has no f16 (feature shader-f16), and a tensor ${node.toString()} is needed. ` +
          'Use f32: x.cast("f32").',
      );
    }
    const { kind } = node.primitive.lowering;
    const isInMemory =
      kind === "leaf" || kind === "reduction" || kind === "contraction" || kind === "kernel" || kind === "loop";
    if (isInMemory && tensorBytes(node) > target.maxBindingBytes) tooLarge(node, target);
  }
  for (const node of outputs) if (tensorBytes(node) > target.maxBindingBytes) tooLarge(node, target);
}

function tooLarge(node: Tensor, target: CompileTarget): never {
  throw new OutOfMemoryError(
    `${node.primitive.name}: a tensor ${node.toString()} takes ${tensorBytes(node)} bytes, one binding of this device has ` +
      `at most ${target.maxBindingBytes}. Split it along an axis, or store it in a smaller dtype.`,
    { requestedBytes: tensorBytes(node), limitBytes: target.maxBindingBytes, liveBytes: 0 },
  );
}

/**
 * An order of the clusters in which inputs come first, and in which whoever reads a leaf runs before the leaf's memory
 * is taken over. A takeover that admits no such order is given up; the result is then copied at the end.
 */
function schedule(
  fusion: Fusion,
  outputs: readonly Tensor[],
  replaces: readonly (Tensor | undefined)[],
): { order: Cluster[]; inPlace: Map<Tensor, Tensor> } {
  const { clusters, isStored } = fusion;
  const clusterOf = new Map(clusters.flatMap((cluster) => cluster.stored.map((node) => [node, cluster] as const)));
  const before = new Map(
    clusters.map((cluster) => [cluster, new Set(cluster.reads.flatMap((read) => clusterOf.get(read) ?? []))] as const),
  );
  const needs = (cluster: Cluster, other: Cluster): boolean => {
    const seen = new Set<Cluster>();
    const pending = [cluster];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      if (next === other) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      pending.push(...(before.get(next) as Set<Cluster>));
    }
    return false;
  };

  const readersOf = new Map<Tensor, Cluster[]>();
  for (const cluster of clusters) {
    for (const read of cluster.reads) readersOf.set(read, [...(readersOf.get(read) ?? []), cluster]);
  }
  const kept = new Set(outputs);
  const inPlace = new Map<Tensor, Tensor>();
  for (const [index, node] of outputs.entries()) {
    const leaf = replaces[index];
    const cluster = clusterOf.get(node);
    if (leaf === undefined || cluster === undefined || inPlace.has(node)) continue;
    if (leaf.size !== node.size || leaf.dtype !== node.dtype || kept.has(leaf)) continue;
    if (startedIn(node) === leaf) inPlace.set(node, leaf);
    if (!canReplace(cluster, node, leaf, isStored)) continue;
    const readers = (readersOf.get(leaf) ?? []).filter((other) => other !== cluster);
    if (readers.some((reader) => needs(reader, cluster))) continue;
    for (const reader of readers) before.get(cluster)?.add(reader);
    inPlace.set(node, leaf);
  }

  const order: Cluster[] = [];
  const done = new Set<Cluster>();
  const visit = (cluster: Cluster): void => {
    if (done.has(cluster)) return;
    done.add(cluster);
    for (const other of before.get(cluster) as Set<Cluster>) visit(other);
    order.push(cluster);
  };
  for (const cluster of clusters) visit(cluster);
  return { order, inPlace };
}

/** The clusters in an order that needs less memory. Their kernels are put in order once more when they share dispatches. */
function reordered(
  clusters: readonly Cluster[],
  kept: ReadonlySet<Tensor>,
  inPlace: ReadonlyMap<Tensor, Tensor>,
): Cluster[] {
  const steps = clusters.map(
    ({ reads, stored }): Step => ({ reads, writes: [...stored, ...stored.flatMap((node) => inPlace.get(node) ?? [])] }),
  );
  const temporaries = new Set(clusters.flatMap(({ stored }) => stored).filter((node) => !inPlace.has(node)));
  return reorder(steps, freeingFirst, temporaries, kept).map((index) => clusters[index] as Cluster);
}

/**
 * The results that kernels can write straight into the one block of results. A kernel that reads one part of a buffer
 * cannot write another part of it: a result that is read in making another one is a temporary, copied at the end.
 */
function writtenInPlace(direct: ReadonlySet<Tensor>, steps: readonly Step[]): Set<Tensor> {
  const inPlace = new Set(direct);
  for (const { reads, writes } of steps) {
    if (writes.some((node) => inPlace.has(node))) for (const read of reads) inPlace.delete(read);
  }
  return inPlace;
}

/** Destinations, and the nodes that kernels write straight into the block of results. */
interface Results {
  readonly destinations: readonly Destination[];
  readonly direct: ReadonlySet<Tensor>;
  readonly bytes: number;
}

function placeResults(
  outputs: readonly Tensor[],
  replaces: readonly (Tensor | undefined)[],
  inPlace: ReadonlyMap<Tensor, Tensor>,
): Results {
  const direct = new Set<Tensor>();
  const stateNodes = new Set(outputs.filter((node, index) => replaces[index] !== undefined || inPlace.has(node)));
  let bytes = 0;
  const offsets = new Map<Tensor, number>();
  const destinations = outputs.map((node, index): Destination => {
    const leaf = replaces[index];
    if (leaf !== undefined) {
      if (node === leaf) return { kind: "leaf", leaf };
      return { kind: "state", leaf, copied: inPlace.get(node) !== leaf };
    }
    if (loweringOf(node, "leaf")) return { kind: "leaf", leaf: node };
    let offset = offsets.get(node);
    if (offset === undefined) {
      offset = bytes;
      offsets.set(node, offset);
      bytes += alignUp(tensorBytes(node));
      if (!stateNodes.has(node)) direct.add(node);
    }
    return { kind: "result", offset };
  });
  return { destinations, direct, bytes };
}
