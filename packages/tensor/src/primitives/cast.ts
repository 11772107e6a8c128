import { bytesPerElement, type DType, decodeElements, encodeElements, isFloat, isInteger } from "../dtype";
import { DTypeError } from "../errors";
import type { NdArray } from "../reference/array";
import { type Aval, definePrimitive, zeroCotangent, zeroTangent } from "./definition";
import { batchElementwise, mapElements } from "./families";

/**
 * Numbers as another dtype: floats to integers are truncated and clamped, i32 and u32 keep their bits, everything but 0
 * is true.
 */
export const cast = definePrimitive<{ readonly dtype: DType }>({
  name: "cast",
  shape: ([input], { dtype }) => ({ shape: (input as Aval).shape, dtype }),
  lowering: {
    kind: "elementwise",
    expression([x], { width, inputs, output }) {
      const to = (type: string) => (width === 4 ? `vec4<${type}>` : type);
      if (output === "bool" && inputs[0] !== "bool") {
        return `(${x} != ${to(inputs[0] === "f16" ? "f32" : (inputs[0] as string))}(0))`;
      }
      if (output === "f16" && inputs[0] !== "f16") return `${to("f32")}(${to("f16")}(${x}))`;
      return `${to(output === "f16" ? "f32" : output)}(${x})`;
    },
    cost: 1,
  },
  reference: (inputs, { dtype }, output) =>
    mapElements(inputs, output, ([x]) => castNumber(x as number, inputs[0]?.dtype as DType, dtype)),
  vjp(cotangent, { inputs, params }) {
    const from = inputs[0]?.dtype as DType;
    return isFloat(from) && isFloat(params.dtype) ? [cotangent.cast(from)] : [null];
  },
  jvp: ([tangent], { params }) => (tangent && isFloat(params.dtype) ? tangent.cast(params.dtype) : null),
  batch: batchElementwise,
  sample: (draw) => ({
    inputs: [{ shape: draw.shape(), dtype: "f32", domain: [-50, 50] }],
    params: { dtype: draw.pick(["f32", "i32", "bool"] as const) },
  }),
});

function castNumber(value: number, from: DType, to: DType): number {
  switch (to) {
    case "bool":
      return value ? 1 : 0;
    case "i32":
      return isInteger(from) ? value | 0 : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(value)));
    case "u32":
      return isInteger(from) ? value >>> 0 : Math.max(0, Math.min(2 ** 32 - 1, Math.trunc(value)));
    default:
      return value;
  }
}

/** The same 32 bits read as another 32-bit dtype. */
export const bitcast = definePrimitive<{ readonly dtype: DType }>({
  name: "bitcast",
  shape([input], { dtype }) {
    const from = (input as Aval).dtype;
    if (from === "bool" || dtype === "bool" || bytesPerElement[from] !== bytesPerElement[dtype]) {
      throw new DTypeError(`bitcast: ${from} and ${dtype} have no common bits. Use 32-bit numbers: f32, i32, u32.`);
    }
    return { shape: (input as Aval).shape, dtype };
  },
  lowering: {
    kind: "elementwise",
    expression: ([x], { width, output }) => `bitcast<${width === 4 ? `vec4<${output}>` : output}>(${x})`,
    cost: 0,
  },
  reference([input], { dtype }, output) {
    const { values, dtype: from } = input as NdArray;
    const bytes = encodeElements(values, from);
    return { shape: output.shape, dtype, values: Float64Array.from(decodeElements(bytes, values.length, dtype)) };
  },
  vjp: zeroCotangent,
  jvp: zeroTangent,
  batch: batchElementwise,
  sample: (draw) => ({
    inputs: [{ shape: draw.shape(), dtype: "i32", domain: [0, 100000] }],
    params: { dtype: "u32" },
  }),
});
