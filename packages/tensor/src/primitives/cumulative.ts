import { isFloat } from "../dtype";
import { DTypeError } from "../errors";
import { columnBlock, longestRow, rowBlock, scanBlocks } from "../kernels/scan.wgsl";
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
      const extents = [
        sizeOf(x.shape.slice(0, axis)),
        x.shape[axis] as number,
        sizeOf(x.shape.slice(axis + 1)),
      ] as const;
      // Halves are storage only: the sums of blocks would round, and overflow.
      const wide = x.dtype === "f16" ? x.cast("f32") : x;
      return cumulate(wide, extents, reverse).cast(x.dtype);
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
 * Along the middle axis of the elements as `[pre, n, post]`: sums of blocks, their cumulative sums, and the sums within
 * the blocks on top of those.
 */
export function cumulate(x: Tensor, extents: readonly [number, number, number], reverse: boolean): Tensor {
  const [pre, n, post] = extents;
  const longest = post > 1 ? columnBlock : isFloat(x.dtype) ? longestRow : 2 * longestRow;
  if (n <= longest) return x.bind(scanBlocks, [x], { extents, length: n, reverse });
  const length = post === 1 ? rowBlock : columnBlock;
  const blocks = Math.ceil(n / length);
  const padded = x.reshape(extents).pad([
    [0, 0],
    [0, blocks * length - n],
    [0, 0],
  ]);
  const sums = padded.reshape([pre, blocks, length, post]).sum({ axis: 2 });
  return x.bind(scanBlocks, [x, cumulate(sums, [pre, blocks, post], reverse)], { extents, length, reverse });
}
