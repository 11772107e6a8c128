import { type DType, isFloat, isInteger, sameDType } from "../dtype";
import { DTypeError, formatShape, ShapeError } from "../errors";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { type Shape, sameShape, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import type { Index } from "../view";
import {
  type Aval,
  type BatchContext,
  type Draw,
  type ExpressionContext,
  type Movement,
  type Primitive,
  type RuleContext,
  type Sample,
  zeroCotangent,
  zeroTangent,
} from "./definition";

/** Which dtypes an elementwise operation takes. */
type DTypeClass = "float" | "integer" | "u32" | "number" | "bool" | "any";

const accepts: Readonly<Record<DTypeClass, (dtype: DType) => boolean>> = {
  float: isFloat,
  integer: isInteger,
  u32: (dtype) => dtype === "u32",
  number: (dtype) => dtype !== "bool",
  bool: (dtype) => dtype === "bool",
  any: () => true,
};

const sampleDType: Readonly<Record<DTypeClass, DType>> = {
  float: "f32",
  integer: "u32",
  u32: "u32",
  number: "f32",
  bool: "bool",
  any: "f32",
};

/** Applies the derivative with respect to one argument: `t` times the partial derivative. */
export type Partial<P> = (t: Tensor, context: RuleContext<P>) => Tensor;

type Domain = readonly [number, number];

export interface ElementwiseSpec<P> {
  readonly name: string;
  readonly arity: number;
  readonly takes: DTypeClass;
  /** Dtype of the result; that of the operands by default. */
  readonly gives?: DType;
  expression(args: readonly string[], context: ExpressionContext, params: P): string;
  reference(args: readonly number[], params: P, dtype: DType): number;
  /** One per argument, or null for operations that are constant almost everywhere. */
  readonly partials: readonly Partial<P>[] | null;
  /** Floating-point operations per element, roughly; default 1. */
  readonly cost?: number;
  /** Where samples are drawn, per argument; default [-2, 2]. */
  readonly domains?: readonly Domain[];
  readonly sampleParams: P;
  /** Values of the left or right operand that leave the other one as it is. */
  readonly neutral?: { readonly left?: number; readonly right?: number };
  /** The operation has ties or kinks: samples keep a distance from each other and from 0. */
  readonly distinct?: boolean;
}

/**
 * Operations on corresponding elements of operands of one shape and dtype. All rules follow from one partial
 * derivative per argument: a diagonal Jacobian is its own transpose, so vjp and jvp share them.
 */
export function elementwise<P>(spec: ElementwiseSpec<P>): Primitive<P> {
  const { name, arity, takes, gives, partials } = spec;
  return {
    name,
    shape(inputs) {
      const dtype = sameDType(
        name,
        inputs.map((input) => input.dtype),
      );
      if (!accepts[takes](dtype)) {
        throw new DTypeError(`${name}: takes ${takes} operands, got ${dtype}. Cast first, for example x.cast("f32").`);
      }
      return { shape: commonShape(name, inputs), dtype: gives ?? dtype };
    },
    lowering: {
      kind: "elementwise",
      expression: spec.expression,
      cost: spec.cost ?? 1,
      ...(spec.neutral && { neutral: spec.neutral }),
    },
    reference: (inputs, params, output) =>
      mapElements(inputs, output, (args) => spec.reference(args, params, inputs[0]?.dtype ?? output.dtype)),
    vjp(cotangent, context) {
      if (partials === null || !isFloat(context.output.dtype)) return zeroCotangent(cotangent, context);
      return partials.map((partial) => partial(cotangent, context));
    },
    jvp(tangents, context) {
      if (partials === null || !isFloat(context.output.dtype)) return zeroTangent();
      return sumTangents(tangents.map((t, index) => t && (partials[index] as Partial<P>)(t, context)));
    },
    batch: batchElementwise,
    sample(draw) {
      const shape = draw.shape();
      return {
        inputs: Array.from({ length: arity }, (_, index) => ({
          shape,
          dtype: sampleDType[takes],
          domain: spec.domains?.[index] ?? ([-2, 2] as const),
          distinct: spec.distinct ?? false,
        })),
        params: spec.sampleParams,
      };
    },
  };
}

/** Throws unless the operands of an elementwise operation agree in shape; broadcasting happened before. */
export function commonShape(name: string, inputs: readonly Aval[]): Shape {
  const [first] = inputs as [Aval, ...Aval[]];
  for (const other of inputs) {
    if (!sameShape(first.shape, other.shape)) {
      throw new ShapeError(
        `${name}: operands ${formatShape(first.shape)} and ${formatShape(other.shape)} differ. ` +
          "Broadcast them first: x.expand(shape).",
      );
    }
  }
  return first.shape;
}

/** The float64 loop that all elementwise references share. */
export function mapElements(
  inputs: readonly NdArray[],
  output: Aval,
  fn: (args: readonly number[]) => number,
): NdArray {
  const values = new Float64Array(sizeOf(output.shape));
  const args = inputs.map(() => 0);
  for (let position = 0; position < values.length; position++) {
    for (let index = 0; index < inputs.length; index++) args[index] = inputs[index]?.values[position] as number;
    values[position] = fn(args);
  }
  return { shape: output.shape, dtype: output.dtype, values };
}

/** The sum of the tangents that are not zero. */
export function sumTangents(tangents: readonly (Tensor | null | undefined)[]): Tensor | null {
  let total: Tensor | null = null;
  for (const tangent of tangents) {
    if (tangent) total = total === null ? tangent : total.add(tangent);
  }
  return total;
}

/** Gives every operand the batch axis and applies the operation once. */
export function batchElementwise<P>(inputs: readonly Tensor[], context: BatchContext<P>): Tensor {
  return context.bind(
    inputs.map((input, index) => withBatchAxis(input, context.batched[index] as boolean, context.size)),
    context.params,
  );
}

/** The operand with the batch axis in front, repeated (at no cost) if it has none. */
export const withBatchAxis = (input: Tensor, batched: boolean, size: number): Tensor =>
  batched ? input : input.expandDims(0).expand([size, ...input.shape]);

export interface MovementSpec<P> {
  readonly name: string;
  shape(input: Shape, params: P): Shape;
  move(output: readonly Index[], inputShape: Shape, params: P): Movement;
  /** The value where a guard fails; default 0. */
  fill?(params: P): number;
  /** The same map on numbers: the input's coordinates, or null for the fill. */
  source(output: readonly number[], inputShape: Shape, params: P): readonly number[] | null;
  /** The transpose of the linear map (its fill counts as 0). */
  transpose(cotangent: Tensor, inputShape: Shape, params: P): Tensor;
  /** The tangent map where it differs from the operation itself: with the fill 0. */
  tangent?(tangent: Tensor, params: P): Tensor;
  /** The parameters that act in the same way on an input with one more axis in front. */
  batchParams(params: P, size: number): P;
  /** The one application that does what `inner` and then `outer` do. */
  merge?(inner: P, outer: P): P;
  isIdentity?(params: P, inputShape: Shape): boolean;
  sample(draw: Draw): Sample<P>;
}

/** Views: every element of the output is one element of the input, or the fill. Linear, and free. */
export function movement<P>(spec: MovementSpec<P>): Primitive<P> {
  return {
    name: spec.name,
    shape: ([input], params) => {
      const { shape, dtype } = input as Aval;
      return { shape: spec.shape(shape, params), dtype };
    },
    lowering: {
      kind: "movement",
      move: spec.move,
      fill: (params) => spec.fill?.(params) ?? 0,
      batchParams: spec.batchParams,
      ...(spec.merge && { merge: spec.merge }),
      ...(spec.isIdentity && { isIdentity: spec.isIdentity }),
    },
    reference([input], params, output) {
      const { shape } = input as NdArray;
      const fill = spec.fill?.(params) ?? 0;
      return ndarray(output.shape, output.dtype, (coordinates) => {
        const source = spec.source(coordinates, shape, params);
        return source === null ? fill : elementAt(input as NdArray, source);
      });
    },
    vjp(cotangent, { inputs, params, output }) {
      return isFloat(output.dtype) ? [spec.transpose(cotangent, (inputs[0] as Tensor).shape, params)] : [null];
    },
    jvp([tangent], { params, output }) {
      if (!tangent || !isFloat(output.dtype)) return null;
      return spec.tangent ? spec.tangent(tangent, params) : output.rebind([tangent]);
    },
    batch: ([input], { params, size, bind }) => bind([input as Tensor], spec.batchParams(params, size)),
    sample: spec.sample,
  };
}
