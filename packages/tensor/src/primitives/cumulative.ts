import { isFloat } from "../dtype";
import { DTypeError } from "../errors";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { normalizeAxis } from "../shape";
import type { Tensor } from "../tensor";
import { type Aval, definePrimitive } from "./definition";

/** Elements that are summed directly; longer axes are cut into blocks of this length. */
const block = 64;

/** Sums of all elements up to and including each one, along an axis. */
export const cumsum = definePrimitive<{ readonly axis: number }>({
  name: "cumsum",
  shape([input], { axis }) {
    const { shape, dtype } = input as Aval;
    if (dtype === "bool") throw new DTypeError('cumsum: takes numbers, got bool. Cast first: x.cast("i32").');
    normalizeAxis("cumsum", axis, shape.length);
    return { shape, dtype };
  },
  lowering: {
    kind: "composite",
    expand: ([input], { axis }) => cumulate((input as Tensor).moveAxis(axis, -1)).moveAxis(-1, axis),
  },
  reference([input], { axis }, output) {
    const array = input as NdArray;
    return ndarray(output.shape, output.dtype, (coordinates) => {
      let total = 0;
      for (let position = 0; position <= (coordinates[axis] as number); position++) {
        total += elementAt(
          array,
          coordinates.map((c, own) => (own === axis ? position : c)),
        );
      }
      return output.dtype === "i32" ? total | 0 : output.dtype === "u32" ? total >>> 0 : total;
    });
  },
  vjp: (cotangent, { params, output }) =>
    isFloat(output.dtype) ? [cotangent.flip(params.axis).cumsum(params).flip(params.axis)] : [null],
  jvp: ([tangent], { params, output }) => (tangent && isFloat(output.dtype) ? tangent.cumsum(params) : null),
  batch: ([input], { params, bind }) => bind([input as Tensor], { axis: params.axis + 1 }),
  sample(draw) {
    const shape = draw.shape({ rank: [1, 3] });
    return { inputs: [{ shape, dtype: "f32" }], params: { axis: draw.integer(0, shape.length - 1) } };
  },
});

/** Along the last axis. Within blocks every prefix is one sum; the blocks' totals are cumulated in the same way. */
function cumulate(x: Tensor): Tensor {
  const length = x.shape[x.rank - 1] as number;
  const rest = x.shape.slice(0, -1);
  if (length <= block) {
    const square = [...rest, length, length];
    const pairs = x.expandDims(-2).expand(square);
    const upTo = pairs.iotaLike(x.rank).lessEqual(pairs.iotaLike(x.rank - 1));
    return upTo.where(pairs, 0).sum({ axis: -1 });
  }
  const blocks = Math.ceil(length / block);
  const padded = x.pad([...rest.map(() => [0, 0] as const), [0, blocks * block - length]]);
  const within = cumulate(padded.reshape([...rest, blocks, block]));
  const totals = cumulate(
    within.slice([...within.shape.map((_, axis) => (axis === x.rank ? block - 1 : 0))]).reshape([...rest, blocks]),
  );
  const before = totals
    .pad([...rest.map(() => [0, 0] as const), [1, 0]])
    .slice([...rest.map(() => 0), 0], [...rest, blocks]);
  const sums = within.add(before.expandDims(-1));
  return sums.reshape([...rest, blocks * block]).slice([...rest.map(() => 0), 0], [...rest, length]);
}
