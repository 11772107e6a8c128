/**
 * One list of kernels from a graph whose loops have graphs of their own, and where in memory their nodes are.
 */
import { assemble, type Kernel, type KernelTensors } from "../kernels/kernel";
import { placeholder, type Tensor } from "../tensor";
import type { Cluster } from "./fuse";
import type { CompiledLoop, PlannedGraph } from "./loops";
import { packSteps } from "./pack";
import type { LoopRange } from "./plan-memory";
import { type ClusterStep, neighbourLists, type SegmentStep } from "./segments";
import { sharedLowering } from "./share";
import type { CompileTarget } from "./target";

/** Whose memory a node has. */
export interface MemoryOf {
  /**
   * The tensor in whose memory a node lies.
   *
   * @param parities 0 or 1 for every loop around, outermost first: is the number of the iteration odd? Missing ones are 0.
   */
  at(node: Tensor, parities: readonly number[]): Tensor;
  /** All tensors in whose memory the node lies in some iteration. */
  all(node: Tensor): Tensor[];
  /** Is the tensor nothing but memory: the second place of a carry? */
  isSpare(node: Tensor): boolean;
}

export interface FlatGraph {
  readonly kernels: readonly Kernel[];
  /** The clusters that the kernels compute. */
  readonly lowered: readonly { readonly cluster: Cluster; readonly tensors: KernelTensors }[];
  readonly loops: readonly LoopRange[];
  /** Kernels over many tensors; see compiler/segments.ts. */
  readonly segments: readonly SegmentStep[];
  readonly memoryOf: MemoryOf;
  /** In how many loops the memory of a tensor is only needed within one iteration. */
  levelOf(node: Tensor): number;
  readonly inPlace: ReadonlyMap<Tensor, Tensor>;
}

/** A carry that is not replaced in place: in even iterations it lies in the first place, in odd ones in the second. */
interface Turns {
  readonly level: number;
  readonly even: Tensor;
  readonly odd: Tensor;
}

/**
 * @param segmentsFor chooses among clusters outside of loops those that become one kernel.
 */
export function flatten(
  root: PlannedGraph,
  target: CompileTarget,
  segmentsFor: (clusters: readonly ClusterStep[]) => readonly SegmentStep[],
): FlatGraph {
  const kernels: Kernel[] = [];
  const lowered: ClusterStep[] = [];
  const segments: SegmentStep[] = [];
  const lower = sharedLowering(target);
  const loops: LoopRange[] = [];
  const inPlace = new Map<Tensor, Tensor>();
  const aliases = new Map<Tensor, Tensor>();
  const turns = new Map<Tensor, Turns>();
  const spares = new Set<Tensor>();
  const levels = new Map<Tensor, number>();

  const place = (
    { order, inPlace: own, fusion }: PlannedGraph,
    level: number,
    loop: CompiledLoop | undefined,
  ): void => {
    for (const [node, leaf] of own) {
      inPlace.set(node, leaf);
      aliases.set(node, leaf);
    }
    const stacked = new Set(loop?.stacks.map(({ inside }) => inside));
    const offset = (node: Tensor) => (stacked.has(node) ? loop?.offset(node) : undefined);
    let pending: ClusterStep[] = [];
    const flush = (): void => {
      const chosen = level === 0 ? segmentsFor(pending) : [];
      const inSegments = new Set(chosen.flatMap(({ clusters }) => clusters));
      const single = pending.filter(({ cluster }) => !inSegments.has(cluster));
      const steps = single.map((step) => ({ ...step, part: lower(step.cluster, step.tensors) }));
      const packs = packSteps([...steps, ...chosen], own, target, neighbourLists(chosen).crosses);
      for (const { parts } of packs) kernels.push(assemble(parts, target));
      lowered.push(...single);
      segments.push(...chosen);
      pending = [];
    };
    for (const cluster of order) {
      if (cluster.loop !== undefined) {
        flush();
        repeat(cluster.loop);
        continue;
      }
      const { reads, stored: writes } = cluster;
      for (const node of writes) levels.set(node, level);
      const before = new Map(
        writes.flatMap((node) => (own.has(node) ? [[node, own.get(node) as Tensor] as const] : [])),
      );
      const { isStored } = fusion;
      const { keepsLoops, broadcastLanes } = target;
      const tensors: KernelTensors = { reads, writes, inPlace: before, isStored, keepsLoops, broadcastLanes, offset };
      pending.push({ cluster, tensors, reads, writes });
    }
    flush();
  };

  const repeat = (loop: CompiledLoop): void => {
    const { level, length, body } = loop;
    for (const { leaf, base } of loop.bases) aliases.set(leaf, base);
    for (const { inside, stacked } of loop.stacks) {
      aliases.set(inside, stacked);
      levels.set(stacked, level);
    }
    for (const { start, leaf, next, last } of loop.carries) {
      if (body.inPlace.get(next) === leaf) {
        aliases.set(leaf, start);
        if (last !== undefined) aliases.set(last, start);
        continue;
      }
      const spare = placeholder(start.shape, start.dtype);
      spares.add(spare);
      levels.set(spare, level);
      turns.set(leaf, { level, even: start, odd: spare });
      turns.set(next, { level, even: spare, odd: start });
      if (last !== undefined) aliases.set(last, length % 2 === 0 ? start : spare);
    }
    const index = loops.length;
    const from = kernels.length;
    loops.push({ from, to: from, length, level });
    place(body, level + 1, loop);
    loops[index] = { from, to: kernels.length, length, level };
  };

  place(root, 0, undefined);
  const depth = Math.max(0, ...loops.map(({ level }) => level + 1));
  const at = (node: Tensor, parities: readonly number[]): Tensor => {
    let found = node;
    for (;;) {
      const turn = turns.get(found);
      const next = turn ? (parities[turn.level] ? turn.odd : turn.even) : aliases.get(found);
      if (next === undefined || next === found) return found;
      found = next;
    }
  };
  const combinations = Array.from({ length: 2 ** depth }, (_, bits) =>
    Array.from({ length: depth }, (_, level) => (bits >> level) & 1),
  );
  return {
    kernels,
    lowered,
    loops: loops.filter(({ from, to }) => to > from),
    segments,
    memoryOf: {
      at,
      all: (node) => [...new Set(combinations.map((parities) => at(node, parities)))],
      isSpare: (node) => spares.has(node),
    },
    levelOf: (node) => levels.get(node) ?? 0,
    inPlace,
  };
}
