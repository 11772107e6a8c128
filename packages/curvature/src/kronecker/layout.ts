/** How a parameter is read as a matrix: the way from the tensor that the user has to the operand of a contraction. */
import {
  apply,
  type Primitive,
  placeholder,
  pullback,
  type Shape,
  sizeOf,
  stridedView,
  type Tensor,
} from "@thalweg/tensor";

/** One movement on the way from a parameter to where it is used. */
export interface Step {
  readonly primitive: Primitive;
  readonly params: unknown;
}

/** Movements that keep every element exactly once: there is a way back. */
const bijective = new Set(["reshape", "permute", "flip"]);

export const isBijective = (steps: readonly Step[]): boolean =>
  steps.every(({ primitive }) => bijective.has(primitive.name));

export const follow = (steps: readonly Step[], tensor: Tensor): Tensor =>
  steps.reduce<Tensor>((value, { primitive, params }) => apply(primitive, [value], params), tensor);

/** The transpose of {@link follow}, on tensors of the shape where the way ends: where the way is bijective, its inverse. */
export function followBack(steps: readonly Step[], start: Shape, value: Tensor): Tensor {
  if (steps.length === 0) return value;
  const root = placeholder(start, value.dtype);
  return pullback([root], [follow(steps, root)])([value])[0] as Tensor;
}

/** What the axes of a matrix-shaped operand are for, each list in the order in which the block counts them. */
export interface MatrixAxes {
  /** Independent matrices, such as the groups of a convolution. */
  readonly groups: readonly number[];
  readonly outs: readonly number[];
  readonly ins: readonly number[];
}

/** A parameter as matrices `[groups, out, in]`. */
export interface MatrixLayout {
  readonly groups: number;
  readonly outs: number;
  readonly ins: number;
  /** Two layouts with one key put the same elements in the same places. */
  readonly key: string;
  /** The parameter, or its gradient, as `[groups, out, in]`. */
  toMatrix(parameter: Tensor): Tensor;
  /** Back again. */
  fromMatrix(matrix: Tensor): Tensor;
}

const extentsOf = (shape: Shape, axes: readonly number[]): number[] => axes.map((axis) => shape[axis] as number);

/** Strides of the operand's axes in the parameter; undefined where the way is no strided grid. */
export function stridesIn(steps: readonly Step[], start: Shape): readonly number[] | undefined {
  const root = placeholder(start, "f32");
  return stridedView(follow(steps, root), (node) => node === root, { signed: true })?.strides;
}

/** The axes in the order of the parameter's own ones, so that factors are as its shape suggests: larger strides first. */
export function inParameterOrder(axes: readonly number[], strides: readonly number[] | undefined): number[] {
  if (strides === undefined) return [...axes];
  return [...axes].sort((a, b) => Math.abs(strides[b] as number) - Math.abs(strides[a] as number));
}

/** Axes along which the operand runs backwards through the parameter, as kernels of transposed convolutions do. */
export const reversedAxes = (axes: readonly number[], strides: readonly number[] | undefined): number[] =>
  axes.filter((axis) => ((strides?.[axis] as number | undefined) ?? 0) < 0);

/**
 * Reads a parameter of shape `start`, moved along bijective steps, as matrices. Inputs are in the order of the parameter, also
 * where the operand has them backwards.
 */
export function matrixLayout(steps: readonly Step[], start: Shape, { groups, outs, ins }: MatrixAxes): MatrixLayout {
  const { shape } = follow(steps, placeholder(start, "f32"));
  const order = [...groups, ...outs, ...ins];
  const arranged = extentsOf(shape, order);
  const [g, o, i] = [groups, outs, ins].map((axes) => sizeOf(extentsOf(shape, axes))) as [number, number, number];
  const strides = stridesIn(steps, start);
  const backwards = reversedAxes(ins, strides);
  const turned = (operand: Tensor): Tensor => (backwards.length === 0 ? operand : operand.flip(backwards));
  const strideOf = (axis: number): number | undefined => {
    const stride = strides?.[axis];
    return stride !== undefined && backwards.includes(axis) ? -stride : stride;
  };
  const places = (axes: readonly number[]) =>
    axes.filter((axis) => shape[axis] !== 1).map((axis) => [shape[axis], strideOf(axis)]);
  const back = order.map((_, axis) => order.indexOf(axis));
  return {
    groups: g,
    outs: o,
    ins: i,
    key: JSON.stringify(
      strides === undefined
        ? [steps.map(({ primitive, params }) => [primitive.name, params]), order]
        : [groups, outs, ins].map(places),
    ),
    toMatrix: (parameter) => turned(follow(steps, parameter)).permute(order).reshape([g, o, i]),
    fromMatrix: (matrix) => followBack(steps, start, turned(matrix.reshape(arranged).permute(back))),
  };
}

/** A bias as the rows of its layer's matrices: `[groups, out]`. */
export interface RowLayout {
  readonly key: string;
  toRows(bias: Tensor): Tensor;
  fromRows(rows: Tensor): Tensor;
}

/**
 * Reads a bias that is added to the outputs of a contraction as one number for each of its rows.
 *
 * @param bias the movements of the bias to the place where it is added.
 * @param output the bijective movements of the contraction's result to that place.
 * @param axes those of the contraction's result; all others are shared.
 * @returns undefined unless every row has one element of the bias, and each element one row.
 */
export function rowLayout(
  bias: { readonly steps: readonly Step[]; readonly start: Shape },
  output: { readonly steps: readonly Step[]; readonly start: Shape },
  axes: { readonly groups: readonly number[]; readonly outs: readonly number[] },
): RowLayout | undefined {
  const root = placeholder(bias.start, "f32");
  const spread = (value: Tensor) => followBack(output.steps, output.start, follow(bias.steps, value));
  const strides = stridedView(spread(root), (node) => node === root, { signed: true })?.strides;
  const own = [...axes.groups, ...axes.outs];
  const extents = extentsOf(output.start, own);
  if (strides === undefined || sizeOf(extents) !== sizeOf(bias.start)) return undefined;
  if (strides.some((stride, axis) => stride !== 0 && !own.includes(axis))) return undefined;
  if (!isOneToOne(own.map((axis) => ({ extent: output.start[axis] as number, stride: strides[axis] as number }))))
    return undefined;
  const count = sizeOf(extentsOf(output.start, axes.groups));
  const toRows = (value: Tensor): Tensor => {
    const all = spread(value);
    const first = all.slice(
      all.shape.map(() => 0),
      all.shape.map((extent, axis) => (own.includes(axis) ? extent : 1)),
    );
    const shared = all.shape.map((_, axis) => axis).filter((axis) => !own.includes(axis));
    return first.permute([...own, ...shared]).reshape([count, sizeOf(extents) / count]);
  };
  return {
    key: JSON.stringify(own.map((axis) => [output.start[axis], strides[axis]])),
    toRows,
    // Every element of the bias is in exactly one row, so the transpose is the inverse.
    fromRows(rows) {
      const like = placeholder(bias.start, rows.dtype);
      return pullback([like], [toRows(like)])([rows])[0] as Tensor;
    },
  };
}

/** Do coordinates on these axes reach different elements? */
function isOneToOne(axes: readonly { readonly extent: number; readonly stride: number }[]): boolean {
  let reach = 1;
  const real = axes.filter(({ extent }) => extent > 1);
  for (const { extent, stride } of real.sort((a, b) => Math.abs(a.stride) - Math.abs(b.stride))) {
    if (Math.abs(stride) < reach) return false;
    reach = Math.abs(stride) * extent;
  }
  return true;
}
