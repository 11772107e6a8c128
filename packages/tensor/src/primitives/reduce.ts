import { type DType, isFloat, isInteger } from "../dtype";
import { ArgumentError, DTypeError, formatShape } from "../errors";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { type Shape, sizeOf, withoutAxes } from "../shape";
import type { Tensor } from "../tensor";
import {
  type Aval,
  type Combine,
  definePrimitive,
  type Primitive,
  type RuleContext,
  zeroCotangent,
  zeroTangent,
} from "./definition";

interface ReduceParams {
  /** Ascending; the reduced axes disappear. */
  readonly axes: readonly number[];
}

interface ReductionSpec {
  readonly name: string;
  readonly combine: Combine;
  /** The value over no elements at all; undefined where there is none. */
  readonly empty: number | undefined;
  /** Gives the position along the axis instead of the value, as i32. */
  readonly position?: boolean;
  fold(values: Float64Array, dtype: DType): number;
  readonly vjp: Primitive<ReduceParams>["vjp"];
  readonly jvp: Primitive<ReduceParams>["jvp"];
}

function reduction(spec: ReductionSpec): Primitive<ReduceParams> {
  const { name } = spec;
  return definePrimitive<ReduceParams>({
    name,
    shape([input], { axes }) {
      const { shape, dtype } = input as Aval;
      if (dtype === "bool") throw new DTypeError(`${name}: takes numbers, got bool. Cast first: x.cast("i32").`);
      if (spec.empty === undefined && axes.some((axis) => shape[axis] === 0)) {
        throw new ArgumentError(`${name}: ${formatShape(shape)} has no element along axes [${axes.join(", ")}].`);
      }
      return { shape: withoutAxes(shape, axes), dtype: spec.position ? "i32" : dtype };
    },
    lowering: { kind: "reduction", axes: ({ axes }) => axes, combine: spec.combine },
    reference([input], { axes }, output) {
      const array = input as NdArray;
      const reduced = axes.map((axis) => array.shape[axis] as number);
      return ndarray(output.shape, output.dtype, (coordinates) => {
        const inner = ndarray(reduced, array.dtype, (position) =>
          elementAt(array, mergeCoordinates(array.shape.length, axes, coordinates, position)),
        );
        const value = spec.fold(inner.values, array.dtype);
        return output.dtype === "i32" ? value | 0 : output.dtype === "u32" ? value >>> 0 : value;
      });
    },
    vjp: (cotangent, context) =>
      isFloat(context.output.dtype) ? spec.vjp(cotangent, context) : zeroCotangent(cotangent, context),
    jvp: (tangents, context) => (isFloat(context.output.dtype) ? spec.jvp(tangents, context) : null),
    batch: ([input], { params, bind }) => bind([input as Tensor], { axes: params.axes.map((axis) => axis + 1) }),
    sample(draw) {
      const shape = draw.shape({ rank: [1, 4], extent: spec.empty === undefined ? [1, 5] : [0, 5] });
      const axes = spec.position
        ? [draw.integer(0, shape.length - 1)]
        : shape.flatMap((_, axis) => (draw.integer(0, 1) ? [axis] : []));
      return { inputs: [{ shape, dtype: "f32", distinct: spec.combine !== "sum" }], params: { axes } };
    },
  });
}

/** Full coordinates from those of the kept and those of the reduced axes. */
function mergeCoordinates(
  rank: number,
  axes: readonly number[],
  kept: readonly number[],
  reduced: readonly number[],
): number[] {
  let nextKept = 0;
  return Array.from({ length: rank }, (_, axis) => {
    const position = axes.indexOf(axis);
    return (position >= 0 ? reduced[position] : kept[nextKept++]) as number;
  });
}

/** A reduced tensor repeated over the axes it lost. */
export function restore(reduced: Tensor, axes: readonly number[], shape: Shape): Tensor {
  return reduced.reshape(shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent))).expand(shape);
}

export const sum = reduction({
  name: "sum",
  combine: "sum",
  empty: 0,
  fold: (values) => values.reduce((total, value) => total + value, 0),
  vjp: (cotangent, { inputs, params }) => [restore(cotangent, params.axes, (inputs[0] as Tensor).shape)],
  jvp: ([tangent], { params }) => (tangent ? tangent.sum({ axis: params.axes }) : null),
});

const averageOf = (values: Float64Array): number => values.reduce((total, value) => total + value, 0) / values.length;

const sumOfDeviations = reduction({
  name: "squaredDeviations",
  combine: "deviations",
  empty: 0,
  fold(values) {
    const mean = averageOf(values);
    return values.reduce((total, value) => total + (value - mean) ** 2, 0);
  },
  vjp: (cotangent, { inputs, params }) => {
    const x = inputs[0] as Tensor;
    return [restore(cotangent, params.axes, x.shape).mul(deviations(x, params.axes)).mul(2)];
  },
  jvp: ([tangent], { inputs, params }) =>
    tangent
      ? tangent
          .mul(deviations(inputs[0] as Tensor, params.axes))
          .sum({ axis: params.axes })
          .mul(2)
      : null,
});

const deviations = (x: Tensor, axes: readonly number[]): Tensor => x.sub(x.mean({ axis: axes, keepDims: true }));

/**
 * Σ (x - mean)², with the mean over the same axes. One operation rather than a composition, because the compiler knows a
 * way to compute it in one pass (compiler/split-reduction.ts), and because its derivative 2 (x - mean) does not go
 * through the mean, whose share cancels.
 */
export const squaredDeviations: Primitive<ReduceParams> = {
  ...sumOfDeviations,
  shape(inputs, params) {
    const { dtype } = inputs[0] as Aval;
    if (!isFloat(dtype)) {
      throw new DTypeError(`squaredDeviations: takes floats, got ${dtype}. Cast first: x.cast("f32").`);
    }
    return sumOfDeviations.shape(inputs, params);
  },
};

/** True at the first position, in row-major order over the reduced axes, where the extreme value is attained. */
function firstAttained(x: Tensor, axes: readonly number[], find: "argmax" | "argmin"): Tensor {
  const kept = x.shape.flatMap((_, axis) => (axes.includes(axis) ? [] : [axis]));
  const order = [...kept, ...axes];
  const keptShape = kept.map((axis) => x.shape[axis] as number);
  const count = sizeOf(axes.map((axis) => x.shape[axis] as number));
  const rows = x.permute(order).reshape([...keptShape, count]);
  const position = rows[find]({ axis: -1, keepDims: true }).expand(rows.shape);
  const attained = position.iotaLike(rows.rank - 1).equal(position);
  const inverse = order.map((_, axis) => order.indexOf(axis));
  return attained.reshape(order.map((axis) => x.shape[axis] as number)).permute(inverse);
}

/** Derivatives go to the first element that attains the extreme, as in pooling layers. */
function extreme(combine: "max" | "min", fold: (values: Float64Array) => number): Primitive<ReduceParams> {
  const find = combine === "max" ? "argmax" : "argmin";
  const mask = ({ inputs, params }: RuleContext<ReduceParams>) => firstAttained(inputs[0] as Tensor, params.axes, find);
  return reduction({
    name: combine,
    combine,
    empty: undefined,
    fold,
    vjp(cotangent, context) {
      const { shape } = context.inputs[0] as Tensor;
      return [mask(context).where(restore(cotangent, context.params.axes, shape), 0)];
    },
    jvp: ([tangent], context) => (tangent ? mask(context).where(tangent, 0).sum({ axis: context.params.axes }) : null),
  });
}

export const max = extreme("max", (values) =>
  values.reduce((best, value) => Math.max(best, value), Number.NEGATIVE_INFINITY),
);
export const min = extreme("min", (values) =>
  values.reduce((best, value) => Math.min(best, value), Number.POSITIVE_INFINITY),
);

/** Product of all other elements along the axes, exact where elements are 0. */
function productOfOthers(x: Tensor, axes: readonly number[]): Tensor {
  const kept = x.shape.flatMap((_, axis) => (axes.includes(axis) ? [] : [axis]));
  const order = [...kept, ...axes];
  const keptShape = kept.map((axis) => x.shape[axis] as number);
  const count = sizeOf(axes.map((axis) => x.shape[axis] as number));
  const pairs = [...keptShape, count, count];
  const rows = x
    .permute(order)
    .reshape([...keptShape, 1, count])
    .expand(pairs);
  const same = rows.iotaLike(pairs.length - 2).equal(rows.iotaLike(pairs.length - 1));
  const others = same.where(1, rows).prod({ axis: -1 });
  const inverse = order.map((_, axis) => order.indexOf(axis));
  return others.reshape(order.map((axis) => x.shape[axis] as number)).permute(inverse);
}

export const prod = reduction({
  name: "prod",
  combine: "prod",
  empty: 1,
  // Products of integers outgrow the 53 bits of a float64.
  fold: (values, dtype) =>
    values.reduce((total, value) => (isInteger(dtype) ? Math.imul(total, value) : total * value), 1),
  vjp(cotangent, { inputs, params }) {
    const x = inputs[0] as Tensor;
    return [restore(cotangent, params.axes, x.shape).mul(productOfOthers(x, params.axes))];
  },
  jvp: ([tangent], { inputs, params }) =>
    tangent ? tangent.mul(productOfOthers(inputs[0] as Tensor, params.axes)).sum({ axis: params.axes }) : null,
});

const firstIndexWhere = (values: Float64Array, better: (a: number, b: number) => boolean): number => {
  let best = 0;
  for (let index = 1; index < values.length; index++) {
    if (better(values[index] as number, values[best] as number)) best = index;
  }
  return best;
};

/** Position of the first largest element along one axis, as i32. */
export const argmax = reduction({
  name: "argmax",
  combine: "argmax",
  empty: undefined,
  position: true,
  fold: (values) => firstIndexWhere(values, (a, b) => a > b),
  vjp: zeroCotangent,
  jvp: zeroTangent,
});

export const argmin = reduction({
  name: "argmin",
  combine: "argmin",
  empty: undefined,
  position: true,
  fold: (values) => firstIndexWhere(values, (a, b) => a < b),
  vjp: zeroCotangent,
  jvp: zeroTangent,
});
