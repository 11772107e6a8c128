/**
 * Gives long sums with few results more parallel work, and bounds the length of every serial sum.
 *
 * A reduction or contraction over K terms becomes S of K / S terms and one over the S partial results. Both are
 * ordinary nodes, so the order of the terms is fixed, and results repeat bit for bit. Reductions are in
 * split-reduction.ts.
 */
import { describeParams, ExpressionLines } from "../graph/signature";
import { topologicalOrder } from "../graph/visit";
import { contractionOf, isProductWithItself, problemOf } from "../kernels/contraction/operands";
import { splitFor } from "../kernels/contraction/variants";
import { loweringOf } from "../primitives/definition";
import type { DotParams } from "../primitives/dot";
import type { Tensor } from "../tensor";
import { chooseCut, longestSum, ReductionSplitter, splitAxis } from "./split-reduction";
import type { CompileTarget } from "./target";

/** Terms of a part at least: below, a second kernel costs more than the parallel work gains. */
const shortestSum = 128;

export function parallelize(outputs: readonly Tensor[], target: CompileTarget): Tensor[] {
  const replaced = new Map<Tensor, Tensor>();
  const order = topologicalOrder(outputs);
  const reductions = new ReductionSplitter(order, target);
  const partsOf = sharedParts(target);
  for (const node of order) {
    const inputs = node.inputs.map((input) => replaced.get(input) as Tensor);
    const own = inputs.some((input, index) => input !== node.inputs[index]) ? node.rebind(inputs) : node;
    replaced.set(node, split(own, node, reductions, partsOf, target) ?? own);
  }
  return outputs.map((output) => replaced.get(output) as Tensor);
}

/** Partial results of halves are kept in f32: halves are storage only. */
function split(
  node: Tensor,
  original: Tensor,
  reductions: ReductionSplitter,
  partsOf: (contraction: Tensor) => number,
  target: CompileTarget,
): Tensor | undefined {
  const { kind } = node.primitive.lowering;
  if (kind !== "reduction" && kind !== "contraction") return undefined;
  const wide = node.dtype === "f16" ? node.rebind(mapOnce(node.inputs, (input) => input.cast("f32"))) : node;
  const result = reductions.split(wide, original) ?? splitContraction(wide, partsOf, target);
  return result?.cast(node.dtype);
}

/** One tensor for one input, so that a product of an operand with itself stays one. */
function mapOnce(inputs: readonly Tensor[], f: (input: Tensor) => Tensor): Tensor[] {
  const made = new Map<Tensor, Tensor>();
  return inputs.map((input) => {
    const own = made.get(input) ?? f(input);
    made.set(input, own);
    return own;
  });
}

/** How many parts: enough invocations, bounded sums, no crumbs. */
function partsFor(results: number, terms: number, target: CompileTarget): number {
  const wanted = Math.max(Math.ceil(target.invocations / Math.max(1, results)), Math.ceil(terms / longestSum));
  return Math.min(wanted, Math.floor(terms / shortestSum));
}

function splitContraction(
  node: Tensor,
  partsOf: (contraction: Tensor) => number,
  target: CompileTarget,
): Tensor | undefined {
  if (loweringOf(node, "contraction") === undefined || target.without?.includes("parallelize")) return undefined;
  const [a, b] = node.inputs as [Tensor, Tensor];
  const { batch, contract } = node.params as DotParams;
  const extents = contract[0].map((axis) => a.shape[axis] as number);
  const parts = partsOf(node);
  if (parts <= 1) return undefined;
  // The longest axis that divides well.
  const byLength = [...extents.keys()].sort((x, y) => (extents[y] as number) - (extents[x] as number));
  const cuts = byLength.map((axis) => {
    const extent = extents[axis] as number;
    return { axis, cut: chooseCut([extent], Math.min(parts, extent)) };
  });
  const { axis: longest, cut } = cuts.find((own) => own.cut !== undefined) ?? {};
  if (longest === undefined || cut === undefined) return undefined;
  const [axisA, axisB] = [contract[0][longest] as number, contract[1][longest] as number];
  const shift = (axis: number, inserted: number) => (axis >= inserted ? axis + 1 : axis);
  const left = splitAxis(a, axisA, cut.parts);
  const right = isProductWithItself(node) ? left : splitAxis(b, axisB, cut.parts);
  const partial = left.dot(right, {
    batch: [
      [...batch[0].map((axis) => shift(axis, axisA)), axisA],
      [...batch[1].map((axis) => shift(axis, axisB)), axisB],
    ],
    contract: [contract[0].map((axis) => shift(axis, axisA)), contract[1].map((axis) => shift(axis, axisB))],
  });
  return partial.sum({ axis: batch[0].length });
}

/** {@link contractionParts}; on GPUs, where every split is tried on a draft, found once for all layers that look alike. */
function sharedParts(target: CompileTarget): (contraction: Tensor) => number {
  if (target.isSoftware) return (node) => contractionParts(node, target);
  const known = new Map<string, number>();
  return (node) => {
    const expressions = new ExpressionLines(isInMemory);
    const operands = node.inputs.map((input) => expressions.add(input));
    const key = [...expressions.lines, `(${operands})${describeParams(node.params)}:${node.dtype}`].join("\n");
    const parts = known.get(key) ?? contractionParts(node, target);
    known.set(key, parts);
    return parts;
  };
}

/** CPUs need a part per invocation only where results are few; on GPUs the tile decides, too. */
function contractionParts(node: Tensor, target: CompileTarget): number {
  const contraction = contractionOf(node);
  // One invocation computes a tile of 8 x 4 results.
  if (target.isSoftware) {
    const results = contraction.isSymmetric ? node.size / 2 : node.size;
    return partsFor(Math.ceil(results / 32), contraction.depth, target);
  }
  const most = Math.floor(contraction.depth / shortestSum);
  const parts = splitFor(problemOf(contraction, isInMemory, false), most, target);
  return Math.max(parts, Math.min(most, Math.ceil(contraction.depth / longestSum)));
}

/** What will be stored, as far as that is known before fusion: views and elementwise operands are computed. */
const isInMemory = ({ primitive }: Tensor): boolean =>
  !["movement", "generator", "elementwise", "gather"].includes(primitive.lowering.kind);
