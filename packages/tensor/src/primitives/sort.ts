import { type DType, isFloat } from "../dtype";
import { DTypeError } from "../errors";
import { bitonicOrder, fitsBitonic } from "../kernels/bitonic-sort.wgsl";
import { countDigits, digitBits, moveByDigit } from "../kernels/radix-sort.wgsl";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { normalizeAxis, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { cumulate } from "./cumulative";
import { type Aval, type Draw, definePrimitive, type Sample, zeroCotangent, zeroTangent } from "./definition";

interface SortParams {
  readonly axis: number;
  readonly descending: boolean;
}

const takes = (operation: string, { shape, dtype }: Aval, axis: number): void => {
  if (dtype === "bool") {
    throw new DTypeError(`${operation}: takes numbers, got bool. Cast first: x.cast("i32").`);
  }
  normalizeAxis(operation, axis, shape.length);
};

function sampleSort(draw: Draw): Sample<SortParams> {
  const shape = draw.shape({ rank: [1, 3] });
  return {
    inputs: [{ shape, dtype: "f32", distinct: true }],
    params: { axis: draw.integer(0, shape.length - 1), descending: draw.integer(0, 1) === 1 },
  };
}

/**
 * The positions, i32, of the elements along an axis in ascending or descending order. Stable in both: equal elements
 * stay in the order of their positions. -0 equals 0; every NaN is behind all numbers.
 */
export const argsort = definePrimitive<SortParams>({
  name: "argsort",
  shape([input], { axis }) {
    takes("argsort", input as Aval, axis);
    return { shape: (input as Aval).shape, dtype: "i32" };
  },
  lowering: {
    kind: "composite",
    expand([input], { axis, descending }) {
      const x = (input as Tensor).moveAxis(axis, -1);
      if (x.size === 0) return (input as Tensor).zerosLike().cast("i32");
      const length = x.shape[x.rank - 1] as number;
      const keys = orderedKeys(x.dtype === "f16" ? x.cast("f32") : x, descending).reshape([-1, length]);
      return orderOfKeys(keys, 32).reshape(x.shape).moveAxis(-1, axis);
    },
  },
  reference: ([input], params) => orderedBy(input as NdArray, params, "i32", (_value, position) => position),
  vjp: zeroCotangent,
  jvp: zeroTangent,
  batch: ([input], { params, bind }) => bind([input as Tensor], { ...params, axis: params.axis + 1 }),
  sample: sampleSort,
});

/** The elements along an axis in the order of {@link argsort}. */
export const sort = definePrimitive<SortParams>({
  name: "sort",
  shape([input], { axis }) {
    takes("sort", input as Aval, axis);
    return input as Aval;
  },
  lowering: {
    kind: "composite",
    expand([input], params) {
      const x = input as Tensor;
      return x.size === 0 ? x.zerosLike() : x.gatherAlong(x.argsort(params), params);
    },
  },
  reference: ([input], params) => orderedBy(input as NdArray, params, (input as NdArray).dtype, (value) => value),
  vjp(cotangent, { inputs, params, output }) {
    if (!isFloat(output.dtype)) return [null];
    if (output.size === 0) return [cotangent];
    // The order of a permutation is its inverse.
    const { axis } = params;
    return [cotangent.gatherAlong((inputs[0] as Tensor).argsort(params).argsort({ axis }), { axis })];
  },
  jvp: ([tangent], { inputs, params, output }) =>
    tangent && isFloat(output.dtype) && output.size > 0
      ? tangent.gatherAlong((inputs[0] as Tensor).argsort(params), params)
      : tangent && isFloat(output.dtype)
        ? tangent
        : null,
  batch: ([input], { params, bind }) => bind([input as Tensor], { ...params, axis: params.axis + 1 }),
  sample: sampleSort,
});

interface TopParams {
  readonly axis: number;
  readonly k: number;
}

/** The positions, i32, of the `k` largest elements along an axis: the first ones of {@link argsort} in descending order. */
export const topOrder = definePrimitive<TopParams>({
  name: "topOrder",
  shape([input], { axis, k }) {
    const { shape } = input as Aval;
    takes("topOrder", input as Aval, axis);
    return { shape: shape.map((extent, own) => (own === axis ? k : extent)), dtype: "i32" };
  },
  lowering: {
    kind: "composite",
    expand([input], { axis, k }) {
      const x = (input as Tensor).moveAxis(axis, -1);
      const leading = x.shape.slice(0, -1);
      const keys = orderedKeys(x.dtype === "f16" ? x.cast("f32") : x, true);
      const order = smallest(keys.reshape([sizeOf(leading), x.shape[x.rank - 1] as number]), k);
      return order.reshape([...leading, k]).moveAxis(-1, axis);
    },
  },
  reference([input], { axis }, output) {
    const order = orderedBy(input as NdArray, { axis, descending: true }, "i32", (_value, position) => position);
    return ndarray(output.shape, "i32", (at) => elementAt(order, at));
  },
  vjp: zeroCotangent,
  jvp: zeroTangent,
  batch: ([input], { params, bind }) => bind([input as Tensor], { ...params, axis: params.axis + 1 }),
  sample(draw) {
    const { inputs, params } = sampleSort(draw);
    const extent = inputs[0]?.shape[params.axis] as number;
    return { inputs, params: { axis: params.axis, k: draw.integer(0, extent) } };
  },
});

/** Rows up to here are sorted in one dispatch, whatever their keys. */
const block = 2048;

/**
 * The positions `[rows, k]` of the smallest of u32 keys `[rows, n]`, in order. In long rows each block finds its own k,
 * and then they play against each other.
 */
function smallest(keys: Tensor, k: number): Tensor {
  const [rows, length] = keys.shape as [number, number];
  if (length <= block || 4 * k > block) return orderOfKeys(keys, 32).slice([0, 0], [rows, k]);
  const blocks = Math.ceil(length / block);
  // What fills the last block up is behind everything else: its key is the largest, its position the last.
  const fill = [
    [0, 0],
    [0, blocks * block - length],
  ] as const;
  const padded = keys.pad(fill, { value: 0xffffffff });
  const own = orderOfKeys(padded.reshape([rows * blocks, block]), 32).slice([0, 0], [rows * blocks, k]);
  const inRow = own.reshape([rows, blocks, k]);
  const found = inRow.add(inRow.iotaLike(1).mul(block)).reshape([rows, blocks * k]);
  const order = smallest(padded.gatherAlong(found, { axis: 1 }), k);
  return found.gatherAlong(order, { axis: 1 });
}

/** What orders two numbers as their u32 keys do: NaN last, -0 equal to 0. */
const compare = (a: number, b: number): number => {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a < b ? -1 : a > b ? 1 : 0;
};

function orderedBy(
  array: NdArray,
  { axis, descending }: SortParams,
  dtype: DType,
  pick: (value: number, position: number) => number,
): NdArray {
  const extent = array.shape[axis] as number;
  const stride = sizeOf(array.shape.slice(axis + 1));
  const result = ndarray(array.shape, dtype, () => 0);
  for (let row = 0; row < array.values.length / Math.max(1, extent); row++) {
    const start = Math.floor(row / stride) * stride * extent + (row % stride);
    const at = (position: number) => array.values[start + position * stride] as number;
    const order = Array.from({ length: extent }, (_, position) => position).sort((a, b) => {
      const [x, y] = [at(a), at(b)];
      const turned = descending && !Number.isNaN(x) && !Number.isNaN(y);
      return (turned ? compare(y, x) : compare(x, y)) || a - b;
    });
    order.forEach((position, place) => {
      result.values[start + place * stride] = pick(at(position), position);
    });
  }
  return result;
}

/** Words whose order as integers is that of the elements; those of NaN are the largest, whichever the direction. */
function orderedKeys(x: Tensor, descending: boolean): Tensor {
  const bits = x.bitcast("u32");
  const sign = 2 ** 31;
  if (!isFloat(x.dtype)) {
    const keys = x.dtype === "i32" ? bits.bitXor(sign) : bits;
    return descending ? keys.bitNot() : keys;
  }
  const magnitude = bits.bitAnd(sign - 1);
  const isNegative = bits.greaterEqual(sign).and(magnitude.notEqual(0));
  const ascending = isNegative.where(bits.bitNot(), magnitude.bitOr(sign));
  const keys = descending ? ascending.bitNot() : ascending;
  return magnitude.greater(0x7f800000).where(0xffffffff, keys);
}

/**
 * The positions `[rows, n]`, i32, of u32 keys `[rows, n]` below 2^`bits` in ascending order; equal keys stay in place.
 * Short rows are sorted in one dispatch, long ones digit by digit: fewer bits are fewer passes.
 */
export function orderOfKeys(keys: Tensor, bits: number): Tensor {
  const [rows, length] = keys.shape as [number, number];
  if (fitsBitonic(length, bits)) return keys.bind(bitonicOrder, [keys], { bits });
  let pairs = keys.expandDims(1).pad([
    [0, 0],
    [0, 1],
    [0, 0],
  ]);
  pairs = pairs.iotaLike(1, "u32").equal(1).where(pairs.iotaLike(2, "u32"), pairs);
  for (let sorted = 0; sorted < bits; sorted += digitBits) {
    const counts = keys.bind(countDigits, [pairs], {});
    const sums = cumulate(counts, [rows, counts.size / rows, 1], false);
    pairs = keys.bind(moveByDigit, [pairs, counts, sums], {});
  }
  return pairs.slice([0, 1, 0]).reshape([rows, length]).cast("i32");
}
