import { placeholder, type Shape, sizeOf, type Tensor } from "@thalweg/tensor";
import {
  type Bindings,
  type Bound,
  evaluateReference,
  expectClose,
  type NdArray,
  ndarray,
  seededDraw,
} from "@thalweg/tensor/testing";
import type { FunctionCase } from "./functions";

/** Random float64 arrays; within one array no two values are closer than a cell, so that kinks are far apart. */
export function randomArrays(
  seed: number,
  shapes: readonly Shape[],
  [low, high]: readonly [number, number] = [-1, 1],
): NdArray[] {
  const draw = seededDraw(seed);
  const total = shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);
  const cells = draw.order(total);
  return shapes.map((shape) =>
    ndarray(shape, "f32", () => low + ((high - low) * ((cells.pop() as number) + draw.uniform(0.3, 0.7))) / total),
  );
}

/** Placeholders like the arrays, and what binds one to the other. */
export function bound(arrays: readonly NdArray[]): { tensors: Tensor[]; bindings: Bindings } {
  const tensors = arrays.map(({ shape, dtype }) => placeholder(shape, dtype));
  return { tensors, bindings: new Map(tensors.map((tensor, index) => [tensor, arrays[index] as NdArray])) };
}

export const merge = (...bindings: readonly Bindings[]): Bindings => new Map(bindings.flatMap((each) => [...each]));

/** The function's result weighted and summed: a scalar whose gradient sees every element of the result. */
export const weighted =
  ({ f }: FunctionCase) =>
  (...args: Tensor[]): Tensor => {
    const result = f(...args);
    const weights = result.iotaLike(0, "f32").add(0.5).cos();
    return (result.rank === 0 ? result : result.mul(weights)).sum();
  };

/**
 * Both sides are float64. `digits` of agreement: 11 for two ways to the same derivative (some hundred rounded terms),
 * 7 for finite differences (h about 2^-12 with Richardson's extrapolation leaves 1e-12 times a fifth derivative).
 */
export function agree(
  actual: readonly Tensor[],
  expected: readonly NdArray[],
  bindings: Bindings,
  digits: number,
): void {
  const found = evaluateReference(actual, bindings);
  found.forEach((array, index) => {
    const reference = expected[index] as NdArray;
    const scale = reference.values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
    const bound: Bound = { relative: 0, absolute: scale * 10 ** -digits };
    expectClose(array, reference, bound, `result ${index}`);
  });
}

/** One array with a new first axis from arrays of one shape. */
export function stackArrays(arrays: readonly NdArray[]): NdArray {
  const [first] = arrays as [NdArray];
  const values = new Float64Array(arrays.length * first.values.length);
  arrays.forEach((array, index) => values.set(array.values, index * first.values.length));
  return { shape: [arrays.length, ...first.shape], dtype: first.dtype, values };
}

/** Element `index` along the first axis. */
export function exampleOf(array: NdArray, index: number): NdArray {
  const shape = array.shape.slice(1);
  const size = sizeOf(shape);
  return { shape, dtype: array.dtype, values: array.values.slice(index * size, (index + 1) * size) };
}

/** Numbers of tensors that depend on no placeholder. */
export const read = (...tensors: readonly Tensor[]): number[][] =>
  evaluateReference(tensors).map(({ values }) => [...values]);
