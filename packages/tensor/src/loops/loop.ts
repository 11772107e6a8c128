/**
 * A loop: a graph that is run several times, each time on the carry that the time before left and on one element of
 * everything that is stacked.
 *
 * The body is a graph over placeholders, traced once. What it uses from outside is an input like any other, so that
 * derivatives and batching see it. Every result of a loop is a node of its own over the same inputs (see primitive.ts);
 * nodes of equal loops on equal inputs are computed together. Any value of the body can be a result, stacked over the
 * iterations: this is how derivatives get what they need of the forward loop without running it twice.
 */
import { invariant } from "../errors";
import { describeParams } from "../graph/signature";
import { topologicalOrder } from "../graph/visit";
import { loweringOf } from "../primitives/definition";
import { placeholder, type Tensor } from "../tensor";

/** Which value of a loop a node is. */
export type LoopResult =
  /** A carry after the last iteration. */
  | { readonly kind: "carry"; readonly index: number }
  /** A value of the body, by its number in {@link Loop.values}, of all iterations: stacked along a new first axis. */
  | { readonly kind: "stack"; readonly value: number };

export interface LoopBody {
  readonly length: number;
  /** Runs from the last element of what is stacked to the first one. */
  readonly reverse: boolean;
  /** Placeholders of the body: carries, one element of each stacked input, and what is the same in all iterations. */
  readonly carries: readonly Tensor[];
  readonly elements: readonly Tensor[];
  readonly constants: readonly Tensor[];
  /** The carries for the next iteration. */
  readonly next: readonly Tensor[];
  /** Further values of the body that can be results. */
  readonly others: readonly Tensor[];
}

export class Loop {
  readonly body: LoopBody;
  /** All values of the body, inputs first. */
  readonly values: readonly Tensor[];
  readonly #numbers: ReadonlyMap<Tensor, number>;
  #signature: string | undefined;

  constructor(body: LoopBody) {
    this.body = body;
    const { carries, elements, constants, next, others } = body;
    this.values = topologicalOrder([...carries, ...elements, ...constants, ...next, ...others]);
    this.#numbers = new Map(this.values.map((value, number) => [value, number]));
  }

  /** The result that stacks a value of the body. */
  stackOf(value: Tensor): LoopResult {
    const number = this.#numbers.get(value);
    invariant(number !== undefined, "a value of the body");
    return { kind: "stack", value: number as number };
  }

  /** The value in one iteration that a result is made of. */
  valueOf(result: LoopResult): Tensor {
    return (result.kind === "carry" ? this.body.next[result.index] : this.values[result.value]) as Tensor;
  }

  /** What stands for the loop in keys of structure: equal exactly for loops that compute the same. */
  toJSON(): string {
    this.#signature ??= intern(this.#describe());
    return this.#signature;
  }

  #describe(): string {
    const { length, reverse, carries, elements, constants, next } = this.body;
    const given = carries.length + elements.length + constants.length;
    const lines = this.values.map((value, number) => {
      const inputs = value.inputs.map((input) => this.#numbers.get(input)).join();
      const what = number < given ? "input" : `${value.primitive.name}(${inputs})${describeParams(value.params)}`;
      return `${what}:${value.dtype}[${value.shape}]`;
    });
    const roles = [carries.length, elements.length, constants.length].join();
    const after = next.map((value) => this.#numbers.get(value)).join();
    return [`${length} ${reverse} ${roles} to ${after}`, ...lines].join("\n");
  }
}

/** Texts of bodies are long and parts of many keys: each gets a short name, the same for the same text. */
const interned = new Map<string, string>();

function intern(text: string): string {
  const known = interned.get(text) ?? `loop ${interned.size}`;
  interned.set(text, known);
  return known;
}

/** The graph once more with some nodes replaced; what does not depend on them is shared. */
export function substitute(outputs: readonly Tensor[], replacements: ReadonlyMap<Tensor, Tensor>): Tensor[] {
  if (replacements.size === 0) return [...outputs];
  const made = new Map(replacements);
  const seen = new Set<Tensor>(replacements.keys());
  const pending = [...outputs];
  const order: Tensor[] = [];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    order.push(node);
    pending.push(...node.inputs);
  }
  // In the order of creation, which keeps results of one computation together.
  for (const node of order.sort((a, b) => a.id - b.id)) {
    const inputs = node.inputs.map((input) => made.get(input) ?? input);
    const changed = inputs.some((input, index) => input !== node.inputs[index]);
    if (changed) made.set(node, node.rebind(inputs));
  }
  return outputs.map((output) => made.get(output) ?? output);
}

/** A loop with the values of its inputs: carries, stacked ones, constants. */
export interface BoundLoop {
  readonly loop: Loop;
  readonly inputs: readonly Tensor[];
}

export interface LoopParts {
  readonly length: number;
  readonly reverse: boolean;
  readonly carries: readonly { readonly placeholder: Tensor; readonly start: Tensor; readonly next: Tensor }[];
  readonly elements: readonly { readonly placeholder: Tensor; readonly stacked: Tensor }[];
  /** Placeholders of constants that the body already has, with their values. */
  readonly constants?: ReadonlyMap<Tensor, Tensor>;
  /** Values inside that elements stand for. */
  readonly replaced?: ReadonlyMap<Tensor, Tensor>;
  readonly others: readonly Tensor[];
}

/**
 * Closes a body: whatever in it depends neither on a carry nor on an element is computed once, outside, and becomes an
 * input. Generated values stay inside, where they cost nothing.
 *
 * @returns the loop, and the values that stand for `others` in it.
 */
export function closeLoop(parts: LoopParts): BoundLoop & { readonly others: readonly Tensor[] } {
  const { length, reverse, carries, elements } = parts;
  const open = [...carries.map((carry) => carry.next), ...parts.others];
  const placeholders = [...carries, ...elements].map((part) => part.placeholder);
  const closed = closeGraph(placeholders, substitute(open, parts.replaced ?? new Map()), parts.constants);
  const loop = new Loop({
    length,
    reverse,
    carries: carries.map((carry) => carry.placeholder),
    elements: elements.map((element) => element.placeholder),
    constants: closed.constants,
    next: closed.outputs.slice(0, carries.length),
    others: closed.outputs.slice(carries.length),
  });
  return {
    loop,
    inputs: [...carries.map(({ start }) => start), ...elements.map(({ stacked }) => stacked), ...closed.values],
    others: loop.body.others,
  };
}

/** A graph over placeholders only. */
export interface ClosedGraph {
  readonly outputs: readonly Tensor[];
  /** Placeholders for what the graph uses from outside, and what they stand for. */
  readonly constants: readonly Tensor[];
  readonly values: readonly Tensor[];
}

/**
 * Makes placeholders of whatever a traced graph uses that does not depend on its arguments. Generated values stay inside.
 *
 * @param known placeholders of such values that the graph already has.
 */
export function closeGraph(
  placeholders: readonly Tensor[],
  outputs: readonly Tensor[],
  known: ReadonlyMap<Tensor, Tensor> = new Map(),
): ClosedGraph {
  const varying = new Set(placeholders);
  const oldest = Math.min(...[...placeholders, ...known.keys()].map(({ id }) => id), Number.POSITIVE_INFINITY);
  for (const node of orderAfter(outputs, oldest, varying)) {
    if (node.inputs.some((input) => varying.has(input))) varying.add(node);
  }
  const wanted = new Set(outputs.filter((root) => !varying.has(root)));
  for (const node of varying) for (const input of node.inputs) if (!varying.has(input)) wanted.add(input);
  const closed = [...wanted].filter((node) => !isGenerated(node)).sort((a, b) => a.id - b.id);
  const constants = closed.map((node) => (known.has(node) ? node : placeholder(node.shape, node.dtype)));
  const replaced = new Map(
    closed.flatMap((node, index) => (known.has(node) ? [] : [[node, constants[index] as Tensor] as const])),
  );
  return { outputs: substitute(outputs, replaced), constants, values: substitute(closed, known) };
}

/** What `roots` need and that is not older than the body, inputs first; what is older cannot depend on it. */
function orderAfter(roots: readonly Tensor[], oldest: number, known: ReadonlySet<Tensor>): Tensor[] {
  const seen = new Set<Tensor>();
  const pending = [...roots];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (node.id < oldest || seen.has(node) || known.has(node)) continue;
    seen.add(node);
    pending.push(...node.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** A view of generated values. */
function isGenerated(node: Tensor): boolean {
  let found = node;
  while (loweringOf(found, "movement") || loweringOf(found, "alias")) found = found.inputs[0] as Tensor;
  return loweringOf(found, "generator") !== undefined;
}
