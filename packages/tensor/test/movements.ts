import * as primitives from "../src/primitives";
import type { Primitive } from "../src/primitives/definition";
import { sizeOf } from "../src/shape";
import type { SeededDraw } from "../src/testing";

/** A movement operation together with parameters that fit the shape it is applied to. */
export interface Step {
  readonly primitive: Primitive;
  readonly params: unknown;
}

type Make = (shape: readonly number[], draw: SeededDraw) => unknown;

/** Cuts `size` into extents at random, with a few extents of 1. */
function factorize(size: number, draw: SeededDraw): number[] {
  const extents: number[] = [];
  for (let rest = size; rest > 1; ) {
    const divisors = Array.from({ length: rest - 1 }, (_, i) => i + 2).filter((divisor) => rest % divisor === 0);
    const extent = draw.pick(divisors);
    extents.push(extent);
    rest /= extent;
  }
  while (extents.length < 6 && draw.integer(0, 2) === 0) extents.splice(draw.integer(0, extents.length), 0, 1);
  return extents;
}

const makers: Readonly<Record<string, Make>> = {
  reshape: (shape, draw) => ({ shape: sizeOf(shape) === 0 ? [...shape, 1] : factorize(sizeOf(shape), draw) }),
  permute: (shape, draw) => ({ axes: draw.order(shape.length) }),
  expand: (shape, draw) => ({
    shape: shape.map((extent) => (extent === 1 && sizeOf(shape) < 200 ? draw.integer(1, 3) : extent)),
  }),
  pad: (shape, draw) => ({
    axes: shape.map(() => {
      const some = () => (draw.integer(0, 2) === 0 ? draw.integer(1, 2) : 0);
      return { low: some(), high: some(), interior: draw.integer(0, 3) === 0 ? draw.integer(1, 2) : 0 };
    }),
    value: draw.integer(10, 20),
  }),
  slice(shape, draw) {
    const starts = shape.map((extent) => draw.integer(0, Math.max(0, Math.min(1, extent - 1))));
    return {
      starts,
      ends: shape.map((extent, axis) => draw.integer(Math.min(extent, (starts[axis] as number) + 1), extent)),
      steps: shape.map(() => draw.integer(1, 3)),
    };
  },
  flip: (shape, draw) => ({ axes: shape.flatMap((_, axis) => (draw.integer(0, 1) ? [axis] : [])) }),
  windowed(shape, draw) {
    const axis = draw.integer(0, shape.length - 2);
    const [extent, taps] = [shape[axis] as number, shape[axis + 1] as number];
    const dilation = draw.integer(1, Math.max(1, Math.floor((extent - 1) / Math.max(1, taps - 1))));
    const stride = draw.integer(1, 3);
    const windows = Math.max(0, Math.floor((extent - (taps - 1) * dilation - 1) / stride) + 1);
    return { axis, stride, dilation, windows, extent };
  },
  unwindowed(shape, draw) {
    const axis = draw.integer(0, shape.length - 2);
    const [windows, taps] = [shape[axis] as number, shape[axis + 1] as number];
    const [stride, dilation] = [draw.integer(1, 3), draw.integer(1, 3)];
    const extent = Math.max(0, (windows - 1) * stride + (taps - 1) * dilation + 1) + draw.integer(0, 2);
    return { axis, stride, dilation, windows, extent };
  },
};

/** All movement primitives, from the records: one without a maker here fails the tests that draw steps. */
const movements = new Map(
  (Object.entries(primitives) as unknown as [string, Primitive][]).filter(
    ([, own]) => own.lowering.kind === "movement",
  ),
);

export const movementNames: readonly string[] = [...movements.keys()];

/** A random step on a shape; windows slide along an axis that has one behind it. */
export function randomStep(shape: readonly number[], draw: SeededDraw, name?: string): Step {
  const usable = movementNames.filter(
    (own) => !own.includes("windowed") || (shape.length >= 2 && sizeOf(shape) < 2000),
  );
  const chosen = name ?? draw.pick(usable);
  const [primitive, make] = [movements.get(chosen), makers[chosen]];
  if (!primitive || !make) throw new Error(`No parameters are known for a movement ${chosen}.`);
  return { primitive, params: make(shape, draw) };
}
