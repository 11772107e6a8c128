import { type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference, type NdArray, randomInputs, seededDraw } from "@thalweg/tensor/testing";

/** All in float64: what is left is the order of summation. */
export const exact = { relative: 1e-11, absolute: 1e-12 };

/** The float64 values of a graph without placeholders. */
export const read = (x: Tensor): NdArray => evaluateReference([x])[0] as NdArray;

/** A float tensor with random elements in the domain, exact in f32. */
export function random(
  shape: readonly number[],
  seed: number,
  domain: readonly [number, number] = [-2, 2],
  distinct = false,
): Tensor {
  const [values] = randomInputs(
    { inputs: [{ shape, dtype: "f32", domain, distinct }], params: undefined },
    seededDraw(seed),
  );
  return tensor(Float32Array.from((values as NdArray).values), { shape });
}

/** Random integers from 0 to `count` - 1. */
export function randomLabels(shape: readonly number[], count: number, seed: number): Tensor {
  const draw = seededDraw(seed);
  const size = shape.reduce((product, extent) => product * extent, 1);
  return tensor(
    Int32Array.from({ length: size }, () => draw.integer(0, count - 1)),
    { shape },
  );
}
