import { isFloat, sameDType } from "../dtype";
import { ArgumentError, formatShape, ShapeError } from "../errors";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import type { Tensor } from "../tensor";
import { definePrimitive } from "./definition";
import { withBatchAxis } from "./families";

/** Joins tensors that agree in all extents but the one along `axis`. */
export const concat = definePrimitive<{ readonly axis: number }>({
  name: "concat",
  shape(inputs, { axis }) {
    const [first] = inputs;
    if (first === undefined) throw new ArgumentError("concat: no tensor given. Give at least one.");
    const dtype = sameDType(
      "concat",
      inputs.map((input) => input.dtype),
    );
    for (const other of inputs) {
      const agrees =
        other.shape.length === first.shape.length &&
        other.shape.every((extent, own) => own === axis || extent === first.shape[own]);
      if (!agrees) {
        throw new ShapeError(
          `concat: ${formatShape(first.shape)} and ${formatShape(other.shape)} differ outside of axis ${axis}.`,
        );
      }
    }
    const extent = inputs.reduce((sum, { shape }) => sum + (shape[axis] as number), 0);
    return { shape: first.shape.map((own, position) => (position === axis ? extent : own)), dtype };
  },
  lowering: {
    kind: "composite",
    expand(inputs, { axis }) {
      const extent = inputs.reduce((sum, { shape }) => sum + (shape[axis] as number), 0);
      let start = 0;
      const placed = inputs
        .filter((input) => input.shape[axis] !== 0)
        .map((input) => {
          const low = start;
          start += input.shape[axis] as number;
          const high = extent - start;
          return { end: start, tensor: input.pad(input.shape.map((_, own) => (own === axis ? [low, high] : [0, 0]))) };
        });
      const last = placed.pop()?.tensor ?? (inputs[0] as Tensor);
      return placed.reduceRight(
        (rest, { end, tensor }) => tensor.iotaLike(axis, "i32").less(end).where(tensor, rest),
        last,
      );
    },
  },
  reference(inputs, { axis }, output) {
    return ndarray(output.shape, output.dtype, (coordinates) => {
      let position = coordinates[axis] as number;
      for (const input of inputs) {
        const extent = input.shape[axis] as number;
        if (position < extent) {
          return elementAt(
            input as NdArray,
            coordinates.map((c, own) => (own === axis ? position : c)),
          );
        }
        position -= extent;
      }
      return Number.NaN;
    });
  },
  vjp(cotangent, { inputs, params, output }) {
    let start = 0;
    return inputs.map((input) => {
      const low = start;
      start += input.shape[params.axis] as number;
      if (!isFloat(output.dtype)) return null;
      return cotangent.slice(
        cotangent.shape.map((_, own) => (own === params.axis ? low : 0)),
        cotangent.shape.map((extent, own) =>
          own === params.axis ? low + (input.shape[params.axis] as number) : extent,
        ),
      );
    });
  },
  jvp(tangents, { inputs, output }) {
    if (!isFloat(output.dtype) || tangents.every((tangent) => !tangent)) return null;
    return output.rebind(tangents.map((tangent, index) => tangent ?? (inputs[index] as Tensor).zerosLike()));
  },
  batch: (inputs, { batched, params, size, bind }) =>
    bind(
      inputs.map((input, index) => withBatchAxis(input, batched[index] as boolean, size)),
      { axis: params.axis + 1 },
    ),
  sample(draw) {
    const shape = draw.shape({ rank: [1, 3], extent: [1, 4] });
    const axis = draw.integer(0, shape.length - 1);
    return {
      inputs: Array.from({ length: draw.integer(1, 3) }, () => ({
        shape: shape.map((extent, own) => (own === axis ? draw.integer(0, 4) : extent)),
        dtype: "f32" as const,
      })),
      params: { axis },
    };
  },
});
