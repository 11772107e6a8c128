import { isFloat } from "../dtype";
import { DTypeError } from "../errors";
import { columnBlock, rowBlock, scanBlocks } from "../kernels/scan.wgsl";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { normalizeAxis, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { type Aval, definePrimitive } from "./definition";

interface CumulativeParams {
  readonly axis: number;
  /** Sums from each element to the end of the axis. */
  readonly reverse: boolean;
}

/** Sums of all elements up to and including each one, along an axis; or, in reverse, from each one on. */
export const cumsum = definePrimitive<CumulativeParams>({
  name: "cumsum",
  shape([input], { axis }) {
    const { shape, dtype } = input as Aval;
    if (dtype === "bool") throw new DTypeError('cumsum: takes numbers, got bool. Cast first: x.cast("i32").');
    normalizeAxis("cumsum", axis, shape.length);
    return { shape, dtype };
  },
  lowering: {
    kind: "composite",
    expand([input], { axis, reverse }) {
      const x = input as Tensor;
      if (x.size === 0) return x.zerosLike();
      const pre = sizeOf(x.shape.slice(0, axis));
      const post = sizeOf(x.shape.slice(axis + 1));
      // Halves are storage only: the sums of blocks would round, and overflow.
      const wide = x.dtype === "f16" ? x.cast("f32") : x;
      const sums = cumulate(wide.reshape([pre, x.shape[axis] as number, post]), reverse);
      return sums.reshape(x.shape).cast(x.dtype);
    },
  },
  reference([input], { axis, reverse }, output) {
    const array = input as NdArray;
    const extent = array.shape[axis] as number;
    return ndarray(output.shape, output.dtype, (coordinates) => {
      const own = coordinates[axis] as number;
      let total = 0;
      for (let position = reverse ? own : 0; position < (reverse ? extent : own + 1); position++) {
        total += elementAt(
          array,
          coordinates.map((c, at) => (at === axis ? position : c)),
        );
      }
      return output.dtype === "i32" ? total | 0 : output.dtype === "u32" ? total >>> 0 : total;
    });
  },
  vjp: (cotangent, { params, output }) =>
    isFloat(output.dtype) ? [cotangent.cumsum({ ...params, reverse: !params.reverse })] : [null],
  jvp: ([tangent], { params, output }) => (tangent && isFloat(output.dtype) ? tangent.cumsum(params) : null),
  batch: ([input], { params, bind }) => bind([input as Tensor], { ...params, axis: params.axis + 1 }),
  sample(draw) {
    const shape = draw.shape({ rank: [1, 3] });
    return {
      inputs: [{ shape, dtype: "f32" }],
      params: { axis: draw.integer(0, shape.length - 1), reverse: draw.integer(0, 1) === 1 },
    };
  },
});

/**
 * Along the middle axis of `[pre, n, post]`: sums of blocks, their cumulative sums, and the sums within the blocks on
 * top of those.
 */
function cumulate(x: Tensor, reverse: boolean): Tensor {
  const [pre, n, post] = x.shape as [number, number, number];
  const length = post === 1 ? rowBlock : columnBlock;
  const params = { length, reverse };
  if (n <= length) return x.bind(scanBlocks, [x], params);
  const blocks = Math.ceil(n / length);
  const padded = x.pad([
    [0, 0],
    [0, blocks * length - n],
    [0, 0],
  ]);
  const totals = cumulate(padded.reshape([pre, blocks, length, post]).sum({ axis: 2 }), reverse);
  const shifted = totals.pad([[0, 0], reverse ? [0, 1] : [1, 0], [0, 0]]);
  const before = reverse ? shifted.slice([0, 1, 0]) : shifted.slice([0, 0, 0], [pre, blocks, post]);
  return x.bind(scanBlocks, [x, before], params);
}
