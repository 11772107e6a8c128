import { DTypeError } from "./errors";

/**
 * Element types. `f32` is the default; `f16` is a storage type (arithmetic is f32); `bool` takes one 32-bit word.
 */
export type DType = "f32" | "f16" | "i32" | "u32" | "bool";

/** What {@link Tensor.data} returns: one element per entry, row-major; bool as 0 and 1. */
export type TypedArray = Float32Array | Int32Array | Uint32Array | Uint8Array;

/** Bytes of one element in a device buffer. */
export const bytesPerElement: Readonly<Record<DType, number>> = { f32: 4, f16: 2, i32: 4, u32: 4, bool: 4 };

export const isFloat = (dtype: DType): boolean => dtype === "f32" || dtype === "f16";
export const isInteger = (dtype: DType): boolean => dtype === "i32" || dtype === "u32";

/** A WGSL type of arithmetic. */
export type ComputeType = "f32" | "i32" | "u32" | "bool";

/** The WGSL type in which arithmetic on `dtype` happens. */
export const computeType: Readonly<Record<DType, ComputeType>> = {
  f32: "f32",
  f16: "f32",
  i32: "i32",
  u32: "u32",
  bool: "bool",
};

/** The WGSL type of one element in a storage buffer. */
export const storageType: Readonly<Record<DType, "f32" | "f16" | "i32" | "u32">> = {
  f32: "f32",
  f16: "f16",
  i32: "i32",
  u32: "u32",
  bool: "u32",
};

/** Throws a {@link DTypeError} unless all `dtypes` agree. */
export function sameDType(operation: string, dtypes: readonly DType[]): DType {
  const [first, ...rest] = dtypes;
  if (first === undefined) throw new DTypeError(`${operation}: no operand given.`);
  const other = rest.find((dtype) => dtype !== first);
  if (other !== undefined) {
    throw new DTypeError(`${operation}: operands have dtypes ${first} and ${other}. Cast one: x.cast("${first}").`);
  }
  return first;
}

const half = new Float32Array(1);
const halfBits = new Uint32Array(half.buffer);

/** Rounds to the nearest f16 (ties to even) and returns its 16 bits. */
export function float16Bits(value: number): number {
  half[0] = value;
  const bits = halfBits[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // A subnormal half: adding 0.5 puts the unit in the last place of f16 subnormals at f32's last bit.
  half[0] = Math.abs(value) + 0.5;
  return sign | ((halfBits[0] as number) - 0x3f000000);
}

/** The number that 16 bits of an f16 stand for. */
export function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Encodes row-major numbers as the bytes a device buffer of this dtype holds. */
export function encodeElements(values: ArrayLike<number | boolean>, dtype: DType): ArrayBuffer {
  const count = values.length;
  const bytes = new ArrayBuffer(Math.ceil((count * bytesPerElement[dtype]) / 4) * 4);
  switch (dtype) {
    case "f32":
      new Float32Array(bytes).set(values as ArrayLike<number>);
      break;
    case "i32":
      new Int32Array(bytes).set(values as ArrayLike<number>);
      break;
    case "u32":
      new Uint32Array(bytes).set(values as ArrayLike<number>);
      break;
    case "bool": {
      const words = new Uint32Array(bytes);
      for (let i = 0; i < count; i++) words[i] = values[i] ? 1 : 0;
      break;
    }
    case "f16": {
      const halves = new Uint16Array(bytes);
      for (let i = 0; i < count; i++) halves[i] = float16Bits(Number(values[i]));
      break;
    }
  }
  return bytes;
}

/** The inverse of {@link encodeElements}; f16 becomes a Float32Array, bool a Uint8Array. */
export function decodeElements(bytes: ArrayBuffer, count: number, dtype: DType): TypedArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(bytes, 0, count);
    case "i32":
      return new Int32Array(bytes, 0, count);
    case "u32":
      return new Uint32Array(bytes, 0, count);
    case "bool":
      return Uint8Array.from(new Uint32Array(bytes, 0, count));
    case "f16":
      return Float32Array.from(new Uint16Array(bytes, 0, count), float16Value);
  }
}
