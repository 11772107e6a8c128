/**
 * Rewrites of sums of squares of batched products, which is what reductions over per-sample gradients are: the gradient of
 * a weight for example n is u[n] = Σ_r a[n, r] b[n, r]ᵀ, a contraction with n as a batch axis, over positions r that
 * share the weight.
 *
 * - squares of an outer product (one position): Σ (a bᵀ)² = products of sums of a² and b². Over the examples one matrix
 *   product of squares, over the weight a product of squared norms: u never exists.
 * - squared norms with positions:   Σ_ij u[n, i, j]² = Σ_rr' (a_r · a_r') (b_r · b_r'), where these Gram matrices cost less
 * - inner products of examples:     Σ_ij u[n, i, j] u[m, i, j], by the same Gram matrices over pairs of examples
 * - other sums of squares of products larger than {@link largestProduct}: some examples at a time
 */
import { isFloat } from "../../dtype";
import { after } from "../../primitives/after";
import { mul } from "../../primitives/binary";
import { loweringOf, type Primitive } from "../../primitives/definition";
import { type DotParams, freeAxes } from "../../primitives/dot";
import { permute, reshape } from "../../primitives/movement";
import { sizeOf } from "../../shape";
import { apply, concat, type Tensor } from "../../tensor";
import type { Rewrite } from "../simplify";

/** Bytes of a batched product that is stored on the way to a sum: small enough to stay in a GPU's cache. */
const largestProduct = 2 ** 24;

const without = (axes: readonly number[], removed: readonly number[]): number[] =>
  axes.filter((axis) => !removed.includes(axis));

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const extents = (x: Tensor, axes: readonly number[]): number[] => axes.map((axis) => x.shape[axis] as number);

/** Both operands of a product of a node with itself. */
function squareOf(node: Tensor): Tensor | undefined {
  const [left, right] = node.inputs;
  return node.primitive === (mul as Primitive) && left === right && isFloat(node.dtype) ? left : undefined;
}

export const sumOfSquaredProducts: Rewrite = (node, users) => {
  const reduction = loweringOf(node, "reduction");
  if (reduction?.combine !== "sum") return undefined;
  const u = squareOf(node.inputs[0] as Tensor);
  if (u === undefined) return undefined;
  const isNeededWhole = (users.get(u) ?? []).some((user) => squareOf(user) !== u && !loweringOf(user, "reduction"));
  return squaredSum(u, reduction.axes(node.params), isNeededWhole);
};

/** Σ u² over the axes, seen through movements that keep them apart; the other axes keep their order. */
function squaredSum(u: Tensor, axes: readonly number[], isNeededWhole: boolean): Tensor | undefined {
  const [inner] = u.inputs as [Tensor?];
  if (inner === undefined) return undefined;
  if (u.primitive === (permute as Primitive)) {
    const { axes: order } = u.params as { readonly axes: readonly number[] };
    const reduced = axes.map((axis) => order[axis] as number);
    const result = squaredSum(inner, reduced, isNeededWhole);
    const kept = order.filter((axis) => !reduced.includes(axis));
    const ascending = [...kept].sort((p, q) => p - q);
    return result?.permute(kept.map((axis) => ascending.indexOf(axis)));
  }
  if (u.primitive === (reshape as Primitive)) {
    const own = axesBehindReshape(u, inner, axes);
    return own === undefined
      ? undefined
      : squaredSum(inner, own, isNeededWhole)?.reshape(extents(u, without(upTo(u.rank), axes)));
  }
  return loweringOf(u, "contraction") === undefined ? undefined : squaredContraction(u, axes, isNeededWhole);
}

/** The same reduction before a reshape, if it takes all axes behind a common prefix, or only axes of that prefix. */
function axesBehindReshape(u: Tensor, inner: Tensor, axes: readonly number[]): readonly number[] | undefined {
  let common = 0;
  while (common < Math.min(u.rank, inner.rank) && u.shape[common] === inner.shape[common]) common++;
  if (axes.every((axis) => axis < common)) return axes;
  const kept = without(upTo(u.rank), axes);
  if (kept.some((axis) => axis >= common)) return undefined;
  return without(upTo(inner.rank), kept);
}

function squaredContraction(u: Tensor, axes: readonly number[], isNeededWhole: boolean): Tensor | undefined {
  const [a, b] = u.inputs as [Tensor, Tensor];
  const params = u.params as DotParams;
  const { batch, contract } = params;
  if (batch[0].length === 0) return undefined;
  const [freeA, freeB] = [freeAxes(a.rank, batch[0], contract[0]), freeAxes(b.rank, batch[1], contract[1])];
  const count = batch[0].length;
  const summedBatch = axes.filter((axis) => axis < count);
  const positions = sizeOf(extents(a, contract[0]));
  if (positions === 1) {
    const keep = (list: readonly number[]) => list.filter((_, index) => !summedBatch.includes(index));
    const move = (list: readonly number[]) => summedBatch.map((index) => list[index] as number);
    const squares = (x: Tensor, free: readonly number[], start: number): Tensor => {
      const reduced = free.filter((_, index) => axes.includes(start + index));
      const own = x.mul(x);
      return reduced.length === 0 ? own : own.sum({ axis: reduced, keepDims: true });
    };
    return squares(a, freeA, count)
      .dot(squares(b, freeB, count + freeA.length), {
        batch: [keep(batch[0]), keep(batch[1])],
        contract: [
          [...contract[0], ...move(batch[0])],
          [...contract[1], ...move(batch[1])],
        ],
      })
      .reshape(extents(u, without(upTo(u.rank), axes)));
  }
  const [sizeA, sizeB] = [sizeOf(extents(a, freeA)), sizeOf(extents(b, freeB))];
  const isWhole = axes.length - summedBatch.length === freeA.length + freeB.length;
  if (isWhole && positions * (sizeA + sizeB) < sizeA * sizeB) {
    const gram = gramProduct({ a, b, params }, upTo(count));
    const squared = gram.sum({ axis: upTo(gram.rank).slice(count) });
    return summedBatch.length === 0 ? squared : squared.sum({ axis: summedBatch });
  }
  return isNeededWhole ? undefined : inChunks({ a, b, params }, axes, u);
}

interface Contraction {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly params: DotParams;
}

/**
 * (a · a) (b · b) over their free axes, for all pairs of positions, with the named batch axes shared by both sides:
 * `[…shared, …others, …positions, …others, …positions]`.
 */
function gramProduct({ a, b, params }: Contraction, shared: readonly number[]): Tensor {
  const { batch, contract } = params;
  const gram = (x: Tensor, side: 0 | 1): Tensor => {
    const own = shared.map((index) => batch[side][index] as number);
    const others = batch[side].filter((_, index) => !shared.includes(index));
    const rows = [...others, ...contract[side]];
    const free = freeAxes(x.rank, batch[side], contract[side]);
    const product = x.dot(x, { batch: [own, own], contract: [free, free] });
    const ascending = [...rows].sort((p, q) => p - q);
    const order = rows.map((axis) => own.length + ascending.indexOf(axis));
    return product.permute([...own.map((_, index) => index), ...order, ...order.map((axis) => axis + rows.length)]);
  };
  return gram(a, 0).mul(gram(b, 1));
}

/** The sum of squares over the axes of slices along the longest batch axis, if the whole product is large. */
function inChunks({ a, b, params }: Contraction, axes: readonly number[], u: Tensor): Tensor | undefined {
  const { batch } = params;
  const lengths = extents(a, batch[0]);
  const longest = lengths.indexOf(Math.max(...lengths));
  const length = lengths[longest] as number;
  const parts = Math.min(length, Math.ceil((4 * u.size) / largestProduct));
  if (parts <= 1) return undefined;
  const size = Math.ceil(length / parts);
  const cut = (x: Tensor, side: 0 | 1, start: number): Tensor => {
    const axis = batch[side][longest] as number;
    return x.slice(
      x.shape.map((_, own) => (own === axis ? start : 0)),
      x.shape.map((extent, own) => (own === axis ? Math.min(start + size, length) : extent)),
    );
  };
  const sums: Tensor[] = [];
  for (let start = 0; start < length; start += size) {
    const [own, other] = [cut(a, 0, start), cut(b, 1, start)];
    const before = sums.at(-1);
    // One after the other, so that all parts have the same place in memory.
    const product = (before === undefined ? own : apply(after as Primitive, [own, before], undefined)).dot(
      other,
      params,
    );
    sums.push(product.mul(product).sum({ axis: [...axes] }));
  }
  if (axes.includes(longest)) return sums.reduce((total, own) => total.add(own));
  return concat(sums, { axis: longest - axes.filter((axis) => axis < longest).length });
}

/** Σ u[n, …] u[m, …] for all pairs of examples. */
export const productsOfPairs: Rewrite = (node) => {
  if (loweringOf(node, "contraction") === undefined || !isFloat(node.dtype)) return undefined;
  const [left, right] = node.inputs as [Tensor, Tensor];
  const { batch, contract } = node.params as DotParams;
  if (left !== right || batch[0].length > 0 || String(contract[0]) !== String(contract[1])) return undefined;
  const found = behindMovements(left, contract[0]);
  if (found === undefined) return undefined;
  const { dot, contracted } = found;
  const [a, b] = dot.inputs as [Tensor, Tensor];
  const params = dot.params as DotParams;
  const count = params.batch[0].length;
  const kept = without(upTo(dot.rank), contracted);
  const [example] = kept;
  if (kept.length !== 1 || example === undefined || example >= count) return undefined;
  const [sizeA, sizeB] = [
    sizeOf(extents(a, freeAxes(a.rank, params.batch[0], params.contract[0]))),
    sizeOf(extents(b, freeAxes(b.rank, params.batch[1], params.contract[1]))),
  ];
  const positions = sizeOf(extents(a, params.contract[0]));
  const examples = dot.shape[example] as number;
  const [gramCost, cost] = [examples * positions ** 2 * (sizeA + sizeB), (positions + examples) * sizeA * sizeB];
  if (gramCost >= cost || examples * positions ** 2 >= sizeA * sizeB) return undefined;
  const shared = without(upTo(count), [example]);
  const gram = gramProduct({ a, b, params }, shared);
  const inner = params.contract[0].length;
  // […shared, n, …positions, m, …positions]
  const first = shared.length;
  const others = without(upTo(gram.rank), [first, first + 1 + inner]);
  return others.length === 0 ? gram : gram.sum({ axis: others });
};

/** The contraction behind permutations and reshapes, with the contracted axes as its own. */
function behindMovements(
  node: Tensor,
  contracted: readonly number[],
): { readonly dot: Tensor; readonly contracted: readonly number[] } | undefined {
  const [inner] = node.inputs as [Tensor?];
  if (inner === undefined) return undefined;
  if (node.primitive === (permute as Primitive)) {
    const { axes: order } = node.params as { readonly axes: readonly number[] };
    return behindMovements(
      inner,
      contracted.map((axis) => order[axis] as number),
    );
  }
  if (node.primitive === (reshape as Primitive)) {
    const own = axesBehindReshape(node, inner, contracted);
    return own === undefined ? undefined : behindMovements(inner, own);
  }
  if (loweringOf(node, "contraction") === undefined || (node.params as DotParams).batch[0].length === 0)
    return undefined;
  return { dot: node, contracted };
}
