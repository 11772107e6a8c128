import { ThalwegError } from "../errors";
import { boundTensors } from "../kernels/kernel";
import type { Tensor } from "../tensor";
import type { Plan } from "./plan";
import { alignUp, tensorBytes } from "./plan-memory";

/**
 * Checks what a plan relies on, and names the kernel at which it does not hold. Loops are followed through their first
 * three iterations, after which everything repeats.
 *
 * - whatever a kernel reads was written before, and is still there;
 * - results that are alive at once do not overlap in an arena;
 * - no buffer is read and written by one kernel, but for results in place of what is read;
 * - memory of a leaf is taken over only after everybody else has read the leaf.
 *
 * @throws ThalwegError with the code "internal": a defect of the compiler.
 */
export function verifyPlan(plan: Plan): void {
  const fail = (index: number, fact: string): never => {
    throw new ThalwegError("internal", `Plan, kernel ${index} (${plan.kernels[index]?.spec.label}): ${fact}.`);
  };
  /** What lies in memory at the moment, by temporary, and which node wrote it last. */
  const alive = new Map<Tensor, { arena: number; from: number; to: number }>();
  const replaced = new Map<Tensor, Tensor>();
  const written = new Set<Tensor>();
  const isLeaf = (memory: Tensor) => memory.primitive.lowering.kind === "leaf" && !plan.memoryOf.isSpare(memory);

  for (const { kernel: index, parities } of unrolled(plan)) {
    const kernel = plan.kernels[index] as Plan["kernels"][number];
    const memoryOf = (node: Tensor) => plan.memoryOf.at(node, parities);
    const reads: Tensor[] = [];
    const writes: Tensor[] = [];
    for (const { access, tensors } of boundTensors(kernel)) {
      const [node, before] = tensors as readonly [Tensor, Tensor | undefined];
      if (access === "read") reads.push(node);
      else writes.push(node);
      if (before !== undefined && plan.inPlace.get(node) !== before)
        fail(index, `writes ${node} over ${before} unplanned`);
      if (before !== undefined && memoryOf(node) !== memoryOf(before)) fail(index, `writes ${node} beside ${before}`);
    }
    for (const node of reads) {
      const memory = memoryOf(node);
      const name = `${node.primitive.name} ${node}`;
      // A leaf of a loop's body stands for what the loop itself writes there.
      const owner = memory === node ? replaced.get(memory) : undefined;
      if (isLeaf(memory) && owner !== undefined)
        fail(index, `reads a leaf ${node} that ${owner.primitive.name} has replaced`);
      if (!isLeaf(memory) && !written.has(memory)) fail(index, `reads ${name} before it is written`);
      if (plan.memory.places.has(memory) && !alive.has(memory)) fail(index, `reads ${name} after its place was reused`);
    }
    const isDirect = (node: Tensor) => plan.direct.has(memoryOf(node));
    if (reads.some(isDirect) && writes.some(isDirect)) fail(index, "reads and writes the block of results");
    const read = new Set(reads.map(memoryOf));
    const readArenas = new Set([...read].flatMap((memory) => plan.memory.places.get(memory)?.arena ?? []));
    for (const node of writes) {
      const memory = memoryOf(node);
      if (read.has(memory)) fail(index, `reads and writes ${node.primitive.name} ${node}`);
      written.add(memory);
      if (isLeaf(memory)) replaced.set(memory, node);
      const place = plan.memory.places.get(memory);
      if (place === undefined) continue;
      if (readArenas.has(place.arena)) fail(index, `reads and writes arena ${place.arena}`);
      const range = { arena: place.arena, from: place.offset, to: place.offset + alignUp(tensorBytes(memory)) };
      for (const [other, old] of alive) {
        if (other !== memory && old.arena === range.arena && old.from < range.to && range.from < old.to)
          alive.delete(other);
      }
      if (range.to > (plan.memory.arenas[place.arena] ?? 0)) fail(index, `writes beyond arena ${place.arena}`);
      alive.set(memory, range);
    }
  }
  for (const { node } of plan.outputs) {
    const memory = plan.memoryOf.at(node, []);
    if (plan.memory.places.has(memory) && !alive.has(memory))
      fail(plan.kernels.length - 1, `${node} is copied out after its place was reused`);
  }
}

/** Kernels in the order in which they run, at most three iterations of every loop. */
function unrolled(plan: Plan): { readonly kernel: number; readonly parities: readonly number[] }[] {
  const run = (from: number, to: number, parities: readonly number[]): ReturnType<typeof unrolled> => {
    const steps: ReturnType<typeof unrolled> = [];
    for (let kernel = from; kernel < to; ) {
      const loop = plan.loops.find((own) => own.level === parities.length && own.from === kernel);
      if (loop === undefined) {
        steps.push({ kernel: kernel++, parities });
        continue;
      }
      for (let t = 0; t < Math.min(loop.length, 3); t++) steps.push(...run(loop.from, loop.to, [...parities, t & 1]));
      kernel = loop.to;
    }
    return steps;
  };
  return run(0, plan.kernels.length, []);
}
