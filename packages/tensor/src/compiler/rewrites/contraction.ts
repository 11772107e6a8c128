/**
 * Rewrites that move views and sums into contractions. They are what makes convolution's derivatives implicit matrix
 * products: no unfolded tensor, no scattering.
 *
 * - sum over a batch axis:      Σ_n dot(a, b)[n, …]        = dot(a, b) contracting n as well
 * - fold of an outer product:   unwindow(dot(a, b))[h, k]   = dot(unwindow(a)[h, k], b[k]) with k as a batch axis,
 *                               where the windows are a free axis of a and the taps one of b
 * - part of a product:          dot(a, b)[i:j]              = dot(a[i:j], b)
 */
import { loweringOf, type Primitive } from "../../primitives/definition";
import { type DotParams, freeAxes } from "../../primitives/dot";
import { permute, slice, unwindowed, type WindowParams } from "../../primitives/movement";
import { apply, type Tensor } from "../../tensor";
import type { Rewrite } from "../simplify";

/** A contraction whose result axes may be permuted: axis i of the node is axis `order[i]` of the contraction. */
interface PermutedContraction {
  readonly dot: Tensor;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly params: DotParams;
  readonly order: readonly number[];
  /** Free axes of a and b, ascending. */
  readonly freeA: readonly number[];
  readonly freeB: readonly number[];
}

function permutedContraction(node: Tensor): PermutedContraction | undefined {
  const isPermuted = node.primitive === (permute as Primitive);
  const dot = isPermuted ? (node.inputs[0] as Tensor) : node;
  if (loweringOf(dot, "contraction") === undefined) return undefined;
  const [a, b] = dot.inputs as [Tensor, Tensor];
  const params = dot.params as DotParams;
  return {
    dot,
    a,
    b,
    params,
    order: isPermuted ? (node.params as { axes: readonly number[] }).axes : dot.shape.map((_, axis) => axis),
    freeA: freeAxes(a.rank, params.batch[0], params.contract[0]),
    freeB: freeAxes(b.rank, params.batch[1], params.contract[1]),
  };
}

/** Names the result axes of a contraction by the operands' axes, so that they can be found again in another one. */
type AxisName = `batch ${number}` | `a ${number}` | `b ${number}`;

const axisNames = ({ params, freeA, freeB }: PermutedContraction): AxisName[] => [
  ...params.batch[0].map((_, index): AxisName => `batch ${index}`),
  ...freeA.map((axis): AxisName => `a ${axis}`),
  ...freeB.map((axis): AxisName => `b ${axis}`),
];

/** Permutes `result`, whose axes are `names`, into the order `wanted`. */
const arrange = (result: Tensor, names: readonly AxisName[], wanted: readonly AxisName[]): Tensor =>
  result.permute(wanted.map((name) => names.indexOf(name)));

export const batchIntoContraction: Rewrite = (node) => {
  const reduction = loweringOf(node, "reduction");
  if (reduction?.combine !== "sum") return undefined;
  const found = permutedContraction(node.inputs[0] as Tensor);
  if (found === undefined) return undefined;
  const { a, b, params, order } = found;
  const axes = reduction.axes(node.params);
  const summed = axes.map((axis) => order[axis] as number).filter((axis) => axis < params.batch[0].length);
  if (summed.length === 0) return undefined;

  const keep = (list: readonly number[]) => list.filter((_, index) => !summed.includes(index));
  const move = (list: readonly number[]) => summed.map((index) => list[index] as number);
  const result = a.dot(b, {
    batch: [keep(params.batch[0]), keep(params.batch[1])],
    contract: [
      [...params.contract[0], ...move(params.batch[0])],
      [...params.contract[1], ...move(params.batch[1])],
    ],
  });
  const names = axisNames(found);
  const isSummed = (name: AxisName) => summed.some((index) => name === names[index]);
  const arranged = arrange(
    result,
    names.filter((name) => !isSummed(name)),
    order.map((axis) => names[axis] as AxisName).filter((name) => !isSummed(name)),
  );
  // Other summed axes remain, at the positions they have without those that are gone.
  const gone = axes.filter((axis) => summed.includes(order[axis] as number));
  const rest = axes.filter((axis) => !gone.includes(axis)).map((axis) => axis - gone.filter((g) => g < axis).length);
  return rest.length === 0 ? arranged : arranged.sum({ axis: rest });
};

export const unwindowContraction: Rewrite = (node) => {
  if (node.primitive !== (unwindowed as Primitive)) return undefined;
  const found = permutedContraction(node.inputs[0] as Tensor);
  if (found === undefined) return undefined;
  const { a, b, params, order } = found;
  const window = node.params as WindowParams;
  const names = axisNames(found);
  const [position, taps] = [names[order[window.axis] as number], names[order[window.axis + 1] as number]] as [
    AxisName,
    AxisName,
  ];
  const [positionOperand, positionAxis] = splitName(position);
  const [tapOperand, tapAxis] = splitName(taps);
  const crosses = (positionOperand === "a" && tapOperand === "b") || (positionOperand === "b" && tapOperand === "a");
  if (!crosses) return undefined;

  const count = (node.inputs[0] as Tensor).shape[window.axis + 1] as number;
  const side = positionOperand === "a" ? 0 : 1;
  const spread = spreadOverTaps(side === 0 ? a : b, positionAxis, count, window);
  // The taps' axis is inserted behind the position's axis: later axes of that operand move by one.
  const shift = (axis: number) => (axis > positionAxis ? axis + 1 : axis);
  const shifted = (pairs: readonly (readonly number[])[]): [number[], number[]] =>
    [0, 1].map((own) => (own === side ? (pairs[own] as number[]).map(shift) : [...(pairs[own] as number[])])) as [
      number[],
      number[],
    ];
  const batch = shifted(params.batch);
  batch[side].push(positionAxis + 1);
  batch[(1 - side) as 0 | 1].push(tapAxis);
  const result = (side === 0 ? spread : a).dot(side === 0 ? b : spread, { batch, contract: shifted(params.contract) });
  const outcome = [
    ...params.batch[0].map((_, index): AxisName => `batch ${index}`),
    taps,
    ...found.freeA.map((axis): AxisName => `a ${axis}`).filter((name) => name !== taps),
    ...found.freeB.map((axis): AxisName => `b ${axis}`).filter((name) => name !== taps),
  ];
  return arrange(
    result,
    outcome,
    order.map((axis) => names[axis] as AxisName),
  );
};

const splitName = (name: AxisName): [string, number] => {
  const [operand, axis] = name.split(" ") as [string, string];
  return [operand, Number(axis)];
};

/** `x[…, windows, …]` repeated over taps and unwindowed: `[…, extent, taps, …]`. */
function spreadOverTaps(x: Tensor, axis: number, taps: number, window: WindowParams): Tensor {
  const repeated = x.expandDims(axis + 1).expand([...x.shape.slice(0, axis + 1), taps, ...x.shape.slice(axis + 1)]);
  return repeated.unwindowed({ ...window, axis });
}

/** Only where nothing else needs the whole product. */
export const narrowContraction: Rewrite = (node, users) => {
  if (node.primitive !== (slice as Primitive)) return undefined;
  const input = node.inputs[0] as Tensor;
  const found = permutedContraction(input);
  if (found === undefined || users.get(input)?.length !== 1 || users.get(found.dot)?.length !== 1) return undefined;
  const { a, b, params, order, freeA, freeB } = found;
  const { starts, ends, steps } = node.params as Record<"starts" | "ends" | "steps", readonly number[]>;
  // For every axis of the contraction's result: where it is cut.
  const cut = new Map(order.map((axis, position) => [axis, position]));
  const cutOperand = (operand: Tensor, own: (axis: number) => number | undefined): Tensor => {
    const at = operand.shape.map((extent, axis) => {
      const position = cut.get(own(axis) ?? -1);
      return position === undefined
        ? [0, extent, 1]
        : [starts[position] as number, ends[position] as number, steps[position] as number];
    }) as [number, number, number][];
    return operand.slice(
      at.map(([start]) => start),
      at.map(([, end]) => end),
      at.map(([, , step]) => step),
    );
  };
  const resultAxis = (batch: readonly number[], free: readonly number[], before: number) => (axis: number) => {
    const inBatch = batch.indexOf(axis);
    if (inBatch >= 0) return inBatch;
    const inFree = free.indexOf(axis);
    return inFree >= 0 ? before + inFree : undefined;
  };
  const batches = params.batch[0].length;
  const narrow = cutOperand(a, resultAxis(params.batch[0], freeA, batches)).dot(
    cutOperand(b, resultAxis(params.batch[1], freeB, batches + freeA.length)),
    params,
  );
  return apply(permute as Primitive, [narrow], { axes: order });
};
