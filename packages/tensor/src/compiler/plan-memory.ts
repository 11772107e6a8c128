/**
 * Places temporaries in a few arena buffers.
 *
 * WebGPU counts a buffer as a whole within one dispatch: it is read, or it is written. So a kernel's results never lie
 * in an arena that it reads from. Within an arena, temporaries whose lives do not overlap share their place.
 */
import { bytesPerElement } from "../dtype";
import type { Tensor } from "../tensor";

/** Offsets of bindings are multiples of this many bytes. */
export const alignment = 256;

export const alignUp = (bytes: number, to: number = alignment): number => Math.ceil(bytes / to) * to;

export const tensorBytes = (node: Tensor): number => Math.max(4, node.size * bytesPerElement[node.dtype]);

/** What the planner needs to know of a kernel. */
export interface Step {
  readonly reads: readonly Tensor[];
  readonly writes: readonly Tensor[];
}

export interface Place {
  readonly arena: number;
  readonly offset: number;
}

export interface MemoryPlan {
  readonly places: ReadonlyMap<Tensor, Place>;
  /** Bytes of every arena. */
  readonly arenas: readonly number[];
  /** Bytes that are alive at once at the worst moment: no plan for this order of kernels needs less. */
  readonly lowerBound: number;
}

/** Steps that are repeated: `from` up to, but not including, `to`. */
export interface LoopRange {
  readonly from: number;
  readonly to: number;
  readonly length: number;
  /** How many loops it is in. */
  readonly level: number;
}

interface Life {
  readonly node: Tensor;
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
}

/**
 * @param steps kernels in order.
 * @param temporaries the tensors to place; every one is written by one step.
 * @param kept temporaries that are read after the last step.
 * @param largestArena bytes that one buffer can have.
 * @param loops ranges of steps that are repeated, outer ones first.
 * @param levelOf in how many loops a temporary lives and dies within one iteration.
 * @param together lists of temporaries that are in one arena each; no step reads one and writes another of a list.
 */
export function planMemory(
  steps: readonly Step[],
  temporaries: ReadonlySet<Tensor>,
  kept: ReadonlySet<Tensor>,
  largestArena: number,
  loops: readonly LoopRange[] = [],
  levelOf: (node: Tensor) => number = () => 0,
  together: readonly (readonly Tensor[])[] = [],
): MemoryPlan {
  const lives = livesOf(steps, temporaries, kept, loops, levelOf);
  const lowerBound = mostAlive(lives, steps.length);
  const conflicts = conflictsOf(steps, temporaries);
  const place = (order: readonly Life[]) => placeInOrder(order, conflicts, largestArena, together);
  const placements = orders.map((order) => place([...lives].sort(order)));
  const { places, arenas } = improve(placements.reduce(smaller), place, lowerBound);
  return { places, arenas, lowerBound };
}

/** Bytes that are alive at once at the worst moment; parameters as in {@link planMemory}. */
export function peakBytes(
  steps: readonly Step[],
  temporaries: ReadonlySet<Tensor>,
  kept: ReadonlySet<Tensor>,
  loops: readonly LoopRange[],
  levelOf: (node: Tensor) => number,
): number {
  return mostAlive(livesOf(steps, temporaries, kept, loops, levelOf), steps.length);
}

/** Bytes of all arenas. */
const temporaryBytes = ({ arenas }: Pick<MemoryPlan, "arenas">): number =>
  arenas.reduce((sum, bytes) => sum + bytes, 0);

/** What a placement came from, and what came of it. */
interface Placement extends Omit<MemoryPlan, "lowerBound"> {
  readonly order: readonly Life[];
}

const smaller = (best: Placement, own: Placement): Placement =>
  temporaryBytes(own) < temporaryBytes(best) ? own : best;

/** Placements that are tried beyond the fixed orders. */
const mostTries = 24;

/** Whoever ends up at the top of an arena, and so decides how large it is, is placed first the next time. */
function improve(start: Placement, place: (order: readonly Life[]) => Placement, lowerBound: number): Placement {
  const moved = new Set<Life>();
  let best = start;
  let current = start;
  while (moved.size < mostTries && temporaryBytes(best) > lowerBound) {
    const { order, places, arenas } = current;
    const top = order.find((life) => {
      const { arena, offset } = places.get(life.node) as Place;
      return offset + life.bytes === arenas[arena] && !moved.has(life);
    });
    if (top === undefined) break;
    moved.add(top);
    current = place([top, ...order.filter((life) => life !== top)]);
    best = smaller(best, current);
  }
  return best;
}

/**
 * No order of placing is best for every program, and placing takes far less time than compiling one kernel: all are tried.
 * Large ones first leaves gaps that small ones fill; large and long-lived ones first keeps those at the bottom, where they
 * cut nothing in two; in the order of the steps, neighbours lie together.
 */
const orders: readonly ((a: Life, b: Life) => number)[] = [
  (a, b) => b.bytes - a.bytes || a.from - b.from,
  (a, b) => b.bytes * lengthOf(b) - a.bytes * lengthOf(a) || a.from - b.from,
  (a, b) => lengthOf(b) - lengthOf(a) || b.bytes - a.bytes || a.from - b.from,
  (a, b) => a.from - b.from || b.bytes - a.bytes,
];

const lengthOf = ({ from, to }: Life): number => to - from + 1;

function placeInOrder(
  lives: readonly Life[],
  conflicts: ReadonlyMap<Tensor, ReadonlySet<Tensor>>,
  largestArena: number,
  together: readonly (readonly Tensor[])[],
): Placement {
  // What must be together goes first, each list into an arena of its own; the rest finds gaps there, too.
  const listOf = new Map(together.flatMap((list) => list.map((node) => [node, list] as const)));
  const arenaOf = new Map<readonly Tensor[], number>();
  const [bound, free] = [lives.filter(({ node }) => listOf.has(node)), lives.filter(({ node }) => !listOf.has(node))];
  const places = new Map<Tensor, Place>();
  const arenas: { bytes: number; lives: (Life & { offset: number })[] }[] = [];
  for (const life of [...bound, ...free]) {
    const list = listOf.get(life.node);
    const forbidden = new Set([...(conflicts.get(life.node) ?? [])].map((other) => places.get(other)?.arena));
    let best: { arena: number; offset: number; growth: number; spare: number } | undefined;
    for (const [arena, { bytes, lives: placed }] of arenas.entries()) {
      if (forbidden.has(arena) || (list !== undefined && arenaOf.get(list) !== arena)) continue;
      const { offset, spare } = tightestGap(life, placed, bytes);
      if (offset + life.bytes > largestArena) continue;
      const growth = Math.max(0, offset + life.bytes - bytes);
      const isBetter = best === undefined || growth < best.growth || (growth === best.growth && spare < best.spare);
      if (isBetter) best = { arena, offset, growth, spare };
    }
    if (best === undefined) {
      best = { arena: arenas.length, offset: 0, growth: life.bytes, spare: 0 };
      arenas.push({ bytes: 0, lives: [] });
    }
    if (list !== undefined) arenaOf.set(list, best.arena);
    const arena = arenas[best.arena] as (typeof arenas)[0];
    arena.bytes = Math.max(arena.bytes, best.offset + life.bytes);
    const { offset } = best;
    const above = arena.lives.findIndex((other) => other.offset > offset);
    arena.lives.splice(above < 0 ? arena.lives.length : above, 0, { ...life, offset });
    places.set(life.node, { arena: best.arena, offset: best.offset });
  }
  return { order: lives, places, arenas: arenas.map(({ bytes }) => bytes) };
}

function livesOf(
  steps: readonly Step[],
  temporaries: ReadonlySet<Tensor>,
  kept: ReadonlySet<Tensor>,
  loops: readonly LoopRange[],
  levelOf: (node: Tensor) => number,
): Life[] {
  const lives = new Map<Tensor, { from: number; to: number }>();
  for (const [index, { reads, writes }] of steps.entries()) {
    const around = loops.filter(({ from, to }) => from <= index && index < to);
    for (const node of [...reads, ...writes]) {
      if (!temporaries.has(node)) continue;
      // What outlives an iteration is needed throughout the loop, whichever step of the body touches it.
      const loop = around.find(({ level }) => level >= levelOf(node));
      const [from, to] = loop ? [loop.from, loop.to - 1] : [index, index];
      const life = lives.get(node);
      lives.set(node, { from: Math.min(life?.from ?? from, from), to: Math.max(life?.to ?? to, to) });
    }
  }
  return [...lives].map(([node, { from, to }]) => ({
    node,
    bytes: alignUp(tensorBytes(node)),
    from,
    to: kept.has(node) ? steps.length : to,
  }));
}

/** Pairs of which one is read and the other written by one step. */
function conflictsOf(steps: readonly Step[], temporaries: ReadonlySet<Tensor>): Map<Tensor, Set<Tensor>> {
  const conflicts = new Map<Tensor, Set<Tensor>>();
  const add = (a: Tensor, b: Tensor) => conflicts.set(a, (conflicts.get(a) ?? new Set()).add(b));
  for (const { reads, writes } of steps) {
    for (const read of reads) {
      for (const written of writes) {
        if (read === written || !temporaries.has(read) || !temporaries.has(written)) continue;
        add(read, written);
        add(written, read);
      }
    }
  }
  return conflicts;
}

/**
 * The gap with the least to spare among those that nothing alive at the same time lies in; behind everything where none
 * is large enough.
 *
 * @param placed in the order of their offsets.
 */
function tightestGap(
  life: Life,
  placed: readonly (Life & { offset: number })[],
  bytes: number,
): { readonly offset: number; readonly spare: number } {
  let best: { offset: number; spare: number } | undefined;
  let offset = 0;
  const consider = (end: number): void => {
    const spare = end - offset - life.bytes;
    if (spare >= 0 && (best === undefined || spare < best.spare)) best = { offset, spare };
  };
  for (const other of placed) {
    if (other.from > life.to || life.from > other.to) continue;
    consider(other.offset);
    offset = Math.max(offset, other.offset + other.bytes);
  }
  consider(bytes);
  return best ?? { offset, spare: 0 };
}

function mostAlive(lives: readonly Life[], steps: number): number {
  const changes = new Array<number>(steps + 2).fill(0);
  for (const { from, to, bytes } of lives) {
    changes[from] = (changes[from] as number) + bytes;
    changes[to + 1] = (changes[to + 1] as number) - bytes;
  }
  let alive = 0;
  let most = 0;
  for (const change of changes.slice(0, steps)) {
    alive += change;
    most = Math.max(most, alive);
  }
  return most;
}
