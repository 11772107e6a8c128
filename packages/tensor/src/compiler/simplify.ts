import { describeParams, withoutAliases } from "../graph/signature";
import { topologicalOrder, usersOf } from "../graph/visit";
import { loweringOf } from "../primitives/definition";
import { apply, full, type Tensor } from "../tensor";
import { variableIndex } from "../view";
import { batchIntoContraction, narrowContraction, unwindowContraction } from "./rewrites/contraction";
import { productsOfPairs, sumOfSquaredProducts } from "./rewrites/outer-product";
import { mergeReductions, reducePermuted } from "./rewrites/reduction";
import { gramOfWindows, sumOfWindows } from "./rewrites/windows";
import type { CompileTarget } from "./target";

/**
 * An equivalent of one node whose inputs are simple, or undefined to leave it as it is.
 *
 * @param users how often each node is read, as far as that is known.
 */
export type Rewrite = (
  node: Tensor,
  users: ReadonlyMap<Tensor, readonly Tensor[]>,
  target: CompileTarget,
) => Tensor | undefined;

/** Without these there are nodes that no kernel computes. */
const necessary: readonly Rewrite[] = [expandComposite, emptyToConstant];

/** In this order; after a rewrite fires, its result is simplified from the start. */
const rewrites: readonly Rewrite[] = [
  expandComposite,
  emptyToConstant,
  foldConstants,
  dropNeutralOperand,
  mergeMovements,
  reducePermuted,
  sumOfSquaredProducts,
  productsOfPairs,
  gramOfWindows,
  sumOfWindows,
  batchIntoContraction,
  mergeReductions,
  unwindowContraction,
];

/**
 * An equivalent graph without aliases, composites, equal subexpressions, operations on constants and on empty tensors,
 * with contractions and reductions in the forms that kernels read through views.
 *
 * @returns the simple nodes that stand for `outputs`, in order.
 */
export function simplify(outputs: readonly Tensor[], target: CompileTarget): Tensor[] {
  if (target.without?.includes("rewrites")) return applyRewrites(outputs, necessary, target);
  const simple = applyRewrites(outputs, rewrites, target);
  return applyRewrites(simple, [...rewrites, narrowContraction], target);
}

/** Rebuilds a graph bottom-up until no rewrite fires; equal nodes become one. */
export function applyRewrites(outputs: readonly Tensor[], list: readonly Rewrite[], target: CompileTarget): Tensor[] {
  const users = usersOf(topologicalOrder(outputs));
  const simple = new Map<Tensor, Tensor>();
  const known = new Map<string, Tensor>();

  const unique = (node: Tensor): Tensor => {
    const inputs = node.inputs.map((input) => input.id).join();
    const key = `${node.primitive.name}(${inputs})${describeParams(node.params)}:${node.dtype}[${node.shape}]`;
    const earlier = known.get(key);
    if (earlier === undefined) known.set(key, node);
    return earlier ?? node;
  };

  const visitNode = (node: Tensor): Tensor => {
    const { kind } = node.primitive.lowering;
    if (kind === "leaf") return node;
    if (kind === "alias") return simple.get(node.inputs[0] as Tensor) as Tensor;
    const inputs = node.inputs.map((input) => simple.get(input) as Tensor);
    const changed = inputs.some((input, index) => input !== node.inputs[index]);
    const rebuilt = unique(changed ? node.rebind(inputs) : node);
    const before = simple.get(rebuilt);
    if (before !== undefined) return before;
    for (const rewrite of list) {
      const better = rewrite(rebuilt, users, target);
      if (better === undefined || better === rebuilt) continue;
      for (const input of rebuilt.inputs) simple.set(input, input);
      const result = visit(better);
      simple.set(rebuilt, result);
      return result;
    }
    simple.set(rebuilt, rebuilt);
    return rebuilt;
  };

  const visit = (root: Tensor): Tensor => {
    for (const node of unvisited(root, simple)) {
      if (!simple.has(node)) simple.set(node, visitNode(node));
    }
    return simple.get(root) as Tensor;
  };

  return outputs.map((output) => visit(withoutAliases(output)));
}

/** What `root` needs and `simple` does not have, inputs first. */
function unvisited(root: Tensor, simple: ReadonlyMap<Tensor, Tensor>): Tensor[] {
  if (simple.has(root)) return [];
  const order: Tensor[] = [];
  const seen = new Set<Tensor>([root]);
  const stack: { readonly node: Tensor; next: number }[] = [{ node: root, next: 0 }];
  for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
    const input = frame.node.inputs[frame.next++];
    if (input === undefined) {
      order.push(frame.node);
      stack.pop();
    } else if (!seen.has(input) && !simple.has(input)) {
      seen.add(input);
      stack.push({ node: input, next: 0 });
    }
  }
  return order;
}

function expandComposite(
  node: Tensor,
  _users: ReadonlyMap<Tensor, readonly Tensor[]>,
  target: CompileTarget,
): Tensor | undefined {
  return loweringOf(node, "composite")?.expand(node.inputs, node.params, target);
}

/** The value in every element, if the node is one constant. */
export function constantValue(node: Tensor): number | undefined {
  const generated = loweringOf(node, "generator")?.generate(coordinatesOf(node), node.params);
  return generated !== undefined && "value" in generated ? generated.value : undefined;
}

const coordinatesOf = (node: Tensor) =>
  node.shape.map((extent, axis) => variableIndex(`c${axis}`, 0, Math.max(0, extent - 1)));

/** What a reduction over no elements gives; extremes of nothing are refused when the graph is built. */
const emptyValues = { sum: 0, prod: 1, max: 0, min: 0, argmax: 0, argmin: 0, deviations: 0 } as const;

function emptyToConstant(node: Tensor): Tensor | undefined {
  const { kind } = node.primitive.lowering;
  if (kind === "leaf" || kind === "generator") return undefined;
  if (node.size === 0) return full(node.shape, 0, { dtype: node.dtype });
  // A loop's results do not vanish with an input: its body decides. And a barrier's other input has no elements in it.
  if (kind === "loop" || kind === "barrier" || node.inputs.every((input) => input.size > 0)) return undefined;
  const reduction = loweringOf(node, "reduction");
  if (reduction) return full(node.shape, emptyValues[reduction.combine], { dtype: node.dtype });
  return full(node.shape, loweringOf(node, "movement")?.fill(node.params) ?? 0, { dtype: node.dtype });
}

function foldConstants(node: Tensor): Tensor | undefined {
  const values = node.inputs.map(constantValue);
  if (values.length === 0 || !values.every((value) => value !== undefined)) return undefined;
  const movement = loweringOf(node, "movement");
  if (movement) {
    const { guards } = movement.move(coordinatesOf(node), (node.inputs[0] as Tensor).shape, node.params);
    const uniform = !guards.some(Boolean) || movement.fill(node.params) === values[0];
    return uniform ? full(node.shape, values[0] as number, { dtype: node.dtype }) : undefined;
  }
  if (!loweringOf(node, "elementwise")) return undefined;
  const scalars = node.inputs.map((input, index) => ({
    shape: [],
    dtype: input.dtype,
    values: Float64Array.of(values[index] as number),
  }));
  const result = node.primitive.reference(scalars, node.params, { shape: [], dtype: node.dtype });
  return full(node.shape, result.values[0] as number, { dtype: node.dtype });
}

function dropNeutralOperand(node: Tensor): Tensor | undefined {
  const neutral = loweringOf(node, "elementwise")?.neutral;
  if (neutral === undefined) return undefined;
  const [left, right] = node.inputs as [Tensor, Tensor];
  if (neutral.right !== undefined && constantValue(right) === neutral.right) return left;
  if (neutral.left !== undefined && constantValue(left) === neutral.left) return right;
  return undefined;
}

/** Two movements of one kind are one; a movement that changes nothing is none. */
function mergeMovements(node: Tensor): Tensor | undefined {
  const movement = loweringOf(node, "movement");
  if (movement === undefined) return undefined;
  const input = node.inputs[0] as Tensor;
  if (movement.isIdentity?.(node.params, input.shape)) return input;
  if (movement.merge === undefined || input.primitive !== node.primitive) return undefined;
  return apply(node.primitive, input.inputs, movement.merge(input.params, node.params));
}
