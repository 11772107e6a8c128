/**
 * One dispatch for the updates of many tensors.
 *
 * What an optimizer does to one tensor it does to all: clusters of elementwise members that replace state in place and
 * differ in nothing but the sizes and places of their tensors. They become the segments of one kernel. A binding of it is
 * a buffer in which the corresponding tensors of all segments lie, and a table in memory says where: so the memory planner
 * is told what must lie together, and a model of a hundred tensors is updated in one dispatch, with as many bindings as
 * one tensor needs.
 */
import { bytesPerElement } from "../dtype";
import { bindingSlots, type KernelTensors } from "../kernels/kernel";
import { segmentKernel, segmentTable, segmentText } from "../kernels/segments.wgsl";
import { loweringOf } from "../primitives/definition";
import { fromBytes, type Tensor } from "../tensor";
import type { MemoryOf } from "./flatten";
import { type Cluster, readsAlongElements } from "./fuse";
import { inOrder, type LoweredStep } from "./pack";
import { alignUp, type MemoryPlan, type Step, tensorBytes } from "./plan-memory";
import type { CompileTarget } from "./target";

/** A cluster that has no kernel yet. */
export interface ClusterStep extends Step {
  readonly cluster: Cluster;
  readonly tensors: KernelTensors;
}

/** Clusters that one kernel computes, and that kernel. */
export interface SegmentStep extends LoweredStep {
  readonly clusters: readonly Cluster[];
  /** For every binding: the tensor that all segments read, or the list of their own ones, which lie in one buffer. */
  readonly slots: readonly (Tensor | readonly Tensor[])[];
  /** Where the segments' tensors begin; see {@link fillTable}. */
  readonly table: Uint32Array;
}

/** Fewer clusters than this are left to share a dispatch as they are. */
const fewest = 3;

/**
 * Segments among the clusters, taken one by one as long as some order of all steps remains.
 *
 * @param steps clusters in order, no loop between them.
 * @param inPlace results that are computed in the memory of a leaf.
 * @param direct results that are no temporaries: their place is in the block of results.
 */
export function chooseSegments(
  steps: readonly ClusterStep[],
  inPlace: ReadonlyMap<Tensor, Tensor>,
  direct: ReadonlySet<Tensor>,
  target: CompileTarget,
): SegmentStep[] {
  const chosen: SegmentStep[] = [];
  const taken = new Set<Cluster>();
  for (const family of families(steps, direct, target)) {
    const step = segmentStep(family);
    for (const { cluster } of family) taken.add(cluster);
    const all = [...steps.filter(({ cluster }) => !taken.has(cluster)), ...chosen, step];
    const lists = neighbourLists([...chosen, step]);
    const isApart = all.every(({ reads, writes }) => !lists.crosses(reads, writes));
    if (isApart && inOrder(all, inPlace, () => false) !== undefined) chosen.push(step);
    else for (const { cluster } of family) taken.delete(cluster);
  }
  return chosen;
}

/** Clusters with one text that replace state, as many as fit into the bindings of one kernel. */
function families(steps: readonly ClusterStep[], direct: ReadonlySet<Tensor>, target: CompileTarget): ClusterStep[][] {
  const byText = new Map<string, ClusterStep[]>();
  for (const step of steps) {
    const { cluster, tensors } = step;
    if (cluster.size < 2 || tensors.inPlace.size === 0) continue;
    if (!readsAlongElements(cluster, tensors.isStored)) continue;
    const slots = bindingSlots(tensors);
    const types = slots.map(({ access, tensors: [node] }) => `${access} ${(node as Tensor).dtype}`);
    const shared = slots.map(() => undefined);
    const key = `${types.join()}\n${segmentText(cluster, tensors, shared, 1).body}`;
    byText.set(key, [...(byText.get(key) ?? []), step]);
  }
  return [...byText.values()].flatMap((family) => {
    const shared = sharedSlots(family);
    const placeable = family.filter(({ tensors }) =>
      bindingSlots(tensors).every(({ tensors: [node, before] }, slot) => {
        if (shared[slot] !== undefined || before !== undefined) return true;
        return loweringOf(node as Tensor, "leaf") === undefined && !direct.has(node as Tensor);
      }),
    );
    return chunks(placeable, target).filter((chunk) => chunk.length >= fewest);
  });
}

/** For every slot: the tensor that all clusters read in it, or undefined where each has its own. */
function sharedSlots(family: readonly ClusterStep[]): (Tensor | undefined)[] {
  const slots = family.map(({ tensors }) => bindingSlots(tensors));
  return (slots[0] as (typeof slots)[0]).map(({ access, tensors: [first] }, slot) => {
    const isSame = slots.every((own) => own[slot]?.tensors[0] === first);
    return isSame && access === "read" ? first : undefined;
  });
}

/** Parts whose corresponding tensors fit into one binding. */
function chunks(family: readonly ClusterStep[], target: CompileTarget): ClusterStep[][] {
  const result: ClusterStep[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const step of family) {
    const widest = Math.max(...[...step.reads, ...step.writes].map((node) => alignUp(tensorBytes(node))));
    if (bytes + widest > target.maxBindingBytes) {
      result.push([]);
      bytes = 0;
    }
    result.at(-1)?.push(step);
    bytes += widest;
  }
  return result;
}

function segmentStep(family: readonly ClusterStep[]): SegmentStep {
  const clusters = family.map(({ cluster }) => cluster);
  const slots = family.map(({ tensors }) => bindingSlots(tensors));
  const shared = sharedSlots(family);
  const table = segmentTable(clusters, shared.length, () => 0);
  const leaf = fromBytes(table.buffer as ArrayBuffer, [table.length], "u32");
  const own = shared.map(
    (same, slot) => same ?? slots.map((list) => (list[slot]?.tensors[1] ?? list[slot]?.tensors[0]) as Tensor),
  );
  return {
    clusters,
    slots: own,
    table,
    part: segmentKernel(
      clusters,
      family.map(({ tensors }) => tensors),
      shared,
      leaf,
    ),
    reads: [...new Set(family.flatMap(({ tensors }) => readOnly(tensors))), leaf],
    writes: family.flatMap(({ writes }) => writes),
  };
}

/** What a cluster reads and does not replace. */
function readOnly({ reads, inPlace }: KernelTensors): Tensor[] {
  const replaced = new Set(inPlace.values());
  return reads.filter((node) => !replaced.has(node));
}

/** Tensors that must lie in one buffer, list by list. A tensor is in one list at most. */
export interface NeighbourLists {
  readonly lists: readonly (readonly Tensor[])[];
  /** Is a tensor of a list read, and another one of the same list written? A buffer is read or written as a whole. */
  crosses(reads: Iterable<Tensor>, writes: Iterable<Tensor>): boolean;
}

/**
 * What the segments need to lie together.
 *
 * @param memoryOf the tensor whose memory a node has.
 */
export function neighbourLists(
  segments: readonly SegmentStep[],
  memoryOf: (node: Tensor) => Tensor = (node) => node,
): NeighbourLists {
  const listOf = new Map<Tensor, Set<Tensor>>();
  for (const slot of segments.flatMap(({ slots }) => slots)) {
    if (!isList(slot)) continue;
    const joint = new Set(slot.map(memoryOf).flatMap((node) => [node, ...(listOf.get(node) ?? [])]));
    for (const node of joint) listOf.set(node, joint);
  }
  return {
    lists: [...new Set(listOf.values())].map((list) => [...list]),
    crosses: (reads, writes) => {
      const read = new Set([...reads].flatMap((node) => listOf.get(memoryOf(node)) ?? []));
      return [...writes].some((node) => read.has(listOf.get(memoryOf(node)) ?? new Set()));
    },
  };
}

const isList = (slot: Tensor | readonly Tensor[]): slot is readonly Tensor[] => Array.isArray(slot);

/** Leaves in one block of memory. */
export interface Neighbours {
  readonly offsets: ReadonlyMap<Tensor, number>;
  readonly bytes: number;
}

/** Where leaves lie beside each other. */
export function placeNeighbours(leaves: readonly Tensor[]): Neighbours {
  const offsets = new Map<Tensor, number>();
  let bytes = 0;
  for (const leaf of leaves) {
    offsets.set(leaf, bytes);
    bytes += alignUp(tensorBytes(leaf));
  }
  return { offsets, bytes };
}

/** Writes down where every tensor of the segments begins in its binding. */
export function fillTable(
  { clusters, slots, table }: SegmentStep,
  memoryOf: MemoryOf,
  memory: MemoryPlan,
  state: readonly Neighbours[],
): void {
  const offsetOf = (node: Tensor): number => {
    const own = memoryOf.at(node, []);
    const block = state.find(({ offsets }) => offsets.has(own));
    return memory.places.get(own)?.offset ?? (block?.offsets.get(own) as number);
  };
  const starts = slots.map((slot) => (isList(slot) ? Math.min(...slot.map(offsetOf)) : 0));
  table.set(
    segmentTable(clusters, slots.length, (segment, index) => {
      const slot = slots[index] as Tensor | readonly Tensor[];
      if (!isList(slot)) return 0;
      const node = slot[segment] as Tensor;
      return (offsetOf(node) - (starts[index] as number)) / (4 * bytesPerElement[node.dtype]);
    }),
  );
}
