/**
 * Cuts long reductions with few results in two stages, and writes squared deviations as sums.
 *
 * On CPUs one invocation computes one result, so parts are made until every core has some, and until none is longer than
 * {@link longestSum}. On GPUs up to `lanesPerRow` invocations share a result (kernels/rows.wgsl.ts): many rows need no
 * cut, a sum of everything is two dispatches, and parts are never shorter than what one workgroup reads in the time that
 * a second dispatch costs. The error of a sum over n terms is at most (64 + log2 n + n / (64 · lanes)) · u · Σ|x| in each
 * stage, where the last term is below 64: sums of partial sums of 64.
 *
 * Squared deviations from the mean, over parts of m elements with sums s and deviations d, are
 *
 *   D = Σ (d + m · (s / m - mean)²),   mean = Σ s / n
 *
 * so that mean and variance come out of one pass over memory: the part's own deviations are taken while the part is at
 * hand. Nothing cancels, as it does in Σx² - n·mean².
 *
 * @see Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979)
 */
import { loweringOf } from "../primitives/definition";
import { restore } from "../primitives/reduce";
import { sizeOf, withoutAxes } from "../shape";
import { apply, type Tensor } from "../tensor";
import type { CompileTarget } from "./target";

/** Longest serial sum: the rounding error of f32 grows with it. */
export const longestSum = 4096;
/** Terms of a part at least, where one invocation computes it: below, a second kernel costs more than it gains. */
const shortestSum = 128;
/** Terms of a part at least for each of the lanes that share it. */
const shortestShare = 64;
/** Lanes that share a column, and neighbouring elements that are loaded at once: see kernels/rows.wgsl.ts. */
const columnLanes = 16;
const columnVector = 4;
/** Terms of a lane that stay in registers from one stage of a reduction to the next. */
const heldTerms = 8;
/** Workgroups of a GPU that hide each other's latency, in units of the invocations that merely occupy it. */
const occupancy = 4;
/** Parts of one result at most: one workgroup adds them up. */
const mostParts = 1024;

/**
 * Terms of a row that a workgroup computes by itself, however few rows there are. Fusion lets what reads such rows write
 * them in the same kernel.
 */
export const longestRowOf = ({ lanesPerRow }: CompileTarget): number => 2 * shortestShare * lanesPerRow;

/** Are there so few rows that workgroups leave most of the machine idle? */
export const areFewRows = (rows: number, { lanesPerRow, invocations }: CompileTarget): boolean =>
  rows * lanesPerRow < occupancy * invocations;

/** A tensor seen with one of its reduced axes cut in two. */
interface Cut {
  readonly apart: Tensor;
  /** Axes of `apart` over which the parts are reduced. */
  readonly inner: readonly number[];
  /** Axes of the partial results over which they are combined. */
  readonly outer: readonly number[];
  /** Elements of every part. */
  readonly length: number;
  /** Elements of the last part, if it was filled up with zeros. */
  readonly last: number | undefined;
}

/** Reductions of one tensor over the same axes are cut alike and share their parts. */
export class ReductionSplitter {
  readonly #target: CompileTarget;
  /** What squared deviations are wanted of. */
  readonly #deviating = new Set<string>();
  readonly #cuts = new Map<string, Cut | undefined>();
  readonly #sums = new Map<string, Tensor>();

  /** @param nodes all nodes of the graph. */
  constructor(nodes: readonly Tensor[], target: CompileTarget) {
    this.#target = target;
    for (const node of nodes) {
      const reduction = loweringOf(node, "reduction");
      if (reduction?.combine === "deviations") this.#deviating.add(keyOf(node.inputs[0] as Tensor, node.params));
    }
  }

  /**
   * An equivalent of a reduction, or undefined to leave it as it is.
   *
   * @param original the node of the graph that it stands for, whose inputs may have been replaced.
   */
  split(node: Tensor, original: Tensor): Tensor | undefined {
    const reduction = loweringOf(node, "reduction");
    if (reduction === undefined || reduction.combine.startsWith("arg")) return undefined;
    const input = node.inputs[0] as Tensor;
    const axes = reduction.axes(node.params);
    // The sum that a mean is made of is cut like the deviations from it.
    if (this.#deviating.has(keyOf(original.inputs[0] as Tensor, node.params))) this.#cut(input, axes, true);
    if (reduction.combine === "deviations") return this.#deviations(input, axes);
    if (reduction.combine === "sum") {
      const cut = this.#cut(input, axes);
      if (cut === undefined) return this.#sum(input, axes, node);
      return this.#sum(this.#sum(cut.apart, cut.inner), cut.outer);
    }
    // Other combinations have no neutral element that a view could fill up with, unless they divide evenly.
    const cut = this.#cut(input, axes);
    if (cut === undefined || cut.last !== undefined) return undefined;
    const partial = apply(node.primitive, [cut.apart], { axes: cut.inner });
    return apply(node.primitive, [partial], { axes: cut.outer });
  }

  /** The sum over axes: one node, whoever asks for it. */
  #sum(input: Tensor, axes: readonly number[], node?: Tensor): Tensor {
    const key = `${input.id}:${axes}`;
    const known = this.#sums.get(key) ?? node ?? input.sum({ axis: axes });
    this.#sums.set(key, known);
    return known;
  }

  #deviations(x: Tensor, axes: readonly number[]): Tensor {
    const count = termsOf(x, axes);
    const cut = this.#cut(x, axes);
    if (cut === undefined) {
      const mean = restore(this.#sum(x, axes).mul(1 / count), axes, x.shape);
      return x.sub(mean).square().sum({ axis: axes });
    }
    const { apart, inner, outer } = cut;
    const sums = this.#sum(apart, inner);
    const lengths = partLengths(cut, sums);
    const means = sums.div(lengths);
    const apartness = apart.sub(restore(means, inner, apart.shape));
    // What fills up the last part deviates from its mean, but is no element.
    const own = cut.last === undefined ? apartness : isElement(cut).where(apartness, 0);
    const within = own.square().sum({ axis: inner });
    const mean = restore(this.#sum(sums, outer).mul(1 / count), outer, sums.shape);
    const between = means.sub(mean).square().mul(lengths);
    return within.add(between).sum({ axis: outer });
  }

  /** How the reduction of a tensor over axes is cut; undefined if it is not. */
  #cut(input: Tensor, axes: readonly number[], hasDeviations = false): Cut | undefined {
    const key = `${input.id}:${axes}`;
    if (!this.#cuts.has(key))
      this.#cuts.set(key, this.#makeCut(input, axes, this.#partsFor(input, axes, hasDeviations)));
    return this.#cuts.get(key);
  }

  #makeCut(input: Tensor, axes: readonly number[], parts: number): Cut | undefined {
    if (parts <= 1) return undefined;
    const cut = chooseCut(
      axes.map((axis) => input.shape[axis] as number),
      parts,
    );
    if (cut !== undefined) {
      // The parts' axis stands before the axis that it cuts; whole axes before that one are parts too.
      const axis = axes[cut.position] as number;
      const apart = splitAxis(input, axis, cut.parts);
      const inner = axes.slice(cut.position).map((own) => own + 1);
      const kept = withoutAxes(
        apart.shape.map((_, own) => own),
        inner,
      );
      const outer = [...axes.slice(0, cut.position), axis].map((own) => kept.indexOf(own));
      return { apart, inner, outer, length: termsOf(apart, inner), last: undefined };
    }
    // No axis divides well: the reduced axes become one, filled up with zeros.
    const terms = termsOf(input, axes);
    const kept = input.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
    const keptShape = kept.map((axis) => input.shape[axis] as number);
    const length = Math.ceil(terms / parts);
    const count = Math.ceil(terms / length);
    const rows = input.permute([...kept, ...axes]).reshape([...keptShape, terms]);
    const padded = rows.pad([...keptShape.map(() => [0, 0] as const), [0, count * length - terms]]);
    const apart = padded.reshape([...keptShape, count, length]);
    return { apart, inner: [apart.rank - 1], outer: [apart.rank - 2], length, last: terms - (count - 1) * length };
  }

  /** How many parts: enough invocations, bounded sums, no crumbs. */
  #partsFor(input: Tensor, axes: readonly number[], hasDeviations: boolean): number {
    const { invocations, lanesPerRow, without } = this.#target;
    if (without?.includes("parallelize")) return 1;
    const terms = termsOf(input, axes);
    const results = Math.max(1, input.size / Math.max(1, terms));
    if (lanesPerRow <= 1) {
      const wanted = Math.max(Math.ceil(invocations / results), Math.ceil(terms / longestSum));
      return Math.min(wanted, Math.floor(terms / shortestSum));
    }
    const inColumns = trailingRun(input, axes) >= columnVector;
    const lanes = inColumns ? Math.min(columnLanes, lanesPerRow) : lanesPerRow;
    const perWorkgroup = inColumns ? columnVector : 1;
    const wanted = Math.ceil((occupancy * invocations * perWorkgroup) / (results * lanes));
    const shortest = (shortestShare * lanes) / perWorkgroup;
    const useful = Math.min(wanted, mostParts, Math.floor(terms / shortest));
    // A part that stays in registers is read once for its sum and its deviations.
    const held = inColumns && hasDeviations ? Math.floor(terms / (heldTerms * lanes)) : 0;
    return Math.max(useful, held, Math.ceil(terms / (longestSum * lanes)));
  }
}

const keyOf = (input: Tensor, params: unknown): string => `${input.id}:${JSON.stringify(params)}`;

const termsOf = (input: Tensor, axes: readonly number[]): number =>
  sizeOf(axes.map((axis) => input.shape[axis] as number));

/** Elements that lie together behind the last reduced axis. */
const trailingRun = (input: Tensor, axes: readonly number[]): number => {
  const last = axes.findLast((axis) => (input.shape[axis] as number) > 1) ?? input.rank;
  return sizeOf(input.shape.slice(last + 1));
};

/** Elements of every part, in the shape of the partial results. */
function partLengths({ outer, length, last }: Cut, sums: Tensor): Tensor {
  const whole = sums.zerosLike().add(length);
  if (last === undefined) return whole;
  const axis = outer[0] as number;
  const isLast = sums.iotaLike(axis, "i32").equal((sums.shape[axis] as number) - 1);
  return isLast.where(last, whole);
}

/** In a tensor that was filled up: is there an element? */
function isElement({ apart, length, last }: Cut): Tensor {
  const parts = apart.shape[apart.rank - 2] as number;
  const position = apart
    .iotaLike(apart.rank - 2, "i32")
    .mul(length)
    .add(apart.iotaLike(apart.rank - 1, "i32"));
  return position.less((parts - 1) * length + (last ?? length));
}

/**
 * The first axes whose product, with a divisor of the last of them, is close to the number of parts wanted.
 */
export function chooseCut(
  extents: readonly number[],
  parts: number,
): { readonly position: number; readonly parts: number } | undefined {
  let product = 1;
  for (const [position, extent] of extents.entries()) {
    const wanted = Math.ceil(parts / product);
    if (extent >= wanted) {
      for (let divisor = wanted; divisor <= Math.min(extent, 4 * wanted); divisor++) {
        if (extent % divisor === 0) return { position, parts: divisor };
      }
      return undefined;
    }
    product *= extent;
  }
  return undefined;
}

/** `[…, n, …]` to `[…, parts, n / parts, …]`. */
export const splitAxis = (x: Tensor, axis: number, parts: number): Tensor =>
  x.reshape([...x.shape.slice(0, axis), parts, (x.shape[axis] as number) / parts, ...x.shape.slice(axis + 1)]);
