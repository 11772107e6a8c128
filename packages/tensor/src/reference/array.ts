import type { DType } from "../dtype";
import { type Shape, sizeOf } from "../shape";

/** A row-major array of float64 numbers, the values of the reference interpreter. Bool is 0 and 1. */
export interface NdArray {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly values: Float64Array;
}

/** Builds an array from a function of the coordinates. */
export function ndarray(shape: Shape, dtype: DType, valueAt: (coordinates: readonly number[]) => number): NdArray {
  const values = new Float64Array(sizeOf(shape));
  const coordinates = shape.map(() => 0);
  for (let position = 0; position < values.length; position++) {
    values[position] = valueAt(coordinates);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = (coordinates[axis] as number) + 1;
      if (next < (shape[axis] as number)) {
        coordinates[axis] = next;
        break;
      }
      coordinates[axis] = 0;
    }
  }
  return { shape, dtype, values };
}

/** The element at the coordinates. */
export function elementAt(array: NdArray, coordinates: readonly number[]): number {
  let position = 0;
  for (let axis = 0; axis < array.shape.length; axis++) {
    position = position * (array.shape[axis] as number) + (coordinates[axis] as number);
  }
  return array.values[position] as number;
}
