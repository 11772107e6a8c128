import { isFloat, isInteger, sameDType } from "../dtype";
import { ArgumentError, DTypeError, formatShape, ShapeError } from "../errors";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { invertPermutation, type Shape, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { type Aval, definePrimitive } from "./definition";
import { sumTangents } from "./families";

/** Pairs of axes: position i of the first list belongs to position i of the second. */
export interface DotParams {
  readonly batch: readonly [readonly number[], readonly number[]];
  readonly contract: readonly [readonly number[], readonly number[]];
}

/** Axes of an operand that are neither batch nor contracted, ascending. */
export const freeAxes = (rank: number, batch: readonly number[], contract: readonly number[]): number[] =>
  Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !batch.includes(axis) && !contract.includes(axis));

const extents = (shape: Shape, axes: readonly number[]): number[] => axes.map((axis) => shape[axis] as number);

function checkPairs(
  kind: "batch" | "contracting",
  a: Shape,
  b: Shape,
  pairs: readonly [readonly number[], readonly number[]],
) {
  const [left, right] = pairs;
  if (left.length !== right.length) {
    throw new ArgumentError(`dot: ${left.length} ${kind} axes of a, ${right.length} of b. Give them in pairs.`);
  }
  for (const [position, axis] of left.entries()) {
    const other = right[position] as number;
    if (a[axis] === undefined || b[other] === undefined) {
      throw new ArgumentError(
        `dot: ${kind} axes ${axis} of a ${formatShape(a)} and ${other} of b ${formatShape(b)} do not exist.`,
      );
    }
    if (a[axis] !== b[other]) {
      throw new ShapeError(
        `dot: ${kind} axes differ: a ${formatShape(a)} axis ${axis} has ${a[axis]}, b ${formatShape(b)} axis ${other} ` +
          `has ${b[other]}. Transpose an operand or set axes.`,
      );
    }
  }
}

/**
 * General contraction: sums products over the paired contracting axes, for every pair of batch coordinates.
 * Result axes: batch (in the order given), free axes of a, free axes of b (each ascending).
 * Sums are f32 in a fixed order.
 */
export const dot = definePrimitive<DotParams>({
  name: "dot",
  shape([a, b], { batch, contract }) {
    const [left, right] = [a as Aval, b as Aval];
    const dtype = sameDType("dot", [left.dtype, right.dtype]);
    if (dtype === "bool") throw new DTypeError('dot: takes numbers, got bool. Cast first: x.cast("f32").');
    checkPairs("batch", left.shape, right.shape, batch);
    checkPairs("contracting", left.shape, right.shape, contract);
    return {
      shape: [
        ...extents(left.shape, batch[0]),
        ...extents(left.shape, freeAxes(left.shape.length, batch[0], contract[0])),
        ...extents(right.shape, freeAxes(right.shape.length, batch[1], contract[1])),
      ],
      dtype,
    };
  },
  lowering: { kind: "contraction" },
  reference([a, b], { batch, contract }, output) {
    const [left, right] = [a as NdArray, b as NdArray];
    const leftFree = freeAxes(left.shape.length, batch[0], contract[0]);
    const rightFree = freeAxes(right.shape.length, batch[1], contract[1]);
    const summed = ndarray(extents(left.shape, contract[0]), "f32", () => 0);
    return ndarray(output.shape, output.dtype, (coordinates) => {
      const inBatch = coordinates.slice(0, batch[0].length);
      const inLeft = coordinates.slice(batch[0].length, batch[0].length + leftFree.length);
      const inRight = coordinates.slice(batch[0].length + leftFree.length);
      let total = 0;
      ndarray(summed.shape, "f32", (inner) => {
        const value = (array: NdArray, side: 0 | 1, free: readonly number[], inFree: readonly number[]) => {
          const position = array.shape.map(() => 0);
          batch[side].forEach((axis, index) => (position[axis] = inBatch[index] as number));
          contract[side].forEach((axis, index) => (position[axis] = inner[index] as number));
          free.forEach((axis, index) => (position[axis] = inFree[index] as number));
          return elementAt(array, position);
        };
        const [x, y] = [value(left, 0, leftFree, inLeft), value(right, 1, rightFree, inRight)];
        total += isInteger(output.dtype) ? Math.imul(x, y) : x * y;
        return 0;
      });
      return output.dtype === "i32" ? total | 0 : output.dtype === "u32" ? total >>> 0 : total;
    });
  },
  vjp(cotangent, { inputs, params, output }) {
    if (!isFloat(output.dtype)) return [null, null];
    const [a, b] = inputs as [Tensor, Tensor];
    return [cotangentOfLeft(cotangent, a, b, params), cotangentOfRight(cotangent, a, b, params)];
  },
  jvp([ta, tb], { inputs, params, output }) {
    if (!isFloat(output.dtype)) return null;
    const [a, b] = inputs as [Tensor, Tensor];
    return sumTangents([ta?.dot(b, params), tb && a.dot(tb, params)]);
  },
  batch(inputs, { batched, params, bind }) {
    const shift = (axes: readonly number[], side: 0 | 1) => (batched[side] ? axes.map((axis) => axis + 1) : axes);
    const contract = [shift(params.contract[0], 0), shift(params.contract[1], 1)] as const;
    const batch = [shift(params.batch[0], 0), shift(params.batch[1], 1)] as const;
    if (batched[0] && batched[1]) {
      return bind(inputs, {
        batch: [
          [0, ...batch[0]],
          [0, ...batch[1]],
        ],
        contract,
      });
    }
    // The batch axis is an ordinary free axis of the one operand that has it; then it moves to the front.
    const result = bind(inputs, { batch, contract });
    const [a] = inputs as [Tensor, Tensor];
    const position = batched[0] ? batch[0].length : batch[0].length + freeAxes(a.rank, batch[0], contract[0]).length;
    return result.moveAxis(position, 0);
  },
  sample(draw) {
    const [m, n, k] = [draw.integer(1, 9), draw.integer(1, 9), draw.integer(1, 9)];
    const transposed = draw.integer(0, 1) === 1;
    if (draw.integer(0, 1)) {
      return {
        inputs: [
          { shape: [m, k], dtype: "f32" },
          { shape: transposed ? [n, k] : [k, n], dtype: "f32" },
        ],
        params: { batch: [[], []], contract: [[1], [transposed ? 1 : 0]] },
      };
    }
    const batch = draw.integer(1, 3);
    return {
      inputs: [
        { shape: [batch, k, m, 2], dtype: "f32" },
        { shape: transposed ? [n, 2, batch, k] : [2, k, n, batch], dtype: "f32" },
      ],
      params: transposed
        ? {
            batch: [[0], [2]],
            contract: [
              [1, 3],
              [3, 1],
            ],
          }
        : {
            batch: [[0], [3]],
            contract: [
              [3, 1],
              [0, 1],
            ],
          },
    };
  },
});

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, index) => from + index);

function cotangentOfLeft(cotangent: Tensor, a: Tensor, b: Tensor, { batch, contract }: DotParams): Tensor {
  const leftFree = freeAxes(a.rank, batch[0], contract[0]);
  const rightFree = freeAxes(b.rank, batch[1], contract[1]);
  const result = cotangent.dot(b, {
    batch: [range(0, batch[0].length), batch[1]],
    contract: [range(batch[0].length + leftFree.length, rightFree.length), rightFree],
  });
  // The result has batch, a's free axes, then b's contracted axes ascending: put them where a has them.
  const contracted = [...contract[1]]
    .sort((x, y) => x - y)
    .map((axis) => contract[0][contract[1].indexOf(axis)] as number);
  return result.permute(invertPermutation([...batch[0], ...leftFree, ...contracted]));
}

function cotangentOfRight(cotangent: Tensor, a: Tensor, b: Tensor, { batch, contract }: DotParams): Tensor {
  const leftFree = freeAxes(a.rank, batch[0], contract[0]);
  const rightFree = freeAxes(b.rank, batch[1], contract[1]);
  const result = a.dot(cotangent, {
    batch: [batch[0], range(0, batch[0].length)],
    contract: [leftFree, range(batch[0].length, leftFree.length)],
  });
  const contracted = [...contract[0]]
    .sort((x, y) => x - y)
    .map((axis) => contract[1][contract[0].indexOf(axis)] as number);
  return result.permute(invertPermutation([...batch[1], ...contracted, ...rightFree]));
}

/** Multiply-adds of one contraction. */
export const dotFlops = (output: Shape, contracted: Shape): number => 2 * sizeOf(output) * sizeOf(contracted);
