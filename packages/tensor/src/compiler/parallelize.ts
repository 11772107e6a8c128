/**
 * Gives long sums with few results more parallel work, and bounds the length of every serial sum.
 *
 * A reduction or contraction over K terms becomes S of K / S terms and one over the S partial results. Both are
 * ordinary nodes, so the order of the terms is fixed, and results repeat bit for bit.
 */
import { topologicalOrder } from "../graph/visit";
import { loweringOf } from "../primitives/definition";
import type { DotParams } from "../primitives/dot";
import { sizeOf, withoutAxes } from "../shape";
import { apply, type Tensor } from "../tensor";
import type { CompileTarget } from "./target";

/** Longest serial sum: the rounding error of f32 grows with it. */
const longestSum = 4096;
/** Terms of a part at least: below, a second kernel costs more than the parallel work gains. */
const shortestSum = 128;

export function parallelize(outputs: readonly Tensor[], target: CompileTarget): Tensor[] {
  const replaced = new Map<Tensor, Tensor>();
  for (const node of topologicalOrder(outputs)) {
    const inputs = node.inputs.map((input) => replaced.get(input) as Tensor);
    const own = inputs.some((input, index) => input !== node.inputs[index]) ? node.rebind(inputs) : node;
    replaced.set(node, split(own, target) ?? own);
  }
  return outputs.map((output) => replaced.get(output) as Tensor);
}

/** Partial results of halves are kept in f32: halves are storage only. */
function split(node: Tensor, target: CompileTarget): Tensor | undefined {
  const { kind } = node.primitive.lowering;
  if (kind !== "reduction" && kind !== "contraction") return undefined;
  const wide = node.dtype === "f16" ? node.rebind(node.inputs.map((input) => input.cast("f32"))) : node;
  const result = splitReduction(wide, target) ?? splitContraction(wide, target);
  return result?.cast(node.dtype);
}

/** How many parts: enough invocations, bounded sums, no crumbs. */
function partsFor(results: number, terms: number, target: CompileTarget): number {
  const wanted = Math.max(Math.ceil(target.invocations / Math.max(1, results)), Math.ceil(terms / longestSum));
  return Math.min(wanted, Math.floor(terms / shortestSum));
}

const splittable = new Set(["sum", "prod", "max", "min"]);

function splitReduction(node: Tensor, target: CompileTarget): Tensor | undefined {
  const reduction = loweringOf(node, "reduction");
  if (reduction === undefined || !splittable.has(reduction.combine)) return undefined;
  const input = node.inputs[0] as Tensor;
  const axes = reduction.axes(node.params);
  const terms = sizeOf(axes.map((axis) => input.shape[axis] as number));
  const parts = partsFor(node.size, terms, target);
  if (parts <= 1) return undefined;
  const cut = chooseCut(
    axes.map((axis) => input.shape[axis] as number),
    parts,
  );
  if (cut !== undefined) {
    // The parts' axis stands before the axis that it cuts; whole axes before that one are parts too.
    const axis = axes[cut.position] as number;
    const whole = axes.slice(0, cut.position);
    const apart = splitAxis(input, axis, cut.parts);
    const rest = axes.slice(cut.position).map((own) => own + 1);
    const partial = apply(node.primitive, [apart], { axes: rest });
    const kept = withoutAxes(
      apart.shape.map((_, own) => own),
      rest,
    );
    return apply(node.primitive, [partial], { axes: [...whole, axis].map((own) => kept.indexOf(own)) });
  }
  if (reduction.combine !== "sum") return undefined;
  // No axis divides well: the reduced axes become one, filled up with zeros.
  const kept = input.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const keptShape = kept.map((axis) => input.shape[axis] as number);
  const length = Math.ceil(terms / parts);
  const rows = input.permute([...kept, ...axes]).reshape([...keptShape, terms]);
  const padded = rows.pad([...keptShape.map(() => [0, 0] as const), [0, parts * length - terms]]);
  return padded
    .reshape([...keptShape, parts, length])
    .sum({ axis: -1 })
    .sum({ axis: -1 });
}

/**
 * The first axes whose product, with a divisor of the last of them, is close to the number of parts wanted.
 */
function chooseCut(extents: readonly number[], parts: number): { position: number; parts: number } | undefined {
  let product = 1;
  for (const [position, extent] of extents.entries()) {
    const wanted = Math.ceil(parts / product);
    if (extent >= wanted) {
      for (let divisor = wanted; divisor <= Math.min(extent, 4 * wanted); divisor++) {
        if (extent % divisor === 0) return { position, parts: divisor };
      }
      return undefined;
    }
    product *= extent;
  }
  return undefined;
}

/** `[…, n, …]` to `[…, parts, n / parts, …]`. */
const splitAxis = (x: Tensor, axis: number, parts: number): Tensor =>
  x.reshape([...x.shape.slice(0, axis), parts, (x.shape[axis] as number) / parts, ...x.shape.slice(axis + 1)]);

function splitContraction(node: Tensor, target: CompileTarget): Tensor | undefined {
  if (loweringOf(node, "contraction") === undefined) return undefined;
  const [a, b] = node.inputs as [Tensor, Tensor];
  const { batch, contract } = node.params as DotParams;
  const extents = contract[0].map((axis) => a.shape[axis] as number);
  // One invocation computes a tile of 8 x 4 results.
  const parts = partsFor(Math.ceil(node.size / 32), sizeOf(extents), target);
  if (parts <= 1) return undefined;
  const longest = extents.indexOf(Math.max(...extents));
  const cut = chooseCut([extents[longest] as number], Math.min(parts, extents[longest] as number));
  if (cut === undefined) return undefined;
  const [axisA, axisB] = [contract[0][longest] as number, contract[1][longest] as number];
  const shift = (axis: number, inserted: number) => (axis >= inserted ? axis + 1 : axis);
  const partial = splitAxis(a, axisA, cut.parts).dot(splitAxis(b, axisB, cut.parts), {
    batch: [
      [...batch[0].map((axis) => shift(axis, axisA)), axisA],
      [...batch[1].map((axis) => shift(axis, axisB)), axisB],
    ],
    contract: [contract[0].map((axis) => shift(axis, axisA)), contract[1].map((axis) => shift(axis, axisB))],
  });
  return partial.sum({ axis: batch[0].length });
}
