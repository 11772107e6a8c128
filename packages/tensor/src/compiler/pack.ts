/**
 * Puts small kernels that do not need each other into one dispatch.
 *
 * A small kernel leaves most of a GPU idle and costs as much to launch as it takes: the updates of biases, metrics and
 * the step counter ride along with each other. A kernel may only move forward in time, to a dispatch behind everything
 * that it reads, and behind everybody who reads the state that it replaces.
 */
import { invariant } from "../errors";
import { jointArrays, jointBindings, jointWorkgroupSize, type KernelPart } from "../kernels/kernel";
import type { Tensor } from "../tensor";
import type { Step } from "./plan-memory";
import type { CompileTarget } from "./target";

/** A cluster with its kernel. */
export interface LoweredStep extends Step {
  readonly part: KernelPart;
}

/** What one dispatch runs. */
export interface Pack extends Step {
  readonly parts: readonly KernelPart[];
}

/** Memory traffic and arithmetic of a kernel that does not fill a GPU for much longer than a launch takes. */
export const smallBytes = 2 ** 23;
export const smallFlops = 2 ** 27;

/** Characters of a kernel's statements: drivers take more than linear time to compile them. */
const longestText = 16_000;

const canShare = ({ statements, slots }: KernelPart): boolean =>
  statements.declarations === undefined && slots.every(({ segments }) => segments === undefined);

const isSmall = (part: KernelPart): boolean => part.bytes <= smallBytes && part.flops <= smallFlops && canShare(part);

/**
 * On GPUs, large kernels take small ones with them, which fill the machine as it runs empty. On CPUs nothing runs empty,
 * and a launch costs little.
 */
const canHost = (part: KernelPart, target: CompileTarget): boolean => !target.isSoftware && canShare(part);

/**
 * @param steps in an order in which every one comes behind what it reads, and behind who reads what it replaces; kernels
 *   over segments may stand anywhere.
 * @param crosses can one kernel not read and write these? They will lie in one buffer.
 */
export function packSteps(
  steps: readonly LoweredStep[],
  inPlace: ReadonlyMap<Tensor, Tensor>,
  target: CompileTarget,
  crosses: (reads: readonly Tensor[], writes: readonly Tensor[]) => boolean,
): Pack[] {
  const packs: { parts: KernelPart[]; reads: Set<Tensor>; writes: Tensor[]; readonly isOpen: boolean }[] = [];
  const writtenBy = new Map<Tensor, number>();
  const lastReader = new Map<Tensor, number>();
  const isPacking = !target.without?.includes("pack");
  for (const { part, reads, writes } of isPacking ? smallOnesLast(steps, inPlace) : steps) {
    const behind = [
      ...reads.map((node) => writtenBy.get(node) ?? -1),
      ...replaced({ writes }, inPlace).map((leaf) => lastReader.get(leaf) ?? -1),
    ];
    const earliest = Math.max(0, ...behind.map((index) => index + 1));
    const isOpen = isPacking && (isSmall(part) || canHost(part, target));
    let index =
      isPacking && isSmall(part)
        ? packs.findIndex(
            (pack, at) =>
              at >= earliest &&
              pack.isOpen &&
              fits(pack.parts, part, target) &&
              !crosses([...pack.reads, ...reads], [...pack.writes, ...writes]),
          )
        : -1;
    if (index < 0) index = packs.push({ parts: [], reads: new Set(), writes: [], isOpen }) - 1;
    const pack = packs[index] as (typeof packs)[0];
    pack.parts.push(part);
    pack.writes.push(...writes);
    for (const node of reads) {
      pack.reads.add(node);
      lastReader.set(node, Math.max(index, lastReader.get(node) ?? 0));
    }
    for (const node of writes) writtenBy.set(node, index);
  }
  return packs.map(({ parts, reads, writes }) => ({ parts, reads: [...reads], writes }));
}

/** The leaves whose memory a step takes over. */
const replaced = ({ writes }: Pick<Step, "writes">, inPlace: ReadonlyMap<Tensor, Tensor>): Tensor[] =>
  writes.flatMap((node) => inPlace.get(node) ?? []);

/**
 * Large kernels as soon as they can run, in their order, and small ones when no large one can: then several of them can.
 */
function smallOnesLast(steps: readonly LoweredStep[], inPlace: ReadonlyMap<Tensor, Tensor>): LoweredStep[] {
  const order = inOrder(steps, inPlace, ({ part }) => isSmall(part));
  invariant(order, "steps come behind what they wait for");
  return order;
}

/**
 * An order in which every step comes behind what it reads, and behind who reads what it replaces: the given one as far as
 * that goes, and what can wait after what cannot. Undefined if steps wait for each other.
 */
export function inOrder<S extends Step>(
  steps: readonly S[],
  inPlace: ReadonlyMap<Tensor, Tensor>,
  canWait: (step: S) => boolean,
): S[] | undefined {
  const writer = new Map(steps.flatMap((step) => step.writes.map((node) => [node, step] as const)));
  const readers = new Map<Tensor, S[]>();
  for (const step of steps) for (const node of step.reads) readers.set(node, [...(readers.get(node) ?? []), step]);
  const waitsFor = new Map(
    steps.map((step) => {
      const producers = step.reads.flatMap((node) => writer.get(node) ?? []);
      const formerReaders = replaced(step, inPlace).flatMap((leaf) => readers.get(leaf) ?? []);
      return [step, new Set([...producers, ...formerReaders].filter((other) => other !== step))] as const;
    }),
  );
  const order: S[] = [];
  const done = new Set<S>();
  while (order.length < steps.length) {
    const ready = steps.filter(
      (step) => !done.has(step) && [...(waitsFor.get(step) as Set<S>)].every((other) => done.has(other)),
    );
    if (ready.length === 0) return undefined;
    const large = ready.find((step) => !canWait(step));
    for (const step of large === undefined ? ready : [large]) {
      order.push(step);
      done.add(step);
    }
  }
  return order;
}

function fits(parts: readonly KernelPart[], part: KernelPart, target: CompileTarget): boolean {
  const all = [...parts, part];
  return (
    jointWorkgroupSize(all) !== undefined &&
    jointArrays(all).bytes <= target.maxWorkgroupBytes &&
    jointBindings(all).length <= target.maxBindings &&
    all.reduce((sum, { statements }) => sum + statements.body.length, 0) <= longestText
  );
}
