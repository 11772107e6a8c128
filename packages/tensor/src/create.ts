import { type DType, encodeElements, type TypedArray } from "./dtype";
import { ArgumentError, formatShape, ShapeError } from "./errors";
import { checkShape, type Shape, sizeOf } from "./shape";
import { fromBytes, full, iota, type NestedNumbers, type Tensor } from "./tensor";

/** Nested arrays of numbers or booleans. */
export type NestedValues = NestedNumbers | boolean | readonly NestedValues[];

export interface TensorOptions {
  /** Default: the nesting of the values; `[length]` for a typed array. */
  readonly shape?: Shape;
  /** Default: that of a typed array; bool for booleans; else f32. */
  readonly dtype?: DType;
}

/**
 * A tensor of given values.
 *
 * @example tensor([[1, 2], [3, 4]]); tensor(new Uint32Array(6), { shape: [2, 3] }); tensor(0.5)
 * @throws ShapeError if rows differ in length or the shape does not hold all values.
 */
export function tensor(values: NestedValues | TypedArray, { shape, dtype }: TensorOptions = {}): Tensor {
  if (ArrayBuffer.isView(values)) {
    return build(values as TypedArray, shape ?? [values.length], dtype ?? dtypeOfArray(values as TypedArray));
  }
  const flat: (number | boolean)[] = [];
  const nested = measure(values as NestedValues);
  flatten(values as NestedValues, nested, 0, flat);
  return build(flat, shape ?? nested, dtype ?? (flat.length > 0 && typeof flat[0] === "boolean" ? "bool" : "f32"));
}

/** A tensor of rank 0. */
export const scalar = (value: number | boolean, dtype?: DType): Tensor =>
  tensor(value, dtype === undefined ? {} : { dtype });

function build(values: ArrayLike<number | boolean>, shape: Shape, dtype: DType): Tensor {
  checkShape("tensor", shape);
  if (sizeOf(shape) !== values.length) {
    throw new ShapeError(
      `tensor: ${values.length} values do not fill ${formatShape(shape)} (${sizeOf(shape)} elements).`,
    );
  }
  return fromBytes(encodeElements(values, dtype), shape, dtype);
}

function dtypeOfArray(values: TypedArray | ArrayBufferView): DType {
  if (values instanceof Float32Array) return "f32";
  if (values instanceof Int32Array) return "i32";
  if (values instanceof Uint32Array) return "u32";
  if (values instanceof Float64Array) return "f32";
  throw new ArgumentError(
    `tensor: give a dtype for values in a ${values.constructor.name}; its element type is no dtype of a tensor.`,
  );
}

function measure(values: NestedValues): number[] {
  const shape: number[] = [];
  for (let level: NestedValues | undefined = values; Array.isArray(level); level = level[0]) shape.push(level.length);
  return shape;
}

function flatten(values: NestedValues, shape: Shape, axis: number, into: (number | boolean)[]): void {
  const isArray = Array.isArray(values);
  if (isArray !== axis < shape.length || (isArray && values.length !== shape[axis])) {
    throw new ShapeError(
      `tensor: nested arrays of unequal length or depth at level ${axis} (expected ${shape[axis] ?? "a number"}, ` +
        `found ${isArray ? values.length : "a number"}). All rows must agree.`,
    );
  }
  if (isArray) for (const item of values as readonly NestedValues[]) flatten(item, shape, axis + 1, into);
  else into.push(values as number | boolean);
}

interface DTypeOption {
  readonly dtype?: DType;
}

export const zeros = (shape: Shape, options: DTypeOption = {}): Tensor => full(shape, 0, options);
export const ones = (shape: Shape, options: DTypeOption = {}): Tensor => full(shape, 1, options);
export const zerosLike = (x: Tensor): Tensor => x.zerosLike();
export const onesLike = (x: Tensor): Tensor => x.onesLike();

/** 0, 1, …, count - 1. */
export const arange = (count: number, { dtype = "f32" }: DTypeOption = {}): Tensor => iota([count], 0, dtype);

/** The identity matrix `[rows, columns]`. */
export const eye = (rows: number, columns: number = rows, { dtype = "f32" }: DTypeOption = {}): Tensor =>
  iota([rows, columns], 0)
    .equal(iota([rows, columns], 1))
    .cast(dtype);

/** 1 at the label, 0 elsewhere: `[…]` integers to `[…, classes]`. */
export function oneHot(labels: Tensor, classes: number, { dtype = "f32" }: DTypeOption = {}): Tensor {
  const spread = labels.expandDims(-1).expand([...labels.shape, classes]);
  return spread.iotaLike(labels.rank).equal(spread).cast(dtype);
}
