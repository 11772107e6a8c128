import { isFloat } from "../dtype";
import { ArgumentError } from "../errors";
import type { NdArray } from "../reference/array";
import { type Bindings, evaluateReference } from "../reference/interpreter";
import type { Tensor } from "../tensor";

const largest = (arrays: Iterable<NdArray>): number => {
  let result = 0;
  for (const { values } of arrays) for (const value of values) result = Math.max(result, Math.abs(value));
  return result;
};

/**
 * The derivative of graphs along a direction, (f(x + h·v) - f(x - h·v)) / 2h in float64, with one step of Richardson's
 * extrapolation: the error is of order h⁴, about 1e-12 for smooth functions with values near 1.
 *
 * @param outputs Float tensors.
 * @param at Values of all placeholders the graphs depend on.
 * @param along The direction, for some of the placeholders; the others stay.
 * @param step How far the element that moves most is moved. Keep kinks further away. Default 2^-12 · max(1, |x|).
 * @returns One array per output: the derivative of its elements.
 */
export function directionalDerivative(
  outputs: readonly Tensor[],
  at: Bindings,
  along: Bindings,
  step: number = 2 ** -12 * Math.max(1, largest([...along.keys()].flatMap((tensor) => at.get(tensor) ?? []))),
): NdArray[] {
  for (const output of outputs) {
    if (!isFloat(output.dtype)) {
      throw new ArgumentError(
        `directionalDerivative: an output is ${output.toString()}. Only floats have derivatives.`,
      );
    }
  }
  const length = largest(along.values());
  const h = length === 0 ? 1 : step / length;
  const difference = (distance: number): NdArray[] => {
    const forward = evaluateReference(outputs, moved(at, along, distance));
    const backward = evaluateReference(outputs, moved(at, along, -distance));
    return forward.map((array, index) => ({
      ...array,
      values: array.values.map((value, i) => (value - (backward[index]?.values[i] as number)) / (2 * distance)),
    }));
  };
  const coarse = difference(h);
  return difference(h / 2).map((fine, index) => ({
    ...fine,
    values: fine.values.map((value, i) => (4 * value - (coarse[index]?.values[i] as number)) / 3),
  }));
}

function moved(at: Bindings, along: Bindings, distance: number): Bindings {
  return new Map(
    [...at].map(([tensor, array]) => {
      const direction = along.get(tensor);
      if (direction === undefined) return [tensor, array];
      return [
        tensor,
        { ...array, values: array.values.map((value, i) => value + distance * (direction.values[i] as number)) },
      ];
    }),
  );
}

/** Σ a·b over all elements. */
export function innerProduct(a: NdArray, b: NdArray): number {
  let total = 0;
  for (let i = 0; i < a.values.length; i++) total += (a.values[i] as number) * (b.values[i] as number);
  return total;
}
