import type { DType } from "../dtype";
import { ThalwegError } from "../errors";
import { ndarray } from "../reference/array";
import type { Shape } from "../shape";
import type { Tensor } from "../tensor";
import { variableIndex } from "../view";
import { type Aval, definePrimitive, type Primitive } from "./definition";

interface LeafParams {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** The rule of a primitive without inputs that no transformation reaches. */
const neverAsked = (name: string) => (): never => {
  throw new ThalwegError("internal", `${name} has no inputs, so this rule of it is never asked for.`);
};

function leaf(name: string): Primitive<LeafParams> {
  const noRule = neverAsked(name);
  return definePrimitive<LeafParams>({
    name,
    shape: (_inputs, { shape, dtype }) => ({ shape, dtype }),
    lowering: { kind: "leaf" },
    reference: noRule,
    vjp: () => [],
    jvp: () => null,
    batch: noRule,
    sample: () => ({ inputs: [], params: { shape: [], dtype: "f32" } }),
  });
}

/** Data that exist: on the host or in a device buffer. */
export const source = leaf("source");

/** An argument of a function that is being traced. */
export const placeholder = leaf("placeholder");

/** One number in every element. */
export const full = definePrimitive<LeafParams & { readonly value: number }>({
  name: "full",
  shape: (_inputs, { shape, dtype }) => ({ shape, dtype }),
  lowering: { kind: "generator", generate: (_coordinates, { value }) => ({ value }) },
  reference: (_inputs, { value }, { shape, dtype }) => ndarray(shape, dtype, () => value),
  vjp: () => [],
  jvp: () => null,
  batch: neverAsked("full"),
  sample: (draw) => ({ inputs: [], params: { shape: draw.shape(), dtype: "f32", value: 1.5 } }),
});

/** The coordinate along one axis. */
export const iota = definePrimitive<LeafParams & { readonly axis: number }>({
  name: "iota",
  shape: (_inputs, { shape, dtype }) => ({ shape, dtype }),
  lowering: {
    kind: "generator",
    generate: (coordinates, { axis }) => ({ index: coordinates[axis] ?? variableIndex("none", 0, 0) }),
  },
  reference: (_inputs, { axis }, { shape, dtype }) =>
    ndarray(shape, dtype, (coordinates) => coordinates[axis] as number),
  vjp: () => [],
  jvp: () => null,
  batch: neverAsked("iota"),
  sample(draw) {
    const shape = draw.shape({ rank: [1, 4] });
    return { inputs: [], params: { shape, dtype: draw.pick(["i32", "f32"] as const), axis: shape.length - 1 } };
  },
});

/** The input under a new identity: what transformations mark their arguments with. */
export const identity = definePrimitive<undefined>({
  name: "identity",
  shape: ([input]) => input as Aval,
  lowering: { kind: "alias" },
  reference: ([input]) => input as ReturnType<Primitive["reference"]>,
  vjp: (cotangent) => [cotangent],
  jvp: ([tangent]) => tangent as Tensor | null,
  batch: ([input], { bind }) => bind([input as Tensor], undefined),
  sample: (draw) => ({ inputs: [{ shape: draw.shape(), dtype: "f32" }], params: undefined }),
});

/** The input, taken as a constant by every derivative. */
export const stopGradient = definePrimitive<undefined>({
  ...identity,
  name: "stopGradient",
  vjp: () => [null],
  jvp: () => null,
});
