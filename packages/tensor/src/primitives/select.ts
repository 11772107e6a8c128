import { isFloat } from "../dtype";
import { DTypeError } from "../errors";
import type { Tensor } from "../tensor";
import { type Aval, definePrimitive } from "./definition";
import { batchElementwise, commonShape, mapElements, sumTangents } from "./families";

/** `condition ? a : b`, element by element. The operand that is not chosen has no influence, not even a NaN. */
export const select = definePrimitive<undefined>({
  name: "where",
  shape(inputs) {
    const [condition, a, b] = inputs as [Aval, Aval, Aval];
    if (condition.dtype !== "bool") {
      throw new DTypeError(`where: the condition is ${condition.dtype}, not bool. Compare first: x.greater(0).`);
    }
    if (a.dtype !== b.dtype) {
      throw new DTypeError(`where: branches are ${a.dtype} and ${b.dtype}. Cast one: x.cast("${a.dtype}").`);
    }
    return { shape: commonShape("where", inputs), dtype: a.dtype };
  },
  lowering: {
    kind: "elementwise",
    expression: ([condition, a, b]) => `select(${b}, ${a}, ${condition})`,
    cost: 1,
  },
  reference: (inputs, _params, output) =>
    mapElements(inputs, output, ([condition, a, b]) => (condition ? (a as number) : (b as number))),
  vjp(cotangent, { inputs, output }) {
    const condition = inputs[0] as Tensor;
    if (!isFloat(output.dtype)) return [null, null, null];
    return [null, condition.where(cotangent, 0), condition.where(0, cotangent)];
  },
  jvp([, a, b], { inputs }) {
    const condition = inputs[0] as Tensor;
    if (a && b) return condition.where(a, b);
    return sumTangents([a && condition.where(a, 0), b && condition.where(0, b)]);
  },
  batch: batchElementwise,
  sample(draw) {
    const shape = draw.shape();
    return {
      inputs: [
        { shape, dtype: "bool" },
        { shape, dtype: "f32" },
        { shape, dtype: "f32" },
      ],
      params: undefined,
    };
  },
});
