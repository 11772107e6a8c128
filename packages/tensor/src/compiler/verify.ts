import { ThalwegError } from "../errors";
import type { Tensor } from "../tensor";
import type { Plan } from "./plan";
import { alignUp, tensorBytes } from "./plan-memory";

/**
 * Checks what a plan relies on, and names the kernel at which it does not hold:
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
  /** What lies in memory at the moment, by temporary. */
  const alive = new Map<Tensor, { arena: number; from: number; to: number }>();
  const replaced = new Map<Tensor, Tensor>();
  const written = new Set<Tensor>();

  const isInResults = (node: Tensor): boolean =>
    node.primitive.lowering.kind !== "leaf" && !plan.memory.places.has(node) && !plan.inPlace.has(node);

  for (const [index, kernel] of plan.kernels.entries()) {
    const reads: Tensor[] = [];
    const writes: Tensor[] = [];
    for (const [binding, tensors] of kernel.bindings.entries()) {
      const [node, before] = tensors as readonly [Tensor, Tensor | undefined];
      if (kernel.spec.bindings[binding] === "read") reads.push(node);
      else writes.push(node);
      if (before !== undefined && plan.inPlace.get(node) !== before)
        fail(index, `writes ${node} over ${before} unplanned`);
    }
    for (const node of reads) {
      const isLeaf = node.primitive.lowering.kind === "leaf";
      const owner = replaced.get(node);
      if (isLeaf && owner !== undefined) fail(index, `reads a leaf ${node} that ${owner.primitive.name} has replaced`);
      if (!isLeaf && !written.has(node)) fail(index, `reads ${node.primitive.name} ${node} before it is written`);
      if (plan.memory.places.has(node) && !alive.has(node))
        fail(index, `reads ${node.primitive.name} ${node} after its place was reused`);
    }
    if (reads.some(isInResults) && writes.some(isInResults)) fail(index, "reads and writes the block of results");
    const readArenas = new Set(reads.flatMap((node) => plan.memory.places.get(node)?.arena ?? []));
    for (const node of writes) {
      written.add(node);
      const leaf = plan.inPlace.get(node);
      if (leaf !== undefined) replaced.set(leaf, node);
      const place = plan.memory.places.get(node);
      if (place === undefined) continue;
      if (readArenas.has(place.arena)) fail(index, `reads and writes arena ${place.arena}`);
      const range = { arena: place.arena, from: place.offset, to: place.offset + alignUp(tensorBytes(node)) };
      for (const [other, old] of alive) {
        if (old.arena === range.arena && old.from < range.to && range.from < old.to) alive.delete(other);
      }
      if (range.to > (plan.memory.arenas[place.arena] ?? 0)) fail(index, `writes beyond arena ${place.arena}`);
      alive.set(node, range);
    }
  }
  for (const { node } of plan.outputs) {
    if (plan.memory.places.has(node) && !alive.has(node))
      fail(plan.kernels.length - 1, `${node} is copied out after its place was reused`);
  }
}
