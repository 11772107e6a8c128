import { isFloat } from "../dtype";
import { ArgumentError } from "../errors";
import type { Draw, Sample, SampleInput } from "../primitives/definition";
import { type NdArray, ndarray } from "../reference/array";
import { threefry2x32 } from "../reference/threefry";
import { sizeOf } from "../shape";

/** A {@link Draw} that also gives real numbers. */
export interface SeededDraw extends Draw {
  /** Uniform in [low, high); default [0, 1). */
  uniform(low?: number, high?: number): number;
  /** The integers 0 … count - 1 in random order. */
  order(count: number): number[];
}

/**
 * Draws that depend on the seed alone, so that a failing case is found again by its seed.
 *
 * Shapes have rank 0 to 4 and extents 1 to 5 unless told otherwise; one in eight shapes of unstated extents has an
 * extent of 0.
 */
export function seededDraw(seed: number): SeededDraw {
  let counter = 0;
  const bits = () => threefry2x32([seed >>> 0, Math.floor(seed / 2 ** 32), 0, counter++])[0];
  const uniform = (low = 0, high = 1) => low + ((high - low) * bits()) / 2 ** 32;
  const integer = (low: number, high: number) => Math.floor(uniform(low, high + 1));
  return {
    uniform,
    integer,
    pick: (items) => {
      if (items.length === 0) throw new ArgumentError("pick: there is nothing to pick from. Give at least one item.");
      return items[integer(0, items.length - 1)] as (typeof items)[number];
    },
    order(count) {
      const items = Array.from({ length: count }, (_, index) => index);
      for (let last = count - 1; last > 0; last--) {
        const other = integer(0, last);
        [items[last], items[other]] = [items[other] as number, items[last] as number];
      }
      return items;
    },
    shape({ rank = [0, 4], extent } = {}) {
      const length = integer(rank[0], rank[1]);
      const shape = Array.from({ length }, () => integer(extent?.[0] ?? 1, extent?.[1] ?? 5));
      if (extent === undefined && length > 0 && integer(0, 7) === 0) shape[integer(0, length - 1)] = 0;
      return shape;
    },
  };
}

const defaultDomain = [-2, 2] as const;

/**
 * Values for the inputs of a sample: floats exact in f32, integers with both ends of the domain, bool 0 and 1.
 * Inputs marked `distinct` share no value among each other, and keep half of the smallest distance from 0 if the domain
 * is symmetric.
 */
export function randomInputs(sample: Sample<unknown>, draw: SeededDraw): NdArray[] {
  const distinct = sample.inputs.filter((input) => input.distinct);
  const total = distinct.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  // An even number of cells, so that 0 is on a border and not in the middle of a cell.
  const cells = total + (total % 2);
  const order = draw.order(cells);
  const next = ({ domain: [low, high] = defaultDomain, distinct, dtype }: SampleInput): number => {
    if (dtype === "bool") return draw.integer(0, 1);
    if (!isFloat(dtype)) return draw.integer(dtype === "u32" ? Math.max(0, Math.ceil(low)) : Math.ceil(low), high);
    const unit = distinct ? ((order.pop() as number) + 0.5) / cells : draw.uniform();
    return Math.fround(low + (high - low) * unit);
  };
  return sample.inputs.map((input) =>
    structured(
      ndarray(input.shape, input.dtype, () => next(input)),
      input,
    ),
  );
}

/** Elements of matrices from drawn ones: x of the same matrix, row i, column j, extent n. */
const structures: Readonly<
  Record<
    NonNullable<SampleInput["structure"]>,
    (x: (i: number, j: number) => number, i: number, j: number, n: number) => number
  >
> = {
  positiveDefinite(x, i, j, n) {
    let total = i === j ? 0.5 : 0;
    for (let k = 0; k < n; k++) total += (x(i, k) * x(j, k)) / n;
    return total;
  },
  /** Eigenvalues about one apart from each other. */
  symmetric: (x, i, j, n) => (0.1 * (x(i, j) + x(j, i))) / n + (i === j ? i - 1.3 : 0),
  triangular: (x, i, j) => (i === j ? Math.sign(x(i, j)) + x(i, j) : 0.5 * x(i, j)),
};

function structured(array: NdArray, { structure }: SampleInput): NdArray {
  if (structure === undefined) return array;
  const n = array.shape.at(-1) as number;
  const element = structures[structure];
  return ndarray(array.shape, array.dtype, (at) => {
    const [i, j] = at.slice(-2) as [number, number];
    const start = at.slice(0, -2).reduce((sum, c, axis) => sum * (array.shape[axis] as number) + c, 0) * n * n;
    return Math.fround(element((row, column) => array.values[start + row * n + column] as number, i, j, n));
  });
}
