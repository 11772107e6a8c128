import { ArgumentError, formatShape, ShapeError } from "./errors";

/** Extents, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((extent, axis) => extent === b[axis]);

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis] as number;
  }
  return strides;
}

/** `axis` in `[-rank, rank)` as one in `[0, rank)`. */
export function normalizeAxis(operation: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    const range = rank === 0 ? "a scalar has no axes" : `give one from ${-rank} to ${rank - 1}`;
    throw new ArgumentError(`${operation}: axis ${axis} is outside of rank ${rank}; ${range}.`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** Distinct axes in ascending order; `undefined` means all. */
export function normalizeAxes(operation: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, axis) => axis);
  const list = (typeof axes === "number" ? [axes] : axes).map((axis) => normalizeAxis(operation, axis, rank));
  if (new Set(list).size !== list.length) {
    throw new ArgumentError(`${operation}: axes [${list.join(", ")}] name one axis twice.`);
  }
  return list.sort((a, b) => a - b);
}

/** NumPy's broadcasting rule: align right, extents must agree or be 1. */
export function broadcastShapes(operation: string, shapes: readonly Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let extent = 1;
    for (const shape of shapes) {
      const own = shape[axis - rank + shape.length] ?? 1;
      if (own !== 1 && extent !== 1 && own !== extent) {
        const list = shapes.map(formatShape).join(" and ");
        throw new ShapeError(
          `${operation}: shapes ${list} do not broadcast (axis ${axis - rank} from the right: ${extent} and ${own}). ` +
            "Extents must agree or be 1; reshape one operand.",
        );
      }
      if (own !== 1) extent = own;
    }
    return extent;
  });
}

export const withoutAxes = (shape: Shape, axes: readonly number[]): number[] =>
  shape.filter((_, axis) => !axes.includes(axis));

/** Throws unless every extent is a non-negative integer. */
export function checkShape(operation: string, shape: Shape): void {
  if (!shape.every((extent) => Number.isInteger(extent) && extent >= 0)) {
    throw new ShapeError(`${operation}: ${formatShape(shape)} is no shape. Extents are integers of at least 0.`);
  }
}

/** The inverse of a permutation. */
export function invertPermutation(axes: readonly number[]): number[] {
  const inverse = new Array<number>(axes.length);
  axes.forEach((axis, position) => {
    inverse[axis] = position;
  });
  return inverse;
}
