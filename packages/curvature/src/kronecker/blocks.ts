/** Sorts the parameters of a model into blocks, by what the graph does with them. */
import { type Equation, formatPath, type Shape, sizeOf, type Tensor, type TreePath } from "@thalweg/tensor";
import {
  inParameterOrder,
  isBijective,
  type MatrixLayout,
  matrixLayout,
  type RowLayout,
  reversedAxes,
  rowLayout,
  type Step,
  stridesIn,
} from "./layout";
import type { ElementwiseUse, LinearUse, LookupUse, Use, UsesOfParameters } from "./uses";

/** How the factors of a layer treat positions that share its weights: one by one, or together. */
export type Flavour = "expand" | "reduce";

interface ParameterAt {
  /** Position in the list of parameters. */
  readonly index: number;
  readonly name: string;
  readonly shape: Shape;
}

interface LayerBlock {
  /** The name of the weight, by which the block is found in trees of factors. */
  readonly name: string;
  readonly weight: ParameterAt;
  readonly flavour: Flavour;
  /** Positions per example that share the weight, over all of its uses. */
  readonly positions: number;
  /** What the reader of a report should know; empty if nothing. */
  readonly remarks: readonly string[];
}

/** A weight that only takes part in contractions with activations, with the bias of its outputs. */
export interface KroneckerBlock extends LayerBlock {
  readonly kind: "kronecker";
  readonly layout: MatrixLayout;
  /** A bias that counts as one more input, which is 1. */
  readonly bias: (ParameterAt & { readonly rows: RowLayout }) | undefined;
  readonly taps: readonly LinearTap[];
}

/** A table whose rows are taken by integers. */
export interface EmbeddingBlock extends LayerBlock {
  readonly kind: "embedding";
  /** Is A a matrix? Else it is a vector, its diagonal. */
  readonly isDense: boolean;
  readonly layout: MatrixLayout;
  readonly taps: readonly LookupTap[];
}

/** Scale and shift of the same features: a matrix of 2 × 2 for each. */
export interface UnitwiseBlock {
  readonly kind: "unitwise";
  readonly name: string;
  readonly scale: ParameterAt;
  readonly shift: ParameterAt;
  readonly remarks: readonly string[];
}

/** The diagonal of the curvature: for whatever has no other structure. */
export interface DiagonalBlock {
  readonly kind: "diagonal";
  readonly name: string;
  readonly parameter: ParameterAt;
  readonly remarks: readonly string[];
}

export type Block = KroneckerBlock | EmbeddingBlock | UnitwiseBlock | DiagonalBlock;

/** Where one contraction has its axes; none of them is the axis of the examples. */
export interface LinearTap {
  /** Features in the order of the parameter. */
  readonly activations: Tensor;
  readonly output: Tensor;
  /** Of the activations. */
  readonly input: TapAxes;
  /** Of the output. */
  readonly result: TapAxes;
}

export interface TapAxes {
  readonly groups: readonly number[];
  /** Inputs or outputs of the layer, in the order of the block. */
  readonly features: readonly number[];
  readonly shared: readonly number[];
}

export interface LookupTap {
  readonly indices: Tensor;
  readonly output: Tensor;
  readonly result: TapAxes;
}

export interface BlockOptions {
  /** For all layers, or by the name of the weight. `"auto"`: see {@link KroneckerOptions.flavour}. */
  readonly flavour: Flavour | "auto" | ((name: string) => Flavour | "auto");
  /** Loss terms per example. */
  readonly terms: number;
  /** Embeddings of more rows keep a diagonal A in the reduce flavour too. */
  readonly maxDenseRows: number;
}

/** The blocks of all parameters, in their order. */
export function blocksOf(
  { uses, readers }: UsesOfParameters,
  parameters: readonly { readonly path: TreePath; readonly shape: Shape }[],
  options: BlockOptions,
): Block[] {
  const at = (index: number): ParameterAt => {
    const { path, shape } = parameters[index] as (typeof parameters)[number];
    return { index, name: formatPath(path), shape };
  };
  const usesOf = parameters.map((_, index) => uses.filter(({ parameter }) => parameter === index));
  const taken = new Set<number>();
  const weights = new Map<number, KroneckerBlock | EmbeddingBlock>();
  parameters.forEach((_, index) => {
    const block = layerBlock(at(index), usesOf[index] as readonly Use[], usesOf, readers, at, options);
    if (block === undefined) return;
    weights.set(index, block);
    taken.add(index);
    if (block.kind === "kronecker" && block.bias !== undefined) taken.add(block.bias.index);
  });
  const blocks: Block[] = [];
  parameters.forEach((_, index) => {
    const weight = weights.get(index);
    if (weight !== undefined) blocks.push(weight);
    if (taken.has(index)) return;
    taken.add(index);
    blocks.push(
      unitwiseBlock(at(index), usesOf, taken, readers, at) ?? diagonalBlock(at(index), usesOf[index] as Use[]),
    );
  });
  return blocks;
}

function diagonalBlock(parameter: ParameterAt, uses: readonly Use[]): DiagonalBlock {
  const operations = [...new Set(uses.map((use) => (use.kind === "other" ? use.operation : use.kind)))];
  const remark =
    uses.length === 0
      ? "the outputs do not depend on it"
      : `used by ${operations.join(", ")}, which has no Kronecker form`;
  return { kind: "diagonal", name: parameter.name, parameter, remarks: [remark] };
}

/** The block of a weight; undefined for parameters that are none. */
function layerBlock(
  weight: ParameterAt,
  uses: readonly Use[],
  usesOf: readonly (readonly Use[])[],
  readers: UsesOfParameters["readers"],
  at: (index: number) => ParameterAt,
  { flavour, terms, maxDenseRows }: BlockOptions,
): KroneckerBlock | EmbeddingBlock | undefined {
  const linear = uses.filter((use) => use.kind === "linear");
  const lookups = uses.filter((use) => use.kind === "lookup");
  if (uses.length === 0 || linear.length + lookups.length < uses.length) return undefined;
  const last = linear.at(-1) ?? (lookups.at(-1) as LookupUse);
  const layoutOf = (use: LinearUse | LookupUse) => matrixLayout(use.steps, weight.shape, matrixAxes(use, weight.shape));
  const layout = layoutOf(last);
  const [block, rest] = partition(
    uses as readonly (LinearUse | LookupUse)[],
    (use) => use.kind === last.kind && layoutOf(use).key === layout.key,
  );
  const remarks =
    rest.length === 0 ? [] : [`${rest.length} of its ${uses.length} uses, transposed or lookups, are not in the block`];
  const taps = block.map((use) => (use.kind === "linear" ? linearTap(use, weight.shape) : lookupTap(use)));
  const positions = taps.reduce(
    (sum, { output, result }) => sum + sizeOf(result.shared.map((axis) => output.shape[axis] as number)),
    0,
  );
  const isKey = linear.some((use) => feedsKeys(use.output, readers));
  const asked = typeof flavour === "function" ? flavour(weight.name) : flavour;
  const shared = { name: weight.name, weight, layout, positions };
  const chosen = asked !== "auto" ? asked : terms > 1 || isKey ? "expand" : "reduce";
  if (last.kind === "lookup") {
    const isDense = chosen === "reduce" && layout.ins <= maxDenseRows;
    return { kind: "embedding", ...shared, isDense, flavour: chosen, remarks, taps: taps as LookupTap[] };
  }
  const ofLayer = block as readonly LinearUse[];
  const found = biasOf(ofLayer, taps as LinearTap[], usesOf, readers, at);
  // The gradient of a bias of keys is zero: its exact diagonal says so, a joint block would not.
  const bias = isKey && chosen === "expand" && asked === "auto" ? undefined : found;
  return { kind: "kronecker", ...shared, flavour: chosen, remarks, bias, taps: taps as LinearTap[] };
}

function partition<T>(items: readonly T[], test: (item: T) => boolean): [T[], T[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}

const complement = (rank: number, ...lists: (readonly number[])[]): number[] =>
  Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !lists.some((list) => list.includes(axis)));

/** Axes of the weight as it enters the operation. */
function matrixAxes(use: LinearUse | LookupUse, shape: Shape) {
  const strides = stridesIn(use.steps, shape);
  const order = (axes: readonly number[]) => inParameterOrder(axes, strides);
  const { rank } = use.view;
  if (use.kind === "lookup") return { groups: [], ins: [use.axis], outs: order(complement(rank, [use.axis])) };
  const groups = use.params.batch[use.side];
  const ins = use.params.contract[use.side];
  return { groups: order(groups), ins: order(ins), outs: order(complement(rank, groups, ins)) };
}

/** The places of the weight's axes in the activations and in the result. */
function linearTap(use: LinearUse, shape: Shape): LinearTap {
  const { activations, output, side, params, view } = use;
  const axes = matrixAxes(use, shape);
  const partner = (pairs: LinearUse["params"]["batch"], axis: number): number =>
    pairs[(1 - side) as 0 | 1][pairs[side].indexOf(axis)] as number;
  const groups = axes.groups.map((axis) => partner(params.batch, axis));
  const features = axes.ins.map((axis) => partner(params.contract, axis));
  const backwards = reversedAxes(axes.ins, stridesIn(use.steps, shape)).map((axis) => partner(params.contract, axis));
  const shared = complement(activations.rank, groups, features);
  const free = complement(view.rank, params.batch[side], params.contract[side]);
  const batch = params.batch[side].length;
  // Result: batch axes, then the free ones of the first operand, then those of the second, ascending.
  const [firstOut, firstShared] = side === 0 ? [batch, batch + free.length] : [batch + shared.length, batch];
  return {
    activations: backwards.length === 0 ? activations : activations.flip(backwards),
    output,
    input: { groups, features, shared },
    result: {
      groups: axes.groups.map((axis) => params.batch[side].indexOf(axis)),
      features: axes.outs.map((axis) => firstOut + free.indexOf(axis)),
      shared: shared.map((_, index) => firstShared + index),
    },
  };
}

function lookupTap({ indices, output, axis, view }: LookupUse): LookupTap {
  const shared = indices.shape.map((_, index) => axis + index);
  const features = complement(view.rank, [axis]).map((own) => (own < axis ? own : own - 1 + indices.rank));
  return { indices, output, result: { groups: [], features, shared } };
}

/** The bias that is added to the outputs of every use, if it is nowhere else. */
function biasOf(
  layer: readonly LinearUse[],
  taps: readonly LinearTap[],
  usesOf: readonly (readonly Use[])[],
  readers: UsesOfParameters["readers"],
  at: (index: number) => ParameterAt,
): KroneckerBlock["bias"] {
  const additions = layer.map(({ output }, index) => {
    const found = additionTo(output, usesOf, readers);
    if (found === undefined) return undefined;
    const { use, steps } = found;
    const bias = at(use.parameter);
    const { groups, features } = (taps[index] as LinearTap).result;
    const rows = rowLayout(
      { steps: use.steps, start: bias.shape },
      { steps, start: output.shape },
      { groups, outs: features },
    );
    return rows && { ...bias, rows };
  });
  const [first] = additions;
  if (first === undefined || (usesOf[first.index] as readonly Use[]).length !== layer.length) return undefined;
  return additions.every((each) => each?.index === first.index && each.rows.key === first.rows.key) ? first : undefined;
}

/** The parameter that is added to a tensor before anything but movements reads it. */
function additionTo(
  output: Tensor,
  usesOf: readonly (readonly Use[])[],
  readers: UsesOfParameters["readers"],
): { readonly use: ElementwiseUse; readonly steps: readonly Step[] } | undefined {
  const steps: Step[] = [];
  let at = output;
  for (;;) {
    const reader = onlyReader(at, readers);
    const [result] = reader?.outputs ?? [];
    if (reader === undefined || result === undefined) return undefined;
    const kind = reader.primitive.lowering.kind;
    if (kind === "movement") {
      const step = { primitive: reader.primitive, params: reader.params[0] };
      if (!isBijective([step])) return undefined;
      steps.push(step);
    } else if (kind !== "alias" || reader.primitive.name === "stopGradient") {
      const use = usesOf
        .flat()
        .find((each) => each.kind === "shift" && each.isPlain && each.output === result && each.other === at);
      return use === undefined ? undefined : { use: use as ElementwiseUse, steps };
    }
    at = result;
  }
}

function onlyReader(tensor: Tensor, readers: UsesOfParameters["readers"]): Equation | undefined {
  const list = readers.get(tensor) ?? [];
  return list.length === 1 ? list[0] : undefined;
}

/** Does it become the keys of an attention? Their softmax does not see a shift common to all of them. */
function feedsKeys(output: Tensor, readers: UsesOfParameters["readers"]): boolean {
  const pending = [output];
  const seen = new Set<Tensor>();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    for (const reader of readers.get(next) ?? []) {
      if (reader === undefined) continue;
      const { kind } = reader.primitive.lowering;
      if (reader.primitive.name === "attention" && reader.inputs[1] === next) return true;
      if (kind === "movement" || kind === "alias" || reader.primitive.name === "add") pending.push(...reader.outputs);
    }
  }
  return false;
}

/** A scale with the shift that is added to what it scales. */
function unitwiseBlock(
  scale: ParameterAt,
  usesOf: readonly (readonly Use[])[],
  taken: Set<number>,
  readers: UsesOfParameters["readers"],
  at: (index: number) => ParameterAt,
): UnitwiseBlock | undefined {
  const own = usesOf[scale.index] as readonly Use[];
  const [use] = own;
  if (own.length !== 1 || use?.kind !== "scale") return undefined;
  const reader = onlyReader(use.output, readers);
  const addition = usesOf
    .flat()
    .find((each) => each.kind === "shift" && each.other === use.output && each.output === reader?.outputs[0]);
  if (addition === undefined || taken.has(addition.parameter)) return undefined;
  const shift = at(addition.parameter);
  const isAlone = (usesOf[shift.index] as readonly Use[]).length === 1;
  if (!isAlone || String(shift.shape) !== String(scale.shape)) return undefined;
  taken.add(shift.index);
  return { kind: "unitwise", name: scale.name, scale, shift, remarks: [] };
}
