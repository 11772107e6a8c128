/**
 * Makes loops ready for planning.
 *
 * Results of equal loops on equal inputs become one loop, of which only what somebody reads is computed. Its body goes
 * through the same passes as any graph. One element of a stacked input is a view of it, at an index with the number of
 * the iteration as a variable (`iteration0` is that of the outermost loop); views of inputs move into the body, where
 * they cost nothing. Carries start in memory of their own, which is replaced in every iteration: in place if the order
 * of the body's kernels allows it, otherwise by turns with a second place.
 */

import { ThalwegError, UnsupportedError } from "../errors";
import { withoutAliases } from "../graph/signature";
import { topologicalOrder } from "../graph/visit";
import { type Loop, substitute } from "../loops/loop";
import type { LoopParams } from "../loops/primitive";
import { type Aval, loweringOf, type Primitive } from "../primitives/definition";
import { reshape } from "../primitives/movement";
import { apply, placeholder, type Tensor } from "../tensor";
import { addIndex, constantIndex, type Index, scaleIndex, variableIndex } from "../view";
import type { Cluster, Fusion } from "./fuse";

/** Loops inside of each other, at most: each takes one binding of the iteration's number. */
export const deepestLoop = 4;

/** A carry of a loop that is being compiled. */
export interface CompiledCarry {
  /** The node outside that writes the memory before the first iteration. */
  readonly start: Tensor;
  /** The carry in the body. */
  readonly leaf: Tensor;
  /** Its value for the next iteration. */
  readonly next: Tensor;
  /** Its value after the last iteration, outside; undefined if nobody reads it. */
  readonly last: Tensor | undefined;
  /** Its value comes back to where it started: it is replaced in place, or by turns an even number of times. */
  readonly returns: boolean;
}

export interface CompiledLoop {
  readonly length: number;
  readonly level: number;
  readonly carries: readonly CompiledCarry[];
  /** What the body reads of outside. */
  readonly bases: readonly { readonly leaf: Tensor; readonly base: Tensor }[];
  /** Results of the body that are written at the iteration's place in a stacked result. */
  readonly stacks: readonly { readonly inside: Tensor; readonly stacked: Tensor }[];
  /** Where in the stacked result the iteration's part begins. */
  offset(inside: Tensor): Index;
  /** The body: carries for the next iteration, then what is stacked. */
  readonly body: PlannedGraph;
}

/** What the body of a loop goes through. */
export interface BodyCompiler {
  simplify(outputs: readonly Tensor[]): readonly Tensor[];
  plan(graph: PreparedGraph, replaces: readonly (Tensor | undefined)[]): PlannedGraph;
}

/** A graph with the order of its kernels and loops. */
export interface PlannedGraph {
  readonly order: readonly Cluster[];
  /** Results that are computed in the memory of a leaf. */
  readonly inPlace: ReadonlyMap<Tensor, Tensor>;
  readonly fusion: Fusion;
}

/** A graph whose loops are compiled. */
export interface PreparedGraph {
  readonly outputs: readonly Tensor[];
  /** What loops need in memory. */
  readonly stored: readonly Tensor[];
}

interface CompiledParams {
  readonly loop: CompiledLoop;
  /** Position among the results of the loop. */
  readonly index: number;
}

const onlyInPlans = (name: string) => (): never => {
  throw new ThalwegError("internal", `${name} exists in plans only: no rule of it is ever asked for.`);
};

/** The element of a stacked input in an iteration. */
const iterationSlice: Primitive<{
  readonly level: number;
  readonly reverse: boolean;
  readonly axis: number;
}> = {
  name: "iteration",
  shape: ([input], { axis }) => ({
    shape: (input as Aval).shape.filter((_, own) => own !== axis),
    dtype: (input as Aval).dtype,
  }),
  lowering: {
    kind: "movement",
    move: (output, inputShape, { level, reverse, axis }) => ({
      coordinates: [
        ...output.slice(0, axis),
        iterationIndex(level, inputShape[axis] as number, reverse),
        ...output.slice(axis),
      ],
      guards: [],
    }),
    fill: () => 0,
    batchParams: (params) => ({ ...params, axis: params.axis + 1 }),
  },
  reference: onlyInPlans("iteration"),
  vjp: onlyInPlans("iteration"),
  jvp: onlyInPlans("iteration"),
  batch: onlyInPlans("iteration"),
  sample: onlyInPlans("iteration"),
};

/** A result of a compiled loop. Inputs: what the loop reads and where its carries start. */
const compiledResult: Primitive<CompiledParams & { readonly like: Tensor }> = {
  name: "scan",
  shape: (_inputs, { like }) => ({ shape: like.shape, dtype: like.dtype }),
  lowering: { kind: "loop" },
  reference: onlyInPlans("a compiled loop"),
  vjp: onlyInPlans("a compiled loop"),
  jvp: onlyInPlans("a compiled loop"),
  batch: onlyInPlans("a compiled loop"),
  sample: onlyInPlans("a compiled loop"),
};

/** The loop that a node is a result of, in graphs that {@link prepareLoops} made. */
export const compiledLoop = (node: Tensor): CompiledLoop | undefined =>
  loweringOf(node, "loop") && (node.params as CompiledParams).loop;

/** The variable that stands for the number of an iteration. */
const iterationName = (level: number): string => `iteration${level}`;

/** The names of such variables in a text. */
export const iterationNames = /\biteration(\d)\b/g;

/** The position along a stacked axis that an iteration works on. */
function iterationIndex(level: number, length: number, reverse: boolean): Index {
  const iteration = variableIndex(iterationName(level), 0, length - 1);
  return reverse ? addIndex(constantIndex(length - 1), scaleIndex(iteration, -1)) : iteration;
}

const copyOf = (node: Tensor): Tensor => apply(reshape as Primitive, [node], { shape: node.shape });

/**
 * The graph with every loop in its compiled form.
 *
 * @param replaces for every output, the leaf whose memory it takes over, if any.
 * @param level of the loops in this graph: how many loops the graph itself is in.
 */
export function prepareLoops(
  outputs: readonly Tensor[],
  replaces: readonly (Tensor | undefined)[],
  level: number,
  compiler: BodyCompiler,
): PreparedGraph {
  const order = topologicalOrder(outputs);
  const groups = new Map<string, Tensor[]>();
  const keyOf = (node: Tensor) =>
    `${(node.params as LoopParams).loop.toJSON()}(${node.inputs.map(({ id }) => id).join()})`;
  for (const node of order) {
    if (loweringOf(node, "loop") === undefined) continue;
    const key = keyOf(node);
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  if (groups.size === 0) return { outputs, stored: [] };
  if (level >= deepestLoop) {
    throw new UnsupportedError(
      `scan: loops are nested more than ${deepestLoop} deep. Unroll the innermost one, or vmap over it.`,
    );
  }
  const made = new Map<Tensor, Tensor>();
  const stored: Tensor[] = [];
  for (const node of order) {
    if (made.has(node)) continue;
    const inputs = node.inputs.map((input) => made.get(input) as Tensor);
    if (loweringOf(node, "loop") !== undefined) {
      const group = groups.get(keyOf(node)) as Tensor[];
      const canStartIn = (index: number): boolean => mayTakeOver(group, index, order, outputs, replaces);
      const { results, reads } = compileLoop(group, inputs, level, compiler, canStartIn);
      for (const [index, own] of group.entries()) made.set(own, results[index] as Tensor);
      stored.push(...reads.filter((read) => !loweringOf(read, "leaf")));
      continue;
    }
    const changed = inputs.some((input, index) => input !== node.inputs[index]);
    made.set(node, changed ? node.rebind(inputs) : node);
  }
  return { outputs: outputs.map((output) => made.get(output) as Tensor), stored };
}

/** May a carry live in the memory of the leaf that it starts from? Its last value replaces the leaf, which nobody else reads. */
function mayTakeOver(
  group: readonly Tensor[],
  carry: number,
  order: readonly Tensor[],
  outputs: readonly Tensor[],
  replaces: readonly (Tensor | undefined)[],
): boolean {
  const leaf = group[0]?.inputs[carry] as Tensor;
  const place = replaces.indexOf(leaf);
  const result = outputs[place];
  if (place < 0 || result === undefined || !group.includes(result) || outputs.includes(leaf)) return false;
  const which = (result.params as LoopParams).result;
  const isLast =
    which.kind === "carry" && which.index === carry && outputs.indexOf(result) === outputs.lastIndexOf(result);
  const others = order.filter((node) => !group.includes(node) && node.inputs.includes(leaf));
  return isLast && others.length === 0 && group[0]?.inputs.filter((input) => input === leaf).length === 1;
}

function compileLoop(
  group: readonly Tensor[],
  inputs: readonly Tensor[],
  level: number,
  compiler: BodyCompiler,
  canStartIn: (carry: number) => boolean,
): { readonly results: readonly Tensor[]; readonly reads: readonly Tensor[] } {
  const { loop } = (group[0] as Tensor).params as LoopParams;
  const { length, reverse, carries, elements, constants, next } = loop.body;
  const wanted = group.map(({ params }) => (params as LoopParams).result);
  const used = usedCarries(loop, wanted);
  const isFixed = (index: number) => withoutAliases(next[index] as Tensor) === carries[index];
  const moving = used.filter((index) => !isFixed(index));

  const leaves = new Map<Tensor, Tensor>();
  const inside = new Map<Tensor, Tensor>();
  /** What an input is in the body: the views of it that cost nothing, on a leaf that stands for what is in memory. */
  const sink = (node: Tensor): Tensor => {
    const known = inside.get(node);
    if (known !== undefined) return known;
    const { kind } = node.primitive.lowering;
    let result: Tensor;
    if (kind === "generator") result = node;
    else if (kind === "movement" || kind === "barrier") result = node.rebind(node.inputs.map(sink));
    else {
      result = placeholder(node.shape, node.dtype);
      leaves.set(result, node);
    }
    inside.set(node, result);
    return result;
  };
  const replacements = new Map<Tensor, Tensor>();
  for (const [index, carry] of carries.entries()) {
    if (moving.includes(index)) replacements.set(carry, placeholder(carry.shape, carry.dtype));
    else if (used.includes(index)) replacements.set(carry, sink(inputs[index] as Tensor));
  }
  for (const [index, element] of elements.entries()) {
    const stacked = sink(inputs[carries.length + index] as Tensor);
    replacements.set(element, apply(iterationSlice as Primitive, [stacked], { level, reverse, axis: 0 }));
  }
  for (const [index, constant] of constants.entries()) {
    replacements.set(constant, sink(inputs[carries.length + elements.length + index] as Tensor));
  }

  const stackResults = wanted.flatMap((result, index) => (result.kind === "stack" ? [{ result, index }] : []));
  const open = substitute(
    [...moving.map((index) => next[index] as Tensor), ...stackResults.map(({ result }) => loop.valueOf(result))],
    replacements,
  );
  const carryLeaves = moving.map((index) => replacements.get(carries[index] as Tensor) as Tensor);
  const inner = prepareLoops(compiler.simplify(open), carryLeaves, level + 1, compiler);
  const outputs = withOwnNodes(inner.outputs, carryLeaves);
  const body = compiler.plan({ outputs, stored: inner.stored }, carryLeaves);
  const read = new Set(topologicalOrder([...outputs, ...inner.stored]));
  const bases = [...leaves].flatMap(([leaf, base]) => (read.has(leaf) ? [{ leaf, base }] : []));
  const returns = carryLeaves.map((leaf, position) => {
    return body.inPlace.get(outputs[position] as Tensor) === leaf || length % 2 === 0;
  });
  const starts = moving.map((index, position) => {
    const start = inputs[index] as Tensor;
    return returns[position] && canStartIn(index) ? start : copyOf(start);
  });
  const reads = [...starts, ...bases.map(({ base }) => base)];

  const parts: { carries: CompiledCarry[]; stacks: { inside: Tensor; stacked: Tensor }[] } = {
    carries: [],
    stacks: [],
  };
  const compiled: CompiledLoop = {
    length,
    level,
    bases,
    ...parts,
    body,
    offset: (own) => scaleIndex(iterationIndex(level, length, reverse), own.size),
  };
  const results = group.map((like, index): Tensor => {
    const result = wanted[index] as LoopParams["result"];
    if (result.kind === "carry" && isFixed(result.index)) return inputs[result.index] as Tensor;
    return apply(compiledResult as Primitive, reads, { loop: compiled, index, like });
  });
  for (const [position, index] of moving.entries()) {
    const last = wanted.findIndex((result) => result.kind === "carry" && result.index === index);
    parts.carries.push({
      start: starts[position] as Tensor,
      leaf: carryLeaves[position] as Tensor,
      next: outputs[position] as Tensor,
      last: last < 0 ? undefined : (results[last] as Tensor),
      returns: returns[position] as boolean,
    });
  }
  for (const [position, { index }] of stackResults.entries()) {
    parts.stacks.push({ inside: outputs[moving.length + position] as Tensor, stacked: results[index] as Tensor });
  }
  const isEmpty = moving.length === 0 && stackResults.length === 0;
  return { results, reads: isEmpty ? [] : reads };
}

/** The leaf in whose memory a result of a loop lies from the start, if that is so. */
export function startedIn(node: Tensor): Tensor | undefined {
  const start = compiledLoop(node)?.carries.find(({ last }) => last === node)?.start;
  return start && loweringOf(start, "leaf") ? start : undefined;
}

/** The carries that the wanted results depend on, in any iteration. */
function usedCarries(loop: Loop, wanted: readonly LoopParams["result"][]): number[] {
  const { carries, next } = loop.body;
  const used = new Set<number>(wanted.flatMap((result) => (result.kind === "carry" ? [result.index] : [])));
  const roots = wanted.map((result) => loop.valueOf(result));
  for (let before = -1; before !== used.size; ) {
    before = used.size;
    const reached = new Set(topologicalOrder([...roots, ...[...used].map((index) => next[index] as Tensor)]));
    for (const [index, carry] of carries.entries()) if (reached.has(carry)) used.add(index);
  }
  return [...used].sort((a, b) => a - b);
}

/**
 * Gives every result of a body a node of its own, which is computed and not a view of something else: it has a place in
 * memory of its own. What is stacked always gets one, because the value itself may be read in the same iteration.
 */
function withOwnNodes(nodes: readonly Tensor[], leaves: readonly Tensor[]): Tensor[] {
  const seen = new Set<Tensor>();
  return nodes.map((node, index) => {
    const isOwn = index < leaves.length && !seen.has(node) && hasOwnPlace(node, leaves[index] as Tensor);
    seen.add(node);
    return isOwn ? node : copyOf(node);
  });
}

function hasOwnPlace(node: Tensor, leaf: Tensor): boolean {
  const { kind } = node.primitive.lowering;
  if (kind === "loop") return startedIn(node) === leaf;
  return kind !== "leaf" && kind !== "generator" && kind !== "movement" && kind !== "barrier";
}
