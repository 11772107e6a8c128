/**
 * Orders of steps that need less memory.
 *
 * A walk from the results of a training step to what they need takes the first layer's gradient first. All other gradients
 * of parameters come behind it, and until then what they read stays alive: every activation, and the gradient of every
 * activation. Any other order does in which steps that touch the same memory, one of them writing, stay as they are. Which
 * of them needs least is an NP-complete question (Sethi, Complete register allocation problems, 1975); the rules here look
 * one step ahead.
 */
import type { Tensor } from "../tensor";
import { type LoopRange, type Step, tensorBytes } from "./plan-memory";

/** A step that can be next. */
interface Candidate {
  /** Where it is in the given order. */
  readonly index: number;
  /** Bytes that it adds to what is alive, less its share of what it reads for nearly the last time. */
  readonly change: number;
}

/** Chooses the next step. There is one, and they are in the given order. */
export type OrderRule = (candidates: readonly Candidate[]) => Candidate | undefined;

/** The given order, except that what frees memory does not wait. */
export const freeingFirst: OrderRule = (candidates) => candidates.find(({ change }) => change < 0) ?? candidates[0];

/** What adds least comes first. */
export const cheapestFirst: OrderRule = (candidates) =>
  candidates.reduce((best, own) => (own.change < best.change ? own : best));

/**
 * The order in which the steps run by a rule, as indices of the given one.
 *
 * @param steps in an order in which they can run; the memory that a step takes over is among what it writes.
 * @param temporaries what takes memory from its first to its last use.
 * @param kept temporaries that are needed behind the last step.
 * @param loops ranges of steps that are repeated. A step stays between the same ends of loops.
 */
export function reorder(
  steps: readonly Step[],
  rule: OrderRule,
  temporaries: ReadonlySet<Tensor>,
  kept: ReadonlySet<Tensor>,
  loops: readonly LoopRange[] = [],
): number[] {
  const ends = [...new Set([0, steps.length, ...loops.flatMap(({ from, to }) => [from, to])])].sort((a, b) => a - b);
  const lastUse = new Map(steps.flatMap(({ reads, writes }, at) => [...reads, ...writes].map((node) => [node, at])));
  return ends.slice(1).flatMap((to, piece) => {
    const from = ends[piece] as number;
    const isTemporary = (node: Tensor) => temporaries.has(node);
    const dies = (node: Tensor) => !kept.has(node) && (lastUse.get(node) as number) < to;
    return arrange(steps.slice(from, to), rule, isTemporary, dies).map((index) => from + index);
  });
}

/**
 * Steps with no end of a loop between them.
 *
 * @param isTemporary does the node count?
 * @param dies is it needed no more behind these steps?
 */
function arrange(
  steps: readonly Step[],
  rule: OrderRule,
  isTemporary: (node: Tensor) => boolean,
  dies: (node: Tensor) => boolean,
): number[] {
  const behind = stepsBehind(steps);
  const waitsFor = steps.map(() => 0);
  for (const own of behind) for (const later of own) waitsFor[later] = (waitsFor[later] as number) + 1;
  const touched = steps.map(({ reads, writes }) => [...new Set([...reads, ...writes])].filter(isTemporary));
  const uses = new Map<Tensor, number>();
  for (const node of touched.flat()) uses.set(node, (uses.get(node) ?? 0) + 1);
  const made = steps.map(({ writes }) => new Set(writes));
  const alive = new Set<Tensor>();

  const changeOf = (index: number): number => {
    let change = 0;
    for (const node of touched[index] as readonly Tensor[]) {
      const bytes = tensorBytes(node);
      if (made[index]?.has(node) && !alive.has(node)) change += bytes;
      // Several last readers free a tensor together, so each has a share; half of it would be too much for one of two, as
      // the other may have to wait.
      if (dies(node)) change -= bytes / (uses.get(node) as number) ** 2;
    }
    return change;
  };

  const order: number[] = [];
  let ready = waitsFor.flatMap((count, index) => (count === 0 ? [index] : []));
  while (ready.length > 0) {
    const next = rule(ready.map((index) => ({ index, change: changeOf(index) }))) as Candidate;
    order.push(next.index);
    for (const node of touched[next.index] as readonly Tensor[]) {
      alive.add(node);
      uses.set(node, (uses.get(node) as number) - 1);
    }
    const released: number[] = [];
    for (const later of behind[next.index] as ReadonlySet<number>) {
      waitsFor[later] = (waitsFor[later] as number) - 1;
      if (waitsFor[later] === 0) released.push(later);
    }
    ready = [...ready.filter((index) => index !== next.index), ...released].sort((a, b) => a - b);
  }
  return order;
}

/** For every step, those that stay behind it: they touch the same memory, and one of the two writes it. */
function stepsBehind(steps: readonly Step[]): Set<number>[] {
  const behind = steps.map(() => new Set<number>());
  const writer = new Map<Tensor, number>();
  const readers = new Map<Tensor, number[]>();
  for (const [index, { reads, writes }] of steps.entries()) {
    const follow = (before: number | undefined): void => {
      if (before !== undefined && before !== index) behind[before]?.add(index);
    };
    for (const node of reads) {
      follow(writer.get(node));
      readers.set(node, [...(readers.get(node) ?? []), index]);
    }
    for (const node of writes) {
      follow(writer.get(node));
      for (const reader of readers.get(node) ?? []) follow(reader);
      writer.set(node, index);
      readers.delete(node);
    }
  }
  return behind;
}
