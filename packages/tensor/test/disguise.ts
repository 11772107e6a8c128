import { type DType, encodeElements } from "../src/dtype";
import { invertPermutation } from "../src/shape";
import { fromBytes, type Tensor } from "../src/tensor";
import { type NdArray, ndarray, type SeededDraw } from "../src/testing";

/** A tensor on the host with the values of an array. */
export const leafOf = ({ values, shape, dtype }: NdArray): Tensor =>
  fromBytes(encodeElements(values, dtype), shape, dtype);

/** An array whose element at the coordinates is `valueAt` them, of another shape than the original. */
const rearranged = (
  array: NdArray,
  shape: readonly number[],
  source: (at: readonly number[]) => readonly number[] | undefined,
): NdArray => {
  const junk: Readonly<Record<DType, number>> = { f32: 1e6, f16: 1e4, i32: -77, u32: 77, bool: 1 };
  return ndarray(shape, array.dtype, (at) => {
    const from = source(at);
    if (from === undefined) return junk[array.dtype];
    return array.values[from.reduce((sum, c, axis) => sum * (array.shape[axis] as number) + c, 0)] as number;
  });
};

/** Ways to have the same values as an array by a view of, or a computation on, other data. */
const disguises: Readonly<Record<string, (array: NdArray, draw: SeededDraw) => Tensor>> = {
  plain: leafOf,
  permuted(array, draw) {
    const axes = draw.order(array.shape.length);
    const inverse = invertPermutation(axes);
    const shape = axes.map((axis) => array.shape[axis] as number);
    return leafOf(rearranged(array, shape, (at) => inverse.map((axis) => at[axis] as number))).permute(inverse);
  },
  sliced(array, draw) {
    const [low, step] = [array.shape.map(() => draw.integer(0, 2)), array.shape.map(() => draw.integer(1, 2))];
    const of = (list: readonly number[], axis: number) => list[axis] as number;
    const shape = array.shape.map((extent, axis) => of(low, axis) + Math.max(0, (extent - 1) * of(step, axis) + 1) + 1);
    const wide = rearranged(array, shape, (at) => {
      const own = at.map((c, axis) => (c - of(low, axis)) / of(step, axis));
      const inside = own.every((c, axis) => Number.isInteger(c) && c >= 0 && c < (array.shape[axis] as number));
      return inside ? own : undefined;
    });
    const ends = array.shape.map((extent, axis) =>
      extent === 0 ? of(low, axis) : of(low, axis) + (extent - 1) * of(step, axis) + 1,
    );
    return leafOf(wide).slice(low, ends, step);
  },
  flipped(array) {
    const axes = array.shape.map((_, axis) => axis);
    const mirrored = rearranged(array, array.shape, (at) => at.map((c, axis) => (array.shape[axis] as number) - 1 - c));
    return leafOf(mirrored).flip(axes);
  },
  reshaped: (array) => leafOf({ ...array, shape: [array.values.length] }).reshape(array.shape),
  computed(array) {
    if (array.dtype === "bool") return leafOf(array).not().not();
    return leafOf(array).neg().neg();
  },
};

/** A tensor with these values, and how it has them. */
export function disguise(array: NdArray, draw: SeededDraw): { readonly tensor: Tensor; readonly how: string } {
  const how = draw.pick(Object.keys(disguises));
  return { tensor: (disguises[how] as (typeof disguises)[string])(array, draw), how };
}
