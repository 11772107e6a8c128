import { isFloat, isInteger } from "../dtype";
import { DTypeError, formatShape, ShapeError } from "../errors";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { normalizeAxis, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { type Aval, type BatchContext, definePrimitive } from "./definition";
import { sumTangents, withBatchAxis } from "./families";
import { sortedScatter } from "./sorted-scatter";

interface GatherParams {
  readonly axis: number;
}

/**
 * Slices of `x` along `axis` at the positions `indices`: `[…pre, n, …post]` and `[…i]` to `[…pre, …i, …post]`.
 * Positions outside are clamped to the nearest element.
 */
export const gather = definePrimitive<GatherParams>({
  name: "gather",
  shape([x, indices], { axis }) {
    const [from, at] = [x as Aval, indices as Aval];
    if (!isInteger(at.dtype))
      throw new DTypeError(`gather: indices are ${at.dtype}, not integers. Cast: i.cast("i32").`);
    normalizeAxis("gather", axis, from.shape.length);
    if (from.shape[axis] === 0 && sizeOf(at.shape) > 0) {
      throw new ShapeError(`gather: axis ${axis} of ${formatShape(from.shape)} is empty, there is nothing to take.`);
    }
    return { shape: [...from.shape.slice(0, axis), ...at.shape, ...from.shape.slice(axis + 1)], dtype: from.dtype };
  },
  lowering: { kind: "gather", axis: ({ axis }) => axis },
  reference([x, indices], { axis }, output) {
    const [from, at] = [x as NdArray, indices as NdArray];
    const last = (from.shape[axis] as number) - 1;
    const rank = at.shape.length;
    return ndarray(output.shape, output.dtype, (c) => {
      const position = elementAt(at, c.slice(axis, axis + rank));
      return elementAt(from, [...c.slice(0, axis), Math.max(0, Math.min(last, position)), ...c.slice(axis + rank)]);
    });
  },
  vjp(cotangent, { inputs, params, output }) {
    if (!isFloat(output.dtype)) return [null, null];
    const [x, indices] = inputs as [Tensor, Tensor];
    const extent = x.shape[params.axis] as number;
    return [cotangent.scatterSum(clampIndices(indices, extent), { axis: params.axis, extent }), null];
  },
  jvp: ([tangent], { inputs, params, output }) =>
    tangent && isFloat(output.dtype) ? tangent.gather(inputs[1] as Tensor, params) : null,
  batch(inputs, context) {
    const [x, indices] = inputs as [Tensor, Tensor];
    const { batched, params, bind } = context;
    if (!batched[1]) return bind(inputs, { axis: params.axis + 1 });
    if (!batched[0]) return bind(inputs, params).moveAxis(params.axis, 0);
    return gatherRows(x, indices, context);
  },
  sample(draw) {
    const shape = draw.shape({ rank: [1, 3], extent: [1, 5] });
    const axis = draw.integer(0, shape.length - 1);
    return {
      inputs: [
        { shape, dtype: "f32" },
        { shape: draw.shape({ rank: [0, 2], extent: [0, 4] }), dtype: "i32", domain: [-1, shape[axis] as number] },
      ],
      params: { axis },
    };
  },
});

const clampIndices = (indices: Tensor, extent: number): Tensor =>
  (indices.dtype === "u32" ? indices : indices.maximum(0)).minimum(Math.max(0, extent - 1));

/** Both operands batched: the batch axis and the gathered one become one axis of rows. */
function gatherRows(x: Tensor, indices: Tensor, { params, size, bind }: BatchContext<GatherParams>): Tensor {
  const rows = x.moveAxis(params.axis + 1, 1);
  const [, extent, ...rest] = rows.shape as [number, number, ...number[]];
  const own = clampIndices(indices, extent);
  const position = own.add(own.iotaLike(0).mul(extent));
  const taken = bind([rows.reshape([size * extent, ...rest]), position], { axis: 0 });
  // [batch, …i, …pre, …post] to [batch, …pre, …i, …post].
  const inner = indices.rank - 1;
  const pre = params.axis;
  const axes = Array.from({ length: taken.rank }, (_, axis) => axis);
  return taken.permute([
    0,
    ...axes.slice(1 + inner, 1 + inner + pre),
    ...axes.slice(1, 1 + inner),
    ...axes.slice(1 + inner + pre),
  ]);
}

interface ScatterParams {
  readonly axis: number;
  /** Extent of the axis in the result. */
  readonly extent: number;
}

/**
 * The transpose of {@link gather}: sums slices of `updates` `[…pre, …i, …post]` into a tensor of zeros
 * `[…pre, extent, …post]` at the positions `indices` `[…i]`. Positions outside are dropped. The order of every
 * sum is that of the updates, in blocks that depend on shapes only: the result is the same bit for bit in every run.
 */
export const scatterSum = definePrimitive<ScatterParams>({
  name: "scatterSum",
  shape([updates, indices], { axis, extent }) {
    const [from, at] = [updates as Aval, indices as Aval];
    if (!isInteger(at.dtype)) throw new DTypeError(`scatterSum: indices are ${at.dtype}, not integers. Cast them.`);
    const own = from.shape.slice(axis, axis + at.shape.length);
    if (formatShape(own) !== formatShape(at.shape)) {
      throw new ShapeError(
        `scatterSum: updates ${formatShape(from.shape)} do not have the indices' shape ${formatShape(at.shape)} ` +
          `from axis ${axis} on.`,
      );
    }
    return {
      shape: [...from.shape.slice(0, axis), extent, ...from.shape.slice(axis + at.shape.length)],
      dtype: from.dtype,
    };
  },
  lowering: {
    kind: "composite",
    expand([updates, indices], { axis, extent }) {
      const [from, at] = [updates as Tensor, indices as Tensor];
      const pre = from.shape.slice(0, axis);
      const post = from.shape.slice(axis + at.rank);
      const count = at.size;
      if (paysToSort(count, extent, from.size) && from.dtype !== "bool") {
        // Halves are storage only: the sums of blocks would round, and overflow.
        const wide = from.dtype === "f16" ? from.cast("f32") : from;
        return sortedScatter(wide, at, axis, extent).cast(from.dtype);
      }
      // Chosen, not multiplied by 0 and 1, so that a NaN stays where it belongs.
      const spread = [...pre, extent, ...post, count];
      const rows = from
        .reshape([...pre, count, ...post])
        .moveAxis(axis, -1)
        .expandDims(axis)
        .expand(spread);
      const target = at.reshape(spread.map((_, i) => (i === spread.length - 1 ? count : 1))).expand(spread);
      return target.iotaLike(axis).equal(target).where(rows, 0).sum({ axis: -1 });
    },
  },
  reference([updates, indices], { axis }, output) {
    const [from, at] = [updates as NdArray, indices as NdArray];
    const result = ndarray(output.shape, output.dtype, () => 0);
    const rank = at.shape.length;
    ndarray(from.shape, from.dtype, (c) => {
      const target = elementAt(at, c.slice(axis, axis + rank));
      if (target >= 0 && target < (output.shape[axis] as number)) {
        const into = [...c.slice(0, axis), target, ...c.slice(axis + rank)];
        const position = into.reduce((sum, x, i) => sum * (output.shape[i] as number) + x, 0);
        result.values[position] = (result.values[position] as number) + elementAt(from, c);
      }
      return 0;
    });
    return result;
  },
  vjp(cotangent, { inputs, params, output }) {
    if (!isFloat(output.dtype)) return [null, null];
    const [updates, indices] = inputs as [Tensor, Tensor];
    if (params.extent === 0) return [updates.zerosLike(), null];
    const taken = cotangent.gather(indices, { axis: params.axis });
    return [insideMask(indices, updates, params).where(taken, 0), null];
  },
  jvp: ([tangent], { inputs, params, output }) =>
    sumTangents([tangent && isFloat(output.dtype) ? tangent.scatterSum(inputs[1] as Tensor, params) : null]),
  batch(inputs, { batched, params, size, bind }) {
    const [updates, indices] = inputs as [Tensor, Tensor];
    const shifted = { ...params, axis: params.axis + 1 };
    if (!batched[1]) return bind([updates, indices], shifted);
    // Each example scatters into rows of its own: one axis of size·extent rows, then apart again.
    const own = withBatchAxis(updates, batched[0] as boolean, size);
    const inside = indices.greaterEqual(0).and(indices.less(params.extent));
    const position = inside.where(indices.add(indices.iotaLike(0).mul(params.extent)), size * params.extent);
    const inner = indices.rank - 1;
    const pre = own.shape.slice(1, 1 + params.axis);
    const axes = Array.from({ length: own.rank }, (_, axis) => axis);
    const front = own.permute([
      0,
      ...axes.slice(1 + params.axis, 1 + params.axis + inner),
      ...axes.slice(1, 1 + params.axis),
      ...axes.slice(1 + params.axis + inner),
    ]);
    const rows = bind([front, position], { axis: 0, extent: size * params.extent });
    return rows.reshape([size, params.extent, ...rows.shape.slice(1)]).moveAxis(1, 1 + pre.length);
  },
  sample(draw) {
    const indices = draw.shape({ rank: [0, 2], extent: [0, 4] });
    const extent = draw.integer(1, 5);
    return {
      inputs: [
        { shape: [2, ...indices, 3], dtype: "f32" },
        { shape: indices, dtype: "i32", domain: [-1, extent] },
      ],
      params: { axis: 1, extent },
    };
  },
});

/** Extents up to here are cheaper to compare with every index. */
const smallExtent = 16;
/** Comparisons that are cheaper than three more dispatches: CPU adapters meet at half of that, GPUs later. */
const fewComparisons = 2 ** 22;

/**
 * Is it quicker to sort `count` indices than to compare each with every row, for `size` elements of updates? See
 * bench/linalg.bench.ts.
 */
const paysToSort = (count: number, extent: number, size: number): boolean =>
  extent > smallExtent && count > smallExtent && size * extent > fewComparisons;

/** Which updates hit the result at all, in the shape of the updates. */
function insideMask(indices: Tensor, updates: Tensor, { axis, extent }: ScatterParams): Tensor {
  const inside = indices.greaterEqual(0).and(indices.less(extent));
  const post = updates.rank - axis - indices.rank;
  return inside.reshape([...indices.shape, ...Array<number>(post).fill(1)]).expand(updates.shape);
}
