/** The preconditioner of K-FAC: averages of factors, their inverses in turns, and what is known of each block. */
import {
  type Block,
  type BlockFactors,
  type BlockInverse,
  type CurvaturePower,
  type DampingRule,
  type Eigenbasis,
  type Inverses,
  invertBlock,
  precondition,
} from "@thalweg/curvature";
import { full, scalar, sizeOf, stack, type Tensor, tensor, treeFlatten, treeLeaves } from "@thalweg/tensor";
import { mapTensors, type TensorTree } from "../tensors";
import type { Curvature, Refresh } from "../transform";
import type { Turns } from "./block-turns";

export interface PreconditionerOptions {
  readonly rule: DampingRule;
  /** Whether eigenvalues are those that the batches measure (EKFAC). */
  readonly isCorrected: boolean;
  readonly power: CurvaturePower;
  /** What λ of a block is: λ itself, λ times the block's mean eigenvalue, or √(c |g|) of its gradient, at least λ. */
  readonly blockDamping: BlockDamping;
  readonly turns: Turns;
}

export type BlockDamping = "shared" | "curvature" | "gradient";

type FactorTree = Readonly<Record<string, BlockFactors>>;

/** (A type, so that it counts as a tree.) */
export type PreconditionerState = {
  /** Averages of factors that begin at zero, and how many measurements are in them: f32. */
  readonly factors: FactorTree;
  readonly measured: Tensor;
  readonly inverses: Inverses;
  /** One row for each block: f32 `[blocks, columns]`. */
  readonly table: Tensor;
  /** Measurements and inversions that were not finite and were left out: u32. */
  readonly skipped: Tensor;
};

/** What the table knows of a block. */
export const columns = [
  /** The factor of λ, raised where an inversion failed. */
  "boost",
  /** The mean eigenvalue. */
  "scale",
  "damping",
  "pi",
  "condition",
  "clipped",
  /** The step of the last inversion; -1 before the first. */
  "refreshed",
  /** Inversions that failed. */
  "recoveries",
] as const;

type Column = (typeof columns)[number];

/** How much λ of a block rises when its inverse is not finite. */
const boost = 10;

/** What a step knows besides the state. */
export interface PreconditionerStep {
  readonly curvature: Curvature;
  readonly blocks: readonly Block[];
  /** λ. */
  readonly damping: Tensor;
  /** c of {@link BlockDamping}. */
  readonly gradientDamping: Tensor | undefined;
  readonly gradients: TensorTree;
  /** The numbers of a decay constant. */
  readonly decay: readonly Tensor[];
  readonly step: Tensor;
  readonly refresh: Refresh | undefined;
}

export function startPreconditioner(
  blocks: readonly Block[],
  { rule, power }: PreconditionerOptions,
): PreconditionerState {
  const factors = zeroFactors(blocks);
  // Only for the shapes of the inverses.
  const like = blocks.map((block) => [block.name, invertBlock(block, factors, scalar(1), rule, power).inverse]);
  const row = columns.map((name) => (name === "boost" || name === "scale" ? 1 : name === "refreshed" ? -1 : 0));
  return {
    factors,
    measured: full([], 0),
    inverses: mapTensors((x) => full(x.shape, 0), Object.fromEntries(like)) as Inverses,
    table: tensor(Float32Array.from(blocks.flatMap(() => row)), { shape: [blocks.length, columns.length] }),
    skipped: tensor(Uint32Array.of(0), { shape: [] }),
  };
}

/** A number of the table: scalar. */
export const cell = (table: Tensor, block: number, column: Column): Tensor => {
  const at = columns.indexOf(column);
  return table.slice([block, at], [block + 1, at + 1]).reshape([]);
};

/** The step of the inversion that is the longest ago: f32 scalar. */
export function oldestInversion(table: Tensor): Tensor {
  const at = columns.indexOf("refreshed");
  return table.slice([0, at], [table.shape[0] as number, at + 1]).min();
}

/** λ of a block. */
function dampingOf(
  index: number,
  { damping, gradientDamping, blocks, gradients }: PreconditionerStep,
  { blockDamping }: PreconditionerOptions,
  table: Tensor,
  scale = cell(table, index, "scale"),
): Tensor {
  const own = blockDamping === "curvature" ? damping.mul(scale) : damping;
  const raised = gradientDamping?.mul(blockNorm(blocks[index] as Block, gradients)).sqrt();
  return (raised === undefined ? own : raised.maximum(own)).mul(cell(table, index, "boost"));
}

/** State after the rare work of a step: as much of it as the step is compiled with, and whose turn it is. */
export function refreshedPreconditioner(
  before: PreconditionerState,
  context: PreconditionerStep,
  options: PreconditionerOptions,
): PreconditionerState {
  const { curvature, blocks, decay, step, refresh } = context;
  const { turns, rule, power, isCorrected } = options;
  if (!turns.measures(refresh)) return before;
  const [retained, added, logRetained] = decay as [Tensor, Tensor, Tensor];
  const fresh = Object.fromEntries(blocks.map(({ name }) => [name, curvature.factors[name] as BlockFactors]));
  const isUsable = areFinite(fresh);
  const isDue = turns.isMeasured(step);
  const isMeasured = isDue.and(isUsable);
  const average = (own: Tensor, now: Tensor): Tensor => own.mul(retained).add(now.mul(added));
  const moved = mapTensors(average, before.factors as TensorTree, fresh as TensorTree);
  const factors = choose(isMeasured, moved, before.factors) as FactorTree;
  const measured = isMeasured.where(before.measured.add(1), before.measured);
  let skipped = isDue.and(isUsable.not()).where(before.skipped.add(1), before.skipped);
  // 1 - β^n as expm1, which keeps its digits.
  const weight = measured.greater(0).where(measured.mul(logRetained).expm1().neg(), 1);
  const unbiased = mapTensors((x) => x.div(weight), factors as TensorTree) as FactorTree;

  const groups = turns.groupsOf(blocks);
  const isInverted = new Map<string, Tensor>();
  const inverses: Record<string, BlockInverse> = { ...before.inverses };
  const rows = blocks.map((block, index): Tensor => {
    const { name } = block;
    const group = groups[index] as number;
    const old = (column: Column): Tensor => cell(before.table, index, column);
    if (!turns.inverts(refresh, group)) return stack(columns.map(old));
    const mean = meanEigenvalue(unbiased[name] as BlockFactors);
    const scale = mean.greater(0).where(mean, 1);
    const lambda = dampingOf(index, context, options, before.table, scale);
    const inverted = invertBlock(block, unbiased, lambda, rule, power);
    const isTurn = turns.isInverted(step, group).and(measured.greater(0));
    const isSound = areFinite(inverted.inverse).and(lambda.isFinite());
    const isNew = isTurn.and(isSound);
    const hasFailed = isTurn.and(isSound.not());
    inverses[name] = choose(isNew, inverted.inverse, before.inverses[name]) as BlockInverse;
    isInverted.set(name, isNew);
    skipped = hasFailed.where(skipped.add(1), skipped);
    const found: Readonly<Record<Exclude<Column, "boost" | "recoveries">, Tensor>> = {
      scale,
      damping: lambda,
      pi: inverted.pi,
      condition: inverted.condition,
      clipped: inverted.clipped,
      refreshed: step.cast("f32"),
    };
    return stack(
      columns.map((column) => {
        if (column === "boost") return hasFailed.where(old(column).mul(boost), old(column));
        if (column === "recoveries") return hasFailed.where(old(column).add(1), old(column));
        return isNew.where(found[column], old(column));
      }),
    );
  });
  const hasRows = blocks.some((_, index) => turns.inverts(refresh, groups[index] as number));
  return {
    factors,
    measured,
    inverses: isCorrected ? withMeasuredValues() : inverses,
    table: hasRows ? stack(rows) : before.table,
    skipped,
  };

  /** Second moments of this batch in the eigenbases: averaged, and anew where the basis is new. */
  function withMeasuredValues(): Inverses {
    const corrected = curvature.correct(inverses);
    return Object.fromEntries(
      Object.entries(inverses).map(([name, basis]) => {
        if (!("values" in basis)) return [name, basis];
        const own = (corrected[name] as Eigenbasis).values;
        const isNew = isInverted.get(name);
        const averaged = average(basis.values, own);
        const values = isNew === undefined ? averaged : isNew.where(own, averaged);
        return [name, { ...basis, values: isMeasured.and(own.isFinite().all()).where(values, basis.values) }];
      }),
    );
  }
}

/** The gradients times the inverse of the damped curvature. */
export function preconditioned(
  { inverses, table }: PreconditionerState,
  context: PreconditionerStep,
  options: PreconditionerOptions,
): TensorTree {
  return context.blocks.reduce(
    (tree, block, index) =>
      precondition([block], inverses, tree, dampingOf(index, context, options, table), options.power),
    context.gradients,
  );
}

/** 1 if all elements are finite. */
const areFinite = (tree: unknown): Tensor =>
  treeLeaves<Tensor>(tree)
    .map((x) => x.isFinite().all())
    .reduce((one, other) => one.and(other));

const choose = (condition: Tensor, yes: unknown, no: unknown): TensorTree =>
  mapTensors((a, b) => condition.where(a, b), yes as TensorTree, no as TensorTree);

/** Places of a block's parameters among the leaves. */
export function leavesOf(block: Block): readonly number[] {
  switch (block.kind) {
    case "kronecker":
      return block.bias === undefined ? [block.weight.index] : [block.weight.index, block.bias.index];
    case "embedding":
      return [block.weight.index];
    case "unitwise":
      return [block.scale.index, block.shift.index];
    case "diagonal":
      return [block.parameter.index];
  }
}

/** The Euclidean norm of the part of a tree that belongs to a block: scalar. */
export function blockNorm(block: Block, tree: TensorTree): Tensor {
  const { leaves } = treeFlatten<Tensor>(tree);
  return leavesOf(block)
    .map((index) => (leaves[index] as Tensor).square().sum())
    .reduce((sum, own) => sum.add(own))
    .sqrt();
}

/** tr A / dim A · tr B / dim B, or the mean of a diagonal: scalar. */
function meanEigenvalue(factors: BlockFactors): Tensor {
  if ("diagonal" in factors) return factors.diagonal.mean();
  if ("cross" in factors) return factors.scale.add(factors.shift).mean().mul(0.5);
  const mean = (matrix: Tensor): Tensor => {
    if (matrix.rank === 1) return matrix.mean();
    const isOwn = matrix.iotaLike(-1).equal(matrix.iotaLike(-2));
    return isOwn
      .where(matrix, 0)
      .sum()
      .div(sizeOf(matrix.shape.slice(0, -1)));
  };
  return mean(factors.a).mul(mean(factors.b));
}

function zeroFactors(blocks: readonly Block[]): FactorTree {
  const square = (groups: number, size: number) => full(groups === 1 ? [size, size] : [groups, size, size], 0);
  const ofBlock = (block: Block): BlockFactors => {
    switch (block.kind) {
      case "kronecker": {
        const { groups, outs, ins } = block.layout;
        return { a: square(groups, ins + (block.bias === undefined ? 0 : 1)), b: square(groups, outs) };
      }
      case "embedding": {
        const { outs, ins } = block.layout;
        return { a: block.isDense ? square(1, ins) : full([ins], 0), b: square(1, outs) };
      }
      case "unitwise": {
        const { shape } = block.scale;
        return { scale: full(shape, 0), cross: full(shape, 0), shift: full(shape, 0) };
      }
      case "diagonal":
        return { diagonal: full(block.parameter.shape, 0) };
    }
  };
  return Object.fromEntries(blocks.map((block) => [block.name, ofBlock(block)]));
}
