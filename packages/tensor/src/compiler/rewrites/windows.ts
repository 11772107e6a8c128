/**
 * Rewrites of sums over sliding windows of stride 1, seen through whatever movements make them.
 *
 * **Gram matrices of windows**, which is what the input factor of a convolution is: the products of all pairs of taps, summed
 * over the positions of the window. Taps k and l of the window at y read x[u] and x[u + l - k] with u = y + k: a product
 * depends on the distance of the taps alone, but for the ends of the axis, where the window of one tap reaches and that of
 * another does not. So the elements fall into the *interior*, which all taps see, and a *border* of few. Each is one
 * contraction of x with its own shifts, by distance; what a pair of taps needs of the border is added to what it shares with
 * other pairs. For windows of 3 x 3 these are 15 shifts (the other 10 are mirror images) in place of 81 pairs of taps, or
 * of the 41 that a triangle has, and nothing is subtracted, so nothing cancels.
 *
 * **Sums of windows**, tap by tap: see {@link sumOfWindows}.
 */
import { isFloat } from "../../dtype";
import { isProductWithItself } from "../../kernels/contraction/operands";
import { loweringOf } from "../../primitives/definition";
import { type DotParams, freeAxes } from "../../primitives/dot";
import { sizeOf } from "../../shape";
import type { Tensor } from "../../tensor";
import { type Guard, type Index, variableIndex } from "../../view";
import type { Rewrite } from "../simplify";

/** Fewer channels leave the products by distance too few rows to be fast. */
const fewestChannels = 8;

/** The products by distance must be so many times fewer, because there are more kernels. */
const worthwhile = 1.5;

/** Elements of all products by distance: either few, or not much more than the result has. */
const smallPieces = 2 ** 22;
const largestPieces = 2;

/** An axis over which windows slide: the element of `position` p and `tap` k is p + k + offset, zero where there is none. */
interface WindowAxis {
  readonly base: number;
  /** Axes of the operand. */
  readonly position: number;
  readonly tap: number;
  readonly offset: number;
  readonly extent: number;
  readonly taps: number;
  readonly positions: number;
}

/** An operand as windows over a tensor; other axes of the tensor are axes of the operand. */
interface Windows {
  readonly base: Tensor;
  readonly windows: readonly WindowAxis[];
  /** For every other axis of the tensor longer than 1: the operand's axis. */
  readonly plain: readonly { readonly base: number; readonly axis: number }[];
}

export const gramOfWindows: Rewrite = (node) => {
  if (loweringOf(node, "contraction") === undefined || !isFloat(node.dtype) || !isProductWithItself(node))
    return undefined;
  const [operand] = node.inputs as [Tensor];
  const params = node.params as DotParams;
  const found = windowsOf(operand, params.contract[0]);
  if (found === undefined) return undefined;
  const plan = planOf(found, operand, params);
  if (plan === undefined || !isWorthwhile(plan, node)) return undefined;
  return mirrored(assemble(plan, []), plan, operand, params).reshape(node.shape);
};

/** The last tensor behind the operand's movements of which it is windows that slide along summed axes. */
function windowsOf(operand: Tensor, summed: readonly number[]): Windows | undefined {
  let [base, at] = [
    operand,
    operand.shape.map((extent, axis) => variableIndex(`axis${axis}`, 0, Math.max(0, extent - 1))) as Index[],
  ];
  const guards: Guard[] = [];
  let found: Windows | undefined;
  for (;;) {
    const movement = loweringOf(base, "movement");
    if (movement === undefined) return found;
    const input = base.inputs[0] as Tensor;
    const moved = movement.move(at, input.shape, base.params);
    const open = moved.guards.filter((guard) => guard !== undefined);
    if (open.length > 0 && movement.fill(base.params) !== 0) return found;
    [base, at] = [input, [...moved.coordinates]];
    guards.push(...open);
    found = matchWindows(operand, base, at, guards, summed) ?? found;
  }
}

function matchWindows(
  operand: Tensor,
  base: Tensor,
  at: readonly Index[],
  guards: readonly Guard[],
  summed: readonly number[],
): Windows | undefined {
  const windows: WindowAxis[] = [];
  const plain: { base: number; axis: number }[] = [];
  for (const [axis, index] of at.entries()) {
    const extent = base.shape[axis] as number;
    const axes = index.terms.map(({ factor, atom }) =>
      factor === 1 && atom.kind === "variable" ? Number(atom.key.slice("axis".length)) : Number.NaN,
    );
    const [first, second] = axes;
    if (axes.length > 2 || axes.some(Number.isNaN)) return undefined;
    if (first === undefined) {
      if (extent !== 1) return undefined;
    } else if (second === undefined) {
      if (index.constant !== 0 || operand.shape[first] !== extent) return undefined;
      plain.push({ base: axis, axis: first });
    } else {
      const [position, tap] = summed.includes(first) ? [first, second] : [second, first];
      if (!summed.includes(position) || summed.includes(tap)) return undefined;
      const [positions, taps] = [operand.shape[position], operand.shape[tap]] as [number, number];
      windows.push({ base: axis, position, tap, offset: index.constant, extent, taps, positions });
    }
  }
  const used = [...plain.map(({ axis }) => axis), ...windows.flatMap(({ position, tap }) => [position, tap])];
  const isEach = operand.shape.every(
    (extent, axis) => used.filter((own) => own === axis).length === Number(extent > 1),
  );
  const isInside = (guard: Guard): boolean =>
    windows.some(
      ({ base: axis, extent }) =>
        guard.kind === "range" &&
        guard.low === 0 &&
        guard.high === extent &&
        guard.index.key === (at[axis] as Index).key,
    );
  return windows.length > 0 && isEach && guards.every(isInside) ? { base, windows, plain } : undefined;
}

/** Where the elements of an axis are that some tap sees, from `start` on: a border, the interior, and as much border again. */
interface Axis extends WindowAxis {
  readonly start: number;
  /** Elements in front of the interior, and behind it. */
  readonly border: number;
  readonly interior: number;
  /** The first distance of taps that is computed: 0 for the first axis, whose negative ones are mirror images. */
  readonly nearest: number;
}

interface Plan {
  readonly axes: readonly Axis[];
  /** The tensor with an axis for each label. */
  readonly base: Labelled;
}

function planOf({ base, windows, plain }: Windows, operand: Tensor, params: DotParams): Plan | undefined {
  const axes: Axis[] = [];
  for (const [index, own] of windows.entries()) {
    const { offset, extent, taps, positions } = own;
    const [start, end] = [Math.max(0, offset), Math.min(extent, positions + taps - 1 + offset)];
    const [low, high] = [Math.max(start, taps - 1 + offset), Math.min(end, positions + offset)];
    if (high <= low || low - start !== end - high || low === start) return undefined;
    axes.push({ ...own, start, border: low - start, interior: high - low, nearest: index === 0 ? 0 : 1 - taps });
  }
  return { axes, base: labelled({ base, windows, plain }, (axis) => labelOf(axis, operand, params)) };
}

/** The tensor behind windows, the axes that windows slide over as `element` and their number, others named by the operand's. */
function labelled({ base, windows, plain }: Windows, name: (axis: number) => string): Labelled {
  const labels = base.shape.flatMap((extent, axis) => {
    const window = windows.findIndex((own) => own.base === axis);
    if (window >= 0) return [`element${window}`];
    return extent > 1 ? [name(plain.find((own) => own.base === axis)?.axis as number)] : [];
  });
  const kept = base.shape.filter((extent, axis) => extent > 1 || windows.some((own) => own.base === axis));
  return { tensor: base.reshape(kept), labels };
}

/** The name of an axis of the operand that is no window's. */
function labelOf(axis: number, operand: Tensor, { batch, contract }: DotParams): string {
  if (batch[0].includes(axis)) return `batch${batch[0].indexOf(axis)}`;
  if (contract[0].includes(axis)) return `summed${axis}`;
  return `channel${freeAxes(operand.rank, batch[0], contract[0]).indexOf(axis)}`;
}

const shiftsOf = ({ taps, nearest }: Axis): number => taps - nearest;

function isWorthwhile({ axes, base }: Plan, node: Tensor): boolean {
  const product = (f: (axis: Axis) => number): number => axes.reduce((total, axis) => total * f(axis), 1);
  const extent = (prefix: string): number =>
    sizeOf(base.tensor.shape.filter((_, axis) => base.labels[axis]?.startsWith(prefix)));
  const channels = extent("channel");
  if (channels < fewestChannels) return false;
  const shifts = product(shiftsOf);
  const before = (product(({ taps }) => taps) ** 2 * product(({ positions }) => positions)) / 2;
  const after = shifts * product(({ border, interior }) => 2 * border + interior);
  const elements = extent("batch") * channels ** 2 * shifts * product(({ border }) => 1 + 2 * border);
  return after * worthwhile < before && elements <= Math.max(smallPieces, largestPieces * node.size);
}

/** A tensor whose axes have names. */
interface Labelled {
  readonly tensor: Tensor;
  readonly labels: readonly string[];
}

const axisOf = ({ labels }: Labelled, label: string): number => labels.indexOf(label);

function cut(x: Labelled, label: string, start: number, end: number): Labelled {
  const axis = axisOf(x, label);
  const { shape } = x.tensor;
  return {
    ...x,
    tensor: x.tensor.slice(
      shape.map((_, own) => (own === axis ? start : 0)),
      shape.map((extent, own) => (own === axis ? end : extent)),
    ),
  };
}

function padded(x: Labelled, label: string, low: number, high: number): Labelled {
  const axis = axisOf(x, label);
  return { ...x, tensor: x.tensor.pad(x.tensor.shape.map((_, own) => (own === axis ? [low, high] : [0, 0]))) };
}

/** Elements `start` up to `end` of an axis, zeros where there are none. */
function reaching(x: Labelled, label: string, start: number, end: number): Labelled {
  const extent = x.tensor.shape[axisOf(x, label)] as number;
  const inside = cut(x, label, Math.max(0, start), Math.min(extent, end));
  return padded(inside, label, Math.max(0, -start), Math.max(0, end - extent));
}

/** Windows over an axis, which keeps its label, with the taps behind it. */
function slid(
  x: Labelled,
  label: string,
  { windows, taps, stride }: { readonly windows: number; readonly taps: number; readonly stride: number },
  tapLabel: string,
): Labelled {
  const axis = axisOf(x, label);
  const { shape } = x.tensor;
  const extent = shape[axis] as number;
  const tensor = x.tensor
    .expandDims(axis + 1)
    .expand([...shape.slice(0, axis + 1), taps, ...shape.slice(axis + 1)])
    .windowed({ axis, stride, dilation: 1, windows, extent });
  return { tensor, labels: [...x.labels.slice(0, axis + 1), tapLabel, ...x.labels.slice(axis + 1)] };
}

type Region = "interior" | "border";

/** The elements of one region of an axis; those of the border as two ends of so many each. */
function region(x: Labelled, index: number, { border, interior }: Axis, which: Region): Labelled {
  const label = `element${index}`;
  return which === "interior"
    ? cut(x, label, border, border + interior)
    : slid(x, label, { windows: 2, taps: border, stride: border + interior }, `inEnd${index}`);
}

/** The products of the elements of regions with those at all distances from them. */
function products({ axes, base }: Plan, regions: readonly Region[]): Labelled {
  let left = base;
  let right: Labelled = { ...base, labels: base.labels.map((label) => label.replace("channel", "partner")) };
  for (const [index, axis] of axes.entries()) {
    const label = `element${index}`;
    const { start, border, interior, taps, nearest } = axis;
    const end = start + 2 * border + interior;
    const which = regions[index] as Region;
    left = region(cut(left, label, start, end), index, axis, which);
    const whole = reaching(right, label, start + nearest, end + taps - 1);
    const shifted = slid(whole, label, { windows: end - start, taps: shiftsOf(axis), stride: 1 }, `shift${index}`);
    right = region(shifted, index, axis, which);
  }
  const isBorder = (label: string) => regions[Number(label.slice("element".length))] === "border";
  const isBatch = (label: string) =>
    label.startsWith("batch") || label.startsWith("inEnd") || (label.startsWith("element") && isBorder(label));
  const isSummed = (label: string) => label.startsWith("summed") || (label.startsWith("element") && !isBorder(label));
  const [batch, contract] = [left.labels.filter(isBatch), left.labels.filter(isSummed)];
  const taken = (labels: readonly string[]): [number[], number[]] => [
    labels.map((label) => axisOf(left, label)),
    labels.map((label) => axisOf(right, label)),
  ];
  const free = ({ labels }: Labelled) => labels.filter((label) => !isBatch(label) && !isSummed(label));
  return {
    tensor: left.tensor.dot(right.tensor, { batch: taken(batch), contract: taken(contract) }),
    labels: [...batch, ...free(left), ...free(right)],
  };
}

/** The products of all pairs of taps along the axes behind the chosen regions; of the first axis, of taps k up to l. */
function assemble(plan: Plan, regions: readonly Region[]): Labelled {
  const index = regions.length;
  const axis = plan.axes[index];
  if (axis === undefined) return products(plan, regions);
  const inside = byTaps(assemble(plan, [...regions, "interior"]), index, axis);
  const outside = assemble(plan, [...regions, "border"]);
  const tap = inside.tensor.iotaLike(axisOf(inside, `left${index}`));
  let sum = inside.tensor;
  for (let element = 0; element < axis.border; element++) {
    for (const end of [0, 1]) {
      const own = byTaps(elementOf(outside, [`element${index}`, end], [`inEnd${index}`, element]), index, axis);
      const place = axis.start + element + end * (axis.border + axis.interior) - axis.offset;
      // Tap k is at this element for the window at place - k, which has to exist.
      const reaches = end === 0 ? tap.lessEqual(place) : tap.greater(place - axis.positions);
      sum = sum.add(reaches.where(own.tensor.permute(inside.labels.map((label) => axisOf(own, label))), 0));
    }
  }
  return { ...inside, tensor: sum };
}

/** Without the labelled axes, at the given positions of them. */
function elementOf(x: Labelled, ...places: readonly (readonly [string, number])[]): Labelled {
  const one = places.reduce((own, [label, place]) => cut(own, label, place, place + 1), x);
  const isGone = (label: string | undefined) => places.some(([own]) => own === label);
  return {
    tensor: one.tensor.reshape(one.tensor.shape.filter((_, axis) => !isGone(one.labels[axis]))),
    labels: one.labels.filter((label) => !isGone(label)),
  };
}

/** From distances of taps to pairs of them, `left` and `right`: those at distance right - left. */
function byTaps(x: Labelled, index: number, { taps, nearest }: Axis): Labelled {
  const label = `shift${index}`;
  const all = padded(x, label, taps - 1 + nearest, 0);
  const pairs = slid(all, label, { windows: taps, taps, stride: 1 }, `right${index}`);
  return {
    tensor: pairs.tensor.flip(axisOf(pairs, label)),
    labels: pairs.labels.map((own) => (own === label ? `left${index}` : own)),
  };
}

/** The whole matrix from its upper triangle, with the axes of the contraction's result. */
function mirrored(upper: Labelled, { axes }: Plan, operand: Tensor, params: DotParams): Tensor {
  const { batch, contract } = params;
  const free = freeAxes(operand.rank, batch[0], contract[0]).filter((axis) => operand.shape[axis] !== 1);
  const side = (tap: "left" | "right", channel: "channel" | "partner"): string[] =>
    free.map((axis) => {
      const window = axes.findIndex((own) => own.tap === axis);
      return window >= 0 ? `${tap}${window}` : labelOf(axis, operand, params).replace("channel", channel);
    });
  const [rows, columns] = [side("left", "channel"), side("right", "partner")];
  const leading = upper.labels.filter((label) => label.startsWith("batch")).sort(byNumber);
  const arranged = (...labels: readonly string[]) => upper.tensor.permute(labels.map((label) => axisOf(upper, label)));
  const matrix = arranged(...leading, ...rows, ...columns);
  // Taps of the first axis count most: where it has no products, the position is below the diagonal.
  const significance = [...rows.keys()].sort((p, q) => {
    const [x, y] = [rows[p], rows[q]].map((label) =>
      label?.startsWith("left") ? Number(label.slice(4)) : axes.length,
    );
    return (x as number) - (y as number);
  });
  const place = (first: number): Tensor =>
    significance.reduce<Tensor>(
      (sum, axis) => sum.mul(matrix.shape[leading.length + axis] as number).add(matrix.iotaLike(first + axis)),
      matrix.iotaLike(0).mul(0),
    );
  const isAbove = place(leading.length).lessEqual(place(leading.length + rows.length));
  return isAbove.where(matrix, arranged(...leading, ...columns, ...rows));
}

/**
 * Sums of windows over their positions, tap by tap: first over axes along which no window slides, then over one axis of
 * windows after the other, so that elements are not read once for each of the taps in all directions.
 */
export const sumOfWindows: Rewrite = (node) => {
  const reduction = loweringOf(node, "reduction");
  if (reduction?.combine !== "sum" || !isFloat(node.dtype)) return undefined;
  const operand = node.inputs[0] as Tensor;
  const summed = reduction.axes(node.params);
  const found = windowsOf(operand, summed);
  if (found === undefined || found.windows.some(({ taps, positions }) => taps >= positions)) return undefined;
  const { windows } = found;
  let x = labelled(found, (axis) => `${summed.includes(axis) ? "summed" : "kept"}${axis}`);
  const apart = x.labels.filter((label) => label.startsWith("summed"));
  if (windows.length + Number(apart.length > 0) < 2) return undefined;
  if (apart.length > 0) x = summedOver(x, apart);
  for (const [index, { offset, taps, positions, tap }] of windows.entries()) {
    const label = `element${index}`;
    const whole = reaching(x, label, offset, positions + taps - 1 + offset);
    x = summedOver(slid(whole, label, { windows: positions, taps, stride: 1 }, `kept${tap}`), [label]);
  }
  const order = [...x.labels.keys()].sort((p, q) => axisNumber(x.labels[p]) - axisNumber(x.labels[q]));
  return x.tensor.permute(order).reshape(node.shape);
};

const axisNumber = (label: string | undefined): number => Number(label?.slice("kept".length));

const summedOver = (x: Labelled, labels: readonly string[]): Labelled => ({
  tensor: x.tensor.sum({ axis: labels.map((label) => axisOf(x, label)) }),
  labels: x.labels.filter((label) => !labels.includes(label)),
});

const byNumber = (a: string, b: string): number => Number(a.slice("batch".length)) - Number(b.slice("batch".length));
