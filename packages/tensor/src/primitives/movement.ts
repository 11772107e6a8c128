import { ArgumentError, formatShape, ShapeError } from "../errors";
import { checkShape, invertPermutation, type Shape, sameShape, sizeOf } from "../shape";
import {
  addIndex,
  constantIndex,
  delinearize,
  divideIndex,
  divisibleGuard,
  type Index,
  linearize,
  offsetIndex,
  rangeGuard,
  scaleIndex,
} from "../view";
import type { Draw } from "./definition";
import { movement } from "./families";

const replaced = <T>(list: readonly T[], axis: number, value: T): T[] =>
  list.map((item, position) => (position === axis ? value : item));

/** The same elements in row-major order under another shape. */
export const reshape = movement<{ readonly shape: Shape }>({
  name: "reshape",
  shape(input, { shape }) {
    checkShape("reshape", shape);
    if (sizeOf(input) !== sizeOf(shape)) {
      throw new ShapeError(
        `reshape: ${formatShape(input)} has ${sizeOf(input)} elements, ${formatShape(shape)} has ${sizeOf(shape)}. ` +
          "Give a shape of the same size, or -1 for one extent.",
      );
    }
    return shape;
  },
  move: (output, inputShape, { shape }) => ({
    coordinates: delinearize(linearize(output, shape), inputShape),
    guards: [],
  }),
  source(output, inputShape, { shape }) {
    let position = output.reduce((sum, coordinate, axis) => sum * (shape[axis] as number) + coordinate, 0);
    return inputShape
      .map((_, axis) => inputShape[inputShape.length - 1 - axis] as number)
      .map((extent) => {
        const coordinate = position % extent;
        position = Math.floor(position / extent);
        return coordinate;
      })
      .reverse();
  },
  transpose: (cotangent, inputShape) => cotangent.reshape(inputShape),
  batchParams: ({ shape }, size) => ({ shape: [size, ...shape] }),
  merge: (_inner, outer) => outer,
  isIdentity: ({ shape }, inputShape) => sameShape(shape, inputShape),
  sample(draw) {
    const shape = draw.shape();
    const size = sizeOf(shape);
    return {
      inputs: [{ shape, dtype: "f32" }],
      params: { shape: size > 0 && size % 2 === 0 ? [2, size / 2] : [1, ...shape] },
    };
  },
});

/** Axis `i` of the output is axis `axes[i]` of the input. */
export const permute = movement<{ readonly axes: readonly number[] }>({
  name: "permute",
  shape(input, { axes }) {
    const valid = axes.length === input.length && new Set(axes).size === axes.length;
    if (!valid || !axes.every((axis) => Number.isInteger(axis) && axis >= 0 && axis < input.length)) {
      throw new ArgumentError(
        `permute: [${axes.join(", ")}] is no permutation of the ${input.length} axes of ${formatShape(input)}. ` +
          "Name every axis once.",
      );
    }
    return axes.map((axis) => input[axis] as number);
  },
  move: (output, _inputShape, { axes }) => ({
    coordinates: invertPermutation(axes).map((position) => output[position] as Index),
    guards: [],
  }),
  source: (output, _inputShape, { axes }) => invertPermutation(axes).map((position) => output[position] as number),
  transpose: (cotangent, _inputShape, { axes }) => cotangent.permute(invertPermutation(axes)),
  batchParams: ({ axes }) => ({ axes: [0, ...axes.map((axis) => axis + 1)] }),
  merge: (inner, outer) => ({ axes: outer.axes.map((axis) => inner.axes[axis] as number) }),
  isIdentity: ({ axes }) => axes.every((axis, position) => axis === position),
  sample(draw) {
    const shape = draw.shape();
    const axes = shape.map((_, axis) => axis);
    for (let last = axes.length - 1; last > 0; last--) {
      const other = draw.integer(0, last);
      [axes[last], axes[other]] = [axes[other] as number, axes[last] as number];
    }
    return { inputs: [{ shape, dtype: "f32" }], params: { axes } };
  },
});

/** Repeats axes of extent 1; the rank stays (see Tensor.expand for broadcasting over new axes). */
export const expand = movement<{ readonly shape: Shape }>({
  name: "expand",
  shape(input, { shape }) {
    checkShape("expand", shape);
    const fits = input.length === shape.length && input.every((extent, axis) => extent === 1 || extent === shape[axis]);
    if (!fits) {
      throw new ShapeError(
        `expand: ${formatShape(input)} does not repeat to ${formatShape(shape)}. Only extents of 1 can be repeated.`,
      );
    }
    return shape;
  },
  move: (output, inputShape) => ({
    coordinates: output.map((coordinate, axis) => (inputShape[axis] === 1 ? constantIndex(0) : coordinate)),
    guards: [],
  }),
  source: (output, inputShape) => output.map((coordinate, axis) => (inputShape[axis] === 1 ? 0 : coordinate)),
  transpose(cotangent, inputShape) {
    const axes = cotangent.shape.flatMap((extent, axis) => (inputShape[axis] === 1 && extent !== 1 ? [axis] : []));
    return cotangent.sum({ axis: axes, keepDims: true });
  },
  batchParams: ({ shape }, size) => ({ shape: [size, ...shape] }),
  sample(draw) {
    const shape = draw.shape();
    return {
      inputs: [{ shape: shape.map((extent) => (draw.integer(0, 1) ? 1 : extent)), dtype: "f32" }],
      params: { shape },
    };
  },
});

export interface PadAxis {
  readonly low: number;
  readonly high: number;
  /** Elements put between neighbours. */
  readonly interior: number;
}

/** Surrounds, and interleaves, with a constant. */
export const pad = movement<{ readonly axes: readonly PadAxis[]; readonly value: number }>({
  name: "pad",
  shape(input, { axes }) {
    if (axes.length !== input.length) {
      throw new ArgumentError(`pad: ${axes.length} pairs for the ${input.length} axes of ${formatShape(input)}.`);
    }
    return input.map((extent, axis) => {
      const { low, high, interior } = axes[axis] as PadAxis;
      if (![low, high, interior].every((count) => Number.isInteger(count) && count >= 0)) {
        throw new ArgumentError(
          `pad: axis ${axis} has low ${low}, high ${high}, interior ${interior}. Give integers of at least 0; ` +
            "use slice to cut.",
        );
      }
      return low + extent + Math.max(0, extent - 1) * interior + high;
    });
  },
  move(output, inputShape, { axes }) {
    const guards = [];
    const coordinates = [];
    for (const [axis, coordinate] of output.entries()) {
      const { low, interior } = axes[axis] as PadAxis;
      const extent = inputShape[axis] as number;
      const shifted = offsetIndex(coordinate, -low);
      const step = interior + 1;
      guards.push(rangeGuard(shifted, 0, Math.max(0, (extent - 1) * step + 1)), divisibleGuard(shifted, step));
      coordinates.push(divideIndex(shifted, step));
    }
    return { coordinates, guards };
  },
  fill: ({ value }) => value,
  source(output, inputShape, { axes }) {
    const coordinates = output.map((coordinate, axis) => {
      const { low, interior } = axes[axis] as PadAxis;
      return (coordinate - low) / (interior + 1);
    });
    const inside = coordinates.every((c, axis) => Number.isInteger(c) && c >= 0 && c < (inputShape[axis] as number));
    return inside ? coordinates : null;
  },
  transpose: (cotangent, inputShape, { axes }) =>
    cotangent.slice(
      axes.map(({ low }) => low),
      axes.map(({ low, interior }, axis) =>
        inputShape[axis] === 0 ? low : low + ((inputShape[axis] as number) - 1) * (interior + 1) + 1,
      ),
      axes.map(({ interior }) => interior + 1),
    ),
  tangent: (tangent, { axes }) => tangent.padInterior(axes, 0),
  batchParams: ({ axes, value }) => ({ axes: [{ low: 0, high: 0, interior: 0 }, ...axes], value }),
  sample(draw) {
    const shape = draw.shape({ extent: [1, 4] });
    return {
      inputs: [{ shape, dtype: "f32" }],
      params: {
        axes: shape.map(() => ({
          low: draw.integer(0, 2),
          high: draw.integer(0, 2),
          interior: draw.integer(0, 1) * draw.integer(0, 2),
        })),
        value: 0.5,
      },
    };
  },
});

/** From `starts` up to, not including, `ends`, every `steps`-th element. */
export const slice = movement<{
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly steps: readonly number[];
}>({
  name: "slice",
  shape(input, { starts, ends, steps }) {
    return input.map((extent, axis) => {
      const [start, end, step] = [starts[axis] as number, ends[axis] as number, steps[axis] as number];
      const valid =
        [start, end, step].every(Number.isInteger) && start >= 0 && start <= end && end <= extent && step > 0;
      if (!valid) {
        throw new ArgumentError(
          `slice: ${start} to ${end} in steps of ${step} does not fit axis ${axis} of ${formatShape(input)}. ` +
            `Need 0 <= start <= end <= ${extent} and a step of at least 1.`,
        );
      }
      return Math.ceil((end - start) / step);
    });
  },
  move: (output, _inputShape, { starts, steps }) => ({
    coordinates: output.map((coordinate, axis) =>
      offsetIndex(scaleIndex(coordinate, steps[axis] as number), starts[axis] as number),
    ),
    guards: [],
  }),
  source: (output, _inputShape, { starts, steps }) =>
    output.map((coordinate, axis) => coordinate * (steps[axis] as number) + (starts[axis] as number)),
  transpose: (cotangent, inputShape, { starts, steps }) =>
    cotangent.padInterior(
      cotangent.shape.map((extent, axis) => {
        const low = extent === 0 ? 0 : (starts[axis] as number);
        const interior = (steps[axis] as number) - 1;
        const used = low + extent + Math.max(0, extent - 1) * interior;
        return { low, high: (inputShape[axis] as number) - used, interior };
      }),
      0,
    ),
  batchParams: ({ starts, ends, steps }, size) => ({
    starts: [0, ...starts],
    ends: [size, ...ends],
    steps: [1, ...steps],
  }),
  sample(draw) {
    const shape = draw.shape({ extent: [1, 6] });
    const starts = shape.map((extent) => draw.integer(0, extent - 1));
    return {
      inputs: [{ shape, dtype: "f32" }],
      params: {
        starts,
        ends: shape.map((extent, axis) => draw.integer(starts[axis] as number, extent)),
        steps: shape.map(() => draw.integer(1, 3)),
      },
    };
  },
});

/** Reverses the order along axes. */
export const flip = movement<{ readonly axes: readonly number[] }>({
  name: "flip",
  shape: (input) => input,
  move: (output, inputShape, { axes }) => ({
    coordinates: output.map((coordinate, axis) =>
      axes.includes(axis) ? offsetIndex(scaleIndex(coordinate, -1), (inputShape[axis] as number) - 1) : coordinate,
    ),
    guards: [],
  }),
  source: (output, inputShape, { axes }) =>
    output.map((coordinate, axis) =>
      axes.includes(axis) ? (inputShape[axis] as number) - 1 - coordinate : coordinate,
    ),
  transpose: (cotangent, _inputShape, { axes }) => cotangent.flip(axes),
  batchParams: ({ axes }) => ({ axes: axes.map((axis) => axis + 1) }),
  sample(draw) {
    const shape = draw.shape();
    return {
      inputs: [{ shape, dtype: "f32" }],
      params: { axes: shape.flatMap((_, axis) => (draw.integer(0, 1) ? [axis] : [])) },
    };
  },
});

/**
 * How positions of a sliding window lie over an axis: tap `k` of window `o` is element `o·stride + k·dilation`.
 * `axis` is the position axis; the taps are the axis behind it.
 */
export interface WindowParams {
  readonly axis: number;
  readonly stride: number;
  readonly dilation: number;
  /** Number of windows. */
  readonly windows: number;
  /** Elements along the axis that the windows slide over. */
  readonly extent: number;
}

function sampleWindows(draw: Draw): { taps: number; params: WindowParams } {
  const [stride, dilation, windows, taps] = [1, 2, 3, 4].map(() => draw.integer(1, 3)) as [
    number,
    number,
    number,
    number,
  ];
  const extent = (windows - 1) * stride + (taps - 1) * dilation + 1 + draw.integer(0, 2);
  return { taps, params: { axis: 1, stride, dilation, windows, extent } };
}

/**
 * `[…, extent, taps, …]` to `[…, windows, taps, …]`: element (o, k) is input (o·stride + k·dilation, k).
 * After repeating an axis over the taps this is the unfolding that convolution and pooling read through.
 */
export const windowed = movement<WindowParams>({
  name: "windowed",
  shape(input, { axis, stride, dilation, windows, extent }) {
    const taps = input[axis + 1] as number;
    const needed = (windows - 1) * stride + (taps - 1) * dilation + 1;
    if (input[axis] !== extent || (windows > 0 && needed > extent)) {
      throw new ShapeError(
        `windowed: ${windows} windows of ${taps} taps (stride ${stride}, dilation ${dilation}) need ${needed} ` +
          `elements, axis ${axis} of ${formatShape(input)} has ${input[axis]}.`,
      );
    }
    return replaced(input, axis, windows);
  },
  move: (output, _inputShape, { axis, stride, dilation }) => ({
    coordinates: replaced(
      output,
      axis,
      addIndex(scaleIndex(output[axis] as Index, stride), scaleIndex(output[axis + 1] as Index, dilation)),
    ),
    guards: [],
  }),
  source: (output, _inputShape, { axis, stride, dilation }) =>
    replaced(output, axis, (output[axis] as number) * stride + (output[axis + 1] as number) * dilation),
  transpose: (cotangent, _inputShape, params) => cotangent.unwindowed(params),
  batchParams: (params) => ({ ...params, axis: params.axis + 1 }),
  sample(draw) {
    const { taps, params } = sampleWindows(draw);
    return { inputs: [{ shape: [2, params.extent, taps, 3], dtype: "f32" }], params };
  },
});

/**
 * The transpose of {@link windowed}: `[…, windows, taps, …]` to `[…, extent, taps, …]`. Element (h, k) is input
 * ((h - k·dilation) / stride, k) where that is a window, else 0. Summed over the taps it is the fold (overlap-add), in
 * gather form: no element is written twice.
 */
export const unwindowed = movement<WindowParams>({
  name: "unwindowed",
  shape(input, { axis, windows, extent }) {
    if (input[axis] !== windows) {
      throw new ShapeError(`unwindowed: axis ${axis} of ${formatShape(input)} is not ${windows} windows.`);
    }
    return replaced(input, axis, extent);
  },
  move(output, _inputShape, { axis, stride, dilation, windows }) {
    const offset = addIndex(output[axis] as Index, scaleIndex(output[axis + 1] as Index, -dilation));
    return {
      coordinates: replaced(output, axis, divideIndex(offset, stride)),
      guards: [rangeGuard(offset, 0, (windows - 1) * stride + 1), divisibleGuard(offset, stride)],
    };
  },
  source(output, _inputShape, { axis, stride, dilation, windows }) {
    const window = ((output[axis] as number) - (output[axis + 1] as number) * dilation) / stride;
    return Number.isInteger(window) && window >= 0 && window < windows ? replaced(output, axis, window) : null;
  },
  transpose: (cotangent, _inputShape, params) => cotangent.windowed(params),
  batchParams: (params) => ({ ...params, axis: params.axis + 1 }),
  sample(draw) {
    const { taps, params } = sampleWindows(draw);
    return { inputs: [{ shape: [2, params.windows, taps, 3], dtype: "f32" }], params };
  },
});
