/**
 * Rewrites of reductions over views:
 *
 * - of a permuted tensor:  reduce(permute(x))         = permute(reduce(x)), so that reductions meet what they read
 * - of a reduction:        sum(sum(x))                = sum(x) over both sets of axes
 * - of a moved reduction:  sum(move(sum(x)))          = sum(move(x)): one pass instead of two with a tensor between
 */
import { loweringOf, type Primitive } from "../../primitives/definition";
import { permute } from "../../primitives/movement";
import { withoutAxes } from "../../shape";
import { apply, type Tensor } from "../../tensor";
import type { Rewrite } from "../simplify";

interface ReduceParams {
  readonly axes: readonly number[];
}

export const reducePermuted: Rewrite = (node) => {
  if (loweringOf(node, "reduction") === undefined) return undefined;
  const input = node.inputs[0] as Tensor;
  if (input.primitive !== (permute as Primitive)) return undefined;
  const { axes } = node.params as ReduceParams;
  const order = (input.params as { axes: readonly number[] }).axes;
  const reduced = axes.map((axis) => order[axis] as number);
  // Positions are counted along one axis, in its order; sums over several axes have no order that matters.
  const result = apply(node.primitive, input.inputs, { axes: [...reduced].sort((a, b) => a - b) });
  const kept = order.filter((axis) => !reduced.includes(axis));
  const ascending = [...kept].sort((a, b) => a - b);
  return result.permute(kept.map((axis) => ascending.indexOf(axis)));
};

/** Combining combinations: these are associative and commutative over any grouping of elements. */
const mergeable = new Set(["sum", "prod", "max", "min"]);

export const mergeReductions: Rewrite = (node) => {
  const outer = loweringOf(node, "reduction");
  if (outer === undefined || !mergeable.has(outer.combine)) return undefined;
  const input = node.inputs[0] as Tensor;
  const { axes } = node.params as ReduceParams;
  const direct = loweringOf(input, "reduction");
  if (direct?.combine === outer.combine) {
    const inner = (input.params as ReduceParams).axes;
    const source = input.inputs[0] as Tensor;
    const kept = withoutAxes(
      source.shape.map((_, axis) => axis),
      inner,
    );
    const all = [...inner, ...axes.map((axis) => kept[axis] as number)].sort((a, b) => a - b);
    return apply(node.primitive, [source], { axes: all });
  }
  return outer.combine === "sum" ? throughMovement(node, input, axes) : undefined;
};

/** A gather-form view (one that can give its fill) is cheap to read again; others would repeat the inner sum's work. */
function throughMovement(node: Tensor, input: Tensor, axes: readonly number[]): Tensor | undefined {
  const movement = loweringOf(input, "movement");
  const inner = input.inputs[0];
  if (movement === undefined || inner === undefined || loweringOf(inner, "reduction")?.combine !== "sum")
    return undefined;
  if (movement.fill(input.params) !== 0 || movement.merge !== undefined) return undefined;
  if (input.size > 4 * inner.size || input.size < inner.size) return undefined;
  const source = inner.inputs[0] as Tensor;
  if (loweringOf(source, "contraction")) return undefined;
  const reduced = (inner.params as ReduceParams).axes;
  const kept = source.shape.map((_, axis) => axis).filter((axis) => !reduced.includes(axis));
  const front = source.permute([...reduced, ...kept]);
  const params = reduced.reduceRight(
    (own: unknown, axis) => movement.batchParams(own, source.shape[axis] as number),
    input.params,
  );
  const moved = apply(input.primitive, [front], params);
  const count = reduced.length;
  return apply(node.primitive, [moved], {
    axes: [...reduced.map((_, index) => index), ...axes.map((axis) => axis + count)],
  });
}
