import {
  ArgumentError,
  full,
  iota,
  linalg,
  type Tensor,
  treeFlatten,
  treeLeaves,
  treeUnflatten,
} from "@thalweg/tensor";
import { type Constant, constant, decayConstant, nonNegative } from "../constant";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation, type UpdateContext } from "../transform";
import { biasCorrection, updateAverage } from "./average";
import { type Blocking, blockingOf } from "./blocks";
import { awayFromZero } from "./moments";
import { gram, multiplyAxis, type Stacks, stacksOf } from "./stacks";

/** Whose step size a direction is given. */
export type Graft = "none" | "sgd" | "adagrad" | "rmsprop" | "adam";

export interface ShampooScalingOptions {
  /** Retained fraction of the gradient's average, in [0, 1); 0 keeps none. */
  readonly beta1: number | Schedule;
  /** Retained fraction of the factors, in [0, 1]; 1 adds them up. */
  readonly beta2: number;
  /** Added to the eigenvalues of the factors. */
  readonly epsilon: number | Schedule;
  /** Longest side of a block. Default 128. */
  readonly blockSize?: number;
  /** Merges neighbouring short axes. Default true. */
  readonly mergeDims?: boolean;
  /** Steps between two refreshes of a block's roots. Default 1. */
  readonly frequency?: number;
  /** The step, from 1 on, of the first refresh; before it the direction is that of the graft. Default: frequency. */
  readonly start?: number;
  /** Groups of blocks that are refreshed at different steps; divides the frequency. Default 1. */
  readonly stagger?: number;
  /** The root p of A^(-1/p) for tensors of any order; default twice the order. */
  readonly rootOverride?: number;
  /** Multiplies the exponent. Default 1. */
  readonly exponentMultiplier?: number;
  /** Corrects averages for their start at 0. Default true. */
  readonly biasCorrection?: boolean;
  /** Mixes the gradient into its average once more, as NAdam does. Default false. */
  readonly nadam?: boolean;
  /** Default `"none"`. */
  readonly graft?: Graft;
  /** Retained fraction of the graft's second moment. Default 0.999. */
  readonly graftBeta2?: number | Schedule;
  /** Added to its root. Default 1e-8. */
  readonly graftEpsilon?: number | Schedule;
  /** How the roots are taken: from eigenvectors, or by Newton's method. Default `"eigen"`. */
  readonly inverse?: "eigen" | "newton";
}

/** The factors of a stack of blocks, and their roots: one tensor `[count, n, n]` for each axis. */
type Factors = {
  readonly statistics: readonly Tensor[];
  readonly roots: readonly Tensor[];
  /** 1 for blocks whose roots were taken, else 0: `[count]`. */
  readonly ready: Tensor;
};

/** A type, so that it counts as a tree. */
type ShampooBuffers = {
  readonly moment: TensorTree;
  /** The graft's second moment. */
  readonly graft: TensorTree;
  readonly factors: readonly Factors[];
};

/** How the parameters' blocks are grouped into stacks. */
interface Layout {
  readonly blockings: readonly Blocking[];
  readonly stacks: Stacks;
}

/**
 * Multiplies every axis of a gradient by the inverse root of what its Gram matrices add up to: G ×₁ L₁^(-1/2k) … ×ₖ
 * Lₖ^(-1/2k) for a tensor of order k, cut into blocks. The size of a block's step can be that of another method (grafting).
 *
 * Blocks of one shape are computed together. The roots are taken every `frequency` steps only; see
 * {@link GradientTransformation.refreshesAt}.
 *
 * @see Gupta, Koren & Singer, Shampoo: Preconditioned Stochastic Tensor Optimization, 2018
 * @see Anil et al., Scalable Second Order Optimization for Deep Learning, 2020
 * @see Shi et al., A Distributed Data-Parallel PyTorch Implementation of the Distributed Shampoo Optimizer, 2023
 */
export function scaleByShampoo(options: ShampooScalingOptions): GradientTransformation {
  const owner = "scaleByShampoo";
  const {
    beta1,
    beta2,
    epsilon,
    blockSize = 128,
    mergeDims = true,
    frequency = 1,
    stagger = 1,
    biasCorrection: corrects = true,
    nadam = false,
    graft = "none",
    graftBeta2 = 0.999,
    graftEpsilon = 1e-8,
  } = options;
  checkSteps(`${owner}: blockSize`, blockSize, 1);
  checkSteps(`${owner}: frequency`, frequency, 1);
  checkSteps(`${owner}: stagger`, stagger, 1);
  const start = checkSteps(`${owner}: start`, options.start ?? frequency, 1);
  if (frequency % stagger !== 0) {
    throw new ArgumentError(
      `${owner}: ${stagger} groups cannot take turns in ${frequency} steps. Give a frequency that stagger divides.`,
    );
  }
  const turn = frequency / stagger;
  const sums = constant(owner, "beta2", beta2, { min: 0, max: 1 }).value === 1;
  const averages = beta1 !== 0;
  const keepsMoment = graft === "adagrad" || graft === "rmsprop" || graft === "adam";
  const layoutOf = (params: TensorTree): Layout => {
    const blockings = treeLeaves<Tensor>(params).map(({ shape }) => blockingOf(shape, blockSize, mergeDims));
    return { blockings, stacks: stacksOf(blockings.flatMap(({ shapes }) => shapes)) };
  };
  return transformation<ShampooBuffers>({
    name: owner,
    constants: [
      ...(averages ? [decayConstant(owner, "beta1", beta1)] : []),
      ...(sums ? [] : [decayConstant(owner, "beta2", beta2)]),
      constant(owner, "epsilon", epsilon, nonNegative),
      ...(keepsMoment ? graftConstants(owner, graft, graftBeta2, graftEpsilon) : []),
    ],
    init: (params) => ({
      moment: averages ? treeZeros(params) : null,
      graft: keepsMoment ? treeZeros(params) : null,
      factors: layoutOf(params).stacks.groups.map(({ shape, members }): Factors => {
        const count = members.length;
        const identity = (n: number) =>
          iota([n, n], 0)
            .equal(iota([n, n], 1))
            .cast("f32")
            .expand([count, n, n]);
        return {
          statistics: shape.map((n) => full([count, n, n], 0)),
          roots: shape.map(identity),
          ready: full([count], 0),
        };
      }),
    }),
    refreshesAt(step) {
      const t = step + 1;
      if (t < start) return false;
      return t === start ? "start" : t % turn === 0;
    },
    update(gradients, buffers, context) {
      const { step, constant: numbers, extra } = context;
      const t = step.add(1);
      const [beta2Share, gramShare] = sums ? [] : numbers("beta2");
      const layout = layoutOf(context.params);
      const toStacks = (tree: TensorTree) =>
        layout.stacks.stacked(
          treeLeaves<Tensor>(tree).flatMap((x, index) => (layout.blockings[index] as Blocking).cut(x)),
        );

      const statistics = toStacks(gradients).map((g, group) =>
        (buffers.factors[group] as Factors).statistics.map((old, axis) => {
          const own = gram(g, axis);
          return beta2Share === undefined || gramShare === undefined
            ? old.add(own)
            : old.mul(beta2Share).add(own.mul(gramShare));
        }),
      );
      const factors = buffers.factors.map(({ roots, ready }, group): Factors => {
        const own = statistics[group] as Tensor[];
        if (extra.refresh === false) return { statistics: own, roots, ready };
        const unbias = sums || !corrects ? undefined : biasCorrection(numbers("beta2"), step).reciprocal();
        const rootsOf = (factor: Tensor) => inverseRoots(factor, roots.length, unbias, context, options);
        return {
          statistics: own,
          ...refreshed(own, roots, ready, rootsOf, { t, start, turn, stagger, group, context }),
        };
      });

      const { filtered, moment } = filter(gradients, buffers.moment, context, { averages, corrects, nadam });
      const [grafted, second] = graftOf(graft, filtered, gradients, buffers.graft, context);
      const references = grafted === undefined ? undefined : toStacks(grafted);
      const directions = toStacks(filtered).map((f, group) => {
        const { roots, ready } = factors[group] as Factors;
        const direction = roots.reduce((own, root, axis) => multiplyAxis(own, axis, root), f);
        if (references === undefined) return direction;
        const reference = references[group] as Tensor;
        const ratio = blockNorm(reference).div(awayFromZero(blockNorm(direction).add(1e-16)));
        const isReady = ready.greater(0).reshape([ready.size, ...f.shape.slice(1).map(() => 1)]);
        return isReady.where(direction.mul(ratio), reference);
      });
      const blocks = layout.stacks.unstacked(directions);
      const { structure } = treeFlatten<Tensor>(gradients);
      let taken = 0;
      const updates = layout.blockings.map(({ shapes, join }) => {
        taken += shapes.length;
        return join(blocks.slice(taken - shapes.length, taken));
      });
      return [treeUnflatten(structure, updates) as TensorTree, { moment, graft: second, factors }];
    },
  });
}

/** The norm of every member of a stack, with all axes kept. */
const blockNorm = (stacked: Tensor): Tensor =>
  stacked
    .square()
    .sum({ axis: stacked.shape.slice(1).map((_, axis) => axis + 1), keepDims: true })
    .sqrt();

/** When which blocks are refreshed. */
interface Turns {
  readonly t: Tensor;
  readonly start: number;
  readonly turn: number;
  readonly stagger: number;
  /** Number of the stack: stacks begin with different groups, so that small ones do not all fall on one step. */
  readonly group: number;
  readonly context: UpdateContext;
}

/** New roots for the blocks whose turn it is. */
function refreshed(
  statistics: readonly Tensor[],
  roots: readonly Tensor[],
  ready: Tensor,
  rootsOf: (factor: Tensor) => Tensor,
  { t, start, turn, stagger, group, context }: Turns,
): Pick<Factors, "roots" | "ready"> {
  const count = ready.size;
  const isStart = t.equal(start);
  const isTurn = t.greaterEqual(start).and(t.rem(turn).equal(0));
  const size = Math.ceil(count / stagger);
  // Without turns, and at the start, all blocks are refreshed.
  if (stagger === 1 || context.extra.refresh !== true) {
    const phase = t.div(turn).add(group).rem(stagger);
    const isMine = iota([count], 0, "u32").div(size).equal(phase);
    const isDue = isStart.or(isTurn.and(isMine));
    const place = isDue.reshape([count, 1, 1]);
    return {
      roots: statistics.map((own, axis) => place.where(rootsOf(own), roots[axis] as Tensor)),
      ready: isDue.where(1, ready),
    };
  }
  // Only the group whose turn it is: a part of the stack that begins where the step says.
  const first = t.div(turn).add(group).rem(stagger).mul(size);
  const members = first.add(iota([size], 0, "u32")).minimum(count - 1);
  const all = iota([count], 0, "u32");
  const isMember = isTurn.and(all.greaterEqual(first)).and(all.less(first.add(size)));
  const position = all
    .maximum(first)
    .sub(first)
    .minimum(size - 1);
  const place = isMember.reshape([count, 1, 1]);
  return {
    roots: statistics.map((own, axis) => {
      const fresh = rootsOf(own.gather(members, { axis: 0 })).gather(position, { axis: 0 });
      return place.where(fresh, roots[axis] as Tensor);
    }),
    ready: isMember.where(1, ready),
  };
}

/** (L / c2 + ε I)^(-e/p) of a stack of factors. */
function inverseRoots(
  factor: Tensor,
  order: number,
  unbias: Tensor | undefined,
  { constant: numbers }: UpdateContext,
  { rootOverride = 0, exponentMultiplier = 1, inverse = "eigen" }: ShampooScalingOptions,
): Tensor {
  const [eps] = numbers("epsilon") as [Tensor];
  const root = rootOverride === 0 ? 2 * order : rootOverride;
  const unbiased = unbias === undefined ? factor : factor.mul(unbias);
  if (inverse === "newton") {
    if (exponentMultiplier !== 1) {
      throw new ArgumentError(
        `scaleByShampoo: Newton's method takes whole roots, exponentMultiplier is ${exponentMultiplier}. Use inverse "eigen".`,
      );
    }
    const n = factor.shape.at(-1) as number;
    const diagonal = iota([n, n], 0).equal(iota([n, n], 1));
    return linalg.inverseRoot(unbiased.add(diagonal.where(eps, 0)), root, { ridge: 1e-9 }).root;
  }
  const { values, vectors } = linalg.eigh(unbiased);
  const least = values.min({ axis: -1, keepDims: true }).minimum(0);
  const powers = awayFromZero(values.sub(least).add(eps))
    .log()
    .mul(-exponentMultiplier / root)
    .exp();
  return vectors.mul(powers.expandDims(-2)).matmul(vectors.transpose());
}

/** The filtered gradient: its average without bias, or mixed with the gradient once more, or itself. */
function filter(
  gradients: TensorTree,
  before: TensorTree,
  { step, constant: numbers }: UpdateContext,
  { averages, corrects, nadam }: { readonly averages: boolean; readonly corrects: boolean; readonly nadam: boolean },
): { readonly filtered: TensorTree; readonly moment: TensorTree } {
  if (!averages) return { filtered: gradients, moment: null };
  const beta1 = numbers("beta1");
  const moment = updateAverage(beta1, before, gradients);
  const mixed = nadam ? updateAverage(beta1, moment, gradients) : moment;
  if (!corrects) return { filtered: mixed, moment };
  const unbias = biasCorrection(beta1, step).reciprocal();
  return { filtered: mapTensors((m) => m.mul(unbias), mixed), moment };
}

function graftConstants(
  owner: string,
  graft: Graft,
  beta2: number | Schedule,
  epsilon: number | Schedule,
): readonly Constant[] {
  const own = constant(owner, "graftEpsilon", epsilon, nonNegative);
  return graft === "adagrad" ? [own] : [decayConstant(owner, "graftBeta2", beta2), own];
}

/** The direction whose size is taken, and its second moment. */
function graftOf(
  graft: Graft,
  filtered: TensorTree,
  gradients: TensorTree,
  before: TensorTree,
  { step, constant: numbers }: UpdateContext,
): readonly [direction: TensorTree | undefined, second: TensorTree] {
  if (graft === "none") return [undefined, null];
  if (graft === "sgd") return [filtered, null];
  const squared = mapTensors((g) => g.square(), gradients);
  const second =
    graft === "adagrad"
      ? mapTensors((v, g) => v.add(g), before, squared)
      : updateAverage(numbers("graftBeta2"), before, squared);
  const unbias = graft === "adam" ? biasCorrection(numbers("graftBeta2"), step).reciprocal() : undefined;
  const [eps] = numbers("graftEpsilon") as [Tensor];
  const direction = (f: Tensor, v: Tensor) =>
    f.div(awayFromZero((unbias === undefined ? v : v.mul(unbias)).sqrt().add(eps)));
  return [mapTensors(direction, filtered, second), second];
}
