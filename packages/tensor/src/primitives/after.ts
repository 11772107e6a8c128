import type { NdArray } from "../reference/array";
import type { Tensor } from "../tensor";
import { type Aval, definePrimitive } from "./definition";
import { withBatchAxis } from "./families";

/**
 * The first input, not before the second one is computed. What is made of it is another value than what is made of the
 * input itself, although both are equal: this is how something is computed again, later, instead of being kept.
 */
export const after = definePrimitive<undefined>({
  name: "after",
  shape: ([input]) => input as Aval,
  lowering: { kind: "barrier" },
  reference: ([input]) => input as NdArray,
  vjp: (cotangent) => [cotangent, null],
  jvp: ([tangent]) => tangent ?? null,
  batch: ([input, cause], { batched, size, bind }) =>
    bind([withBatchAxis(input as Tensor, batched[0] as boolean, size), cause as Tensor], undefined),
  sample: (draw) => ({
    inputs: [
      { shape: draw.shape(), dtype: "f32" },
      { shape: draw.shape(), dtype: "f32" },
    ],
    params: undefined,
  }),
});
