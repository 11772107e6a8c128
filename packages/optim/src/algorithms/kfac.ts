import {
  type Block,
  type CurvaturePower,
  curvaturePowers,
  type DampingRule,
  dampingRules,
  type FisherKind,
  type Flavour,
  fisherKinds,
} from "@thalweg/curvature";
import { ArgumentError, formatPath, full, type Tensor, treeFlatten, treeLeaves, treeUnflatten } from "@thalweg/tensor";
import { type Constant, constant, decayConstant, fraction, nonNegative, positive } from "../constant";
import type { ValuesOf } from "../hyperparameter";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeDot, treeZeros } from "../tensors";
import {
  type Curvature,
  type CurvatureRequest,
  contextAt,
  type Extra,
  type GradientTransformation,
  type ModelStructure,
  type Rule,
  transformation,
  type UpdateContext,
} from "../transform";
import {
  type BlockGraft,
  blockGrafts,
  type GraftState,
  graftConstants,
  grafted,
  graftSteps,
  startGraft,
} from "../transforms/block-graft";
import { turnsOf } from "../transforms/block-turns";
import { type DecayMask, decaysOf } from "../transforms/decay";
import {
  type BlockDamping,
  cell,
  columns,
  leavesOf,
  oldestInversion,
  type PreconditionerOptions,
  type PreconditionerState,
  type PreconditionerStep,
  preconditioned,
  refreshedPreconditioner,
  startPreconditioner,
} from "../transforms/kronecker";
import { adaptedDamping, modelSteps } from "../transforms/quadratic-model";
import { judged, type RejectionState, startRejection } from "../transforms/step-rejection";
import { masked } from "../wrappers/masked";
import { adamw } from "./adam";
import { amount, epsilon, learningRate, off, steps, weightDecay } from "./specs";

interface KroneckerDescentOptions {
  readonly learningRate: number | Schedule;
  readonly damping: number | Schedule;
  readonly rule: DampingRule | "eigenvalueCorrected";
  readonly power: CurvaturePower;
  readonly flavour: Flavour | "auto";
  readonly fisher: FisherKind;
  readonly draws: number;
  readonly factorExamples: number;
  readonly factorInterval: number;
  readonly inverseInterval: number;
  readonly stagger: number;
  readonly burnIn: number;
  readonly decay: number | Schedule;
  readonly momentum: number | Schedule;
  readonly nesterov: boolean;
  readonly adaptiveSteps: boolean;
  readonly modelDamping: number | Schedule;
  readonly adaptiveDamping: boolean;
  readonly dampingInterval: number;
  readonly omega: number;
  readonly lowerRatio: number;
  readonly upperRatio: number;
  readonly leastDamping: number;
  readonly largestDamping: number;
  readonly rejectSteps: boolean;
  readonly rejectionFactor: number;
  readonly blockDamping: BlockDamping;
  readonly gradientDamping: number | Schedule;
  readonly clip: number | Schedule;
  readonly graft: BlockGraft;
  readonly weightDecay: number | Schedule;
  readonly decoupled: boolean;
  readonly decayMask: DecayMask;
  /** For parameters outside of layers; undefined: their diagonals, or 2 × 2 matrices. */
  readonly rest: GradientTransformation | undefined;
}

/** (A type, so that it counts as a tree.) */
type KfacBuffers = {
  readonly preconditioner: PreconditionerState;
  /** λ where it adapts. */
  readonly damping: Tensor | null;
  /** Of heavy ball; with steps by the quadratic model the update before. */
  readonly velocity: TensorTree;
  readonly graft: GraftState;
  readonly rest: TensorTree;
  /** Where steps can be rejected. */
  readonly rejection: RejectionState | null;
};

/**
 * K-FAC and its kin. The order of a step: factors into their averages, inverses whose turn it is, the direction, its length
 * of another method (graft), the limit on ⟨u, g⟩, momentum, the learning rate with decoupled decay, λ, and whether the step is
 * taken.
 */
function kroneckerDescent(owner: string, options: KroneckerDescentOptions): GradientTransformation {
  const { damping, momentum, clip, weightDecay: decayRate, graft, burnIn, adaptiveSteps, adaptiveDamping } = options;
  const { rejectSteps } = options;
  if (adaptiveDamping && typeof damping !== "number") {
    throw new ArgumentError(`${owner}: damping follows a schedule and adapts itself. Give a number to start with.`);
  }
  if (options.lowerRatio > options.upperRatio) {
    throw new ArgumentError(
      `${owner}: lowerRatio ${options.lowerRatio} is above upperRatio ${options.upperRatio}. Ratios below the first are ` +
        "bad, above the second good.",
    );
  }
  if (options.leastDamping > options.largestDamping) {
    throw new ArgumentError(
      `${owner}: leastDamping ${options.leastDamping} is above largestDamping ${options.largestDamping}.`,
    );
  }
  const turns = turnsOf(owner, {
    ...options,
    dampingInterval: adaptiveDamping ? options.dampingInterval : undefined,
  });
  const isCorrected = options.rule === "eigenvalueCorrected";
  const own: PreconditionerOptions = {
    rule: isCorrected ? "exactKronecker" : (options.rule as DampingRule),
    isCorrected,
    power: options.power,
    blockDamping: options.blockDamping,
    turns,
  };
  const byGradient = options.blockDamping === "gradient";
  const [isClipped, isDecayed] = [clip !== 0 && !adaptiveSteps, decayRate !== 0];
  const isPenalty = isDecayed && !options.decoupled;
  const { rest } = options;
  const chosenBlocks = (blocks: readonly Block[]): readonly Block[] =>
    rest === undefined ? blocks : blocks.filter(({ kind }) => kind === "kronecker" || kind === "embedding");
  const restOf = (blocks: readonly Block[]): Rule | undefined => {
    if (rest === undefined) return undefined;
    const names = new Set(chosenBlocks(blocks).flatMap(parameterNames));
    return masked(rest, ({ path }) => !names.has(formatPath(path))).rule;
  };
  const restConstants: readonly Constant[] =
    rest?.rule.constants.map((inner) => ({ ...inner, name: `rest.${inner.name}` })) ?? [];

  return transformation<KfacBuffers>({
    name: owner,
    needs: ["kronecker", ...(adaptiveDamping || rejectSteps ? (["loss", "valueAndGrad"] as const) : [])],
    curvature: curvatureRequest(options),
    constants: [
      ...(adaptiveSteps ? [] : [constant(owner, "learningRate", options.learningRate, nonNegative)]),
      ...(adaptiveDamping ? [] : [constant(owner, "damping", damping, positive)]),
      decayConstant(owner, "decay", options.decay),
      ...(adaptiveSteps
        ? [constant(owner, "modelDamping", options.modelDamping, nonNegative)]
        : [decayConstant(owner, "momentum", momentum)]),
      ...(isClipped ? [constant(owner, "clip", clip, nonNegative)] : []),
      ...(isDecayed ? [constant(owner, "weightDecay", decayRate, nonNegative)] : []),
      ...(byGradient ? [constant(owner, "gradientDamping", options.gradientDamping, nonNegative)] : []),
      ...graftConstants(owner, graft),
      ...restConstants,
    ],
    init(params, model) {
      const all = requireBlocks(owner, model);
      return {
        preconditioner: startPreconditioner(chosenBlocks(all), own),
        damping: adaptiveDamping ? full([], damping as number) : null,
        velocity: treeZeros(params),
        graft: startGraft(graft, params),
        rest: restOf(all)?.init(params) ?? null,
        rejection: rejectSteps ? startRejection() : null,
      };
    },
    refreshesAt: turns.refreshesAt,
    update(gradients, before, context) {
      const { params, step, constant: numbers, extra } = context;
      const curvature = extra.kronecker as Curvature;
      const blocks = chosenBlocks(curvature.blocks);
      const eta = isDecayed ? (numbers("weightDecay") as [Tensor])[0] : undefined;
      const decayed = eta === undefined ? gradients : withDecay(gradients, params, eta, options.decayMask);
      const g = isPenalty ? decayed : gradients;
      const base = before.damping ?? (numbers("damping") as [Tensor])[0];
      const withPenalty = (own: Tensor): Tensor => (isPenalty && eta !== undefined ? own.add(eta) : own);
      const lambda = withPenalty(base);
      const stepOf: PreconditionerStep = {
        curvature,
        blocks,
        damping: lambda,
        gradientDamping: byGradient ? numbers("gradientDamping")[0] : undefined,
        gradients: g,
        decay: numbers("decay"),
        step,
        refresh: extra.refresh,
      };
      const preconditioner = refreshedPreconditioner(before.preconditioner, stepOf, own);
      // Methods beside the curvature count the updates after the burn-in.
      const moving = burnIn === 0 ? context : contextAt(context, step.maximum(burnIn).sub(burnIn));
      const [lengths, graftState] = graftSteps(graft, before.graft, { ...moving, gradients, decayed });
      const direct = onlyBlocks(blocks, preconditioned(preconditioner, stepOf, own));
      const u = graft === "none" ? direct : grafted(blocks, direct, lengths);
      const { alpha, velocity, moved } = adaptiveSteps
        ? byQuadraticModel(u, before.velocity, onlyBlocks(blocks, g), modelLambda(), curvature)
        : byRate(u, onlyBlocks(blocks, g));
      const decays = eta === undefined || isPenalty ? undefined : alpha.mul(eta).neg();
      const shrink = onlyBlocks(blocks, params);
      const curved = decays === undefined ? moved : withDecay(moved, shrink, decays, options.decayMask);
      const inner = restOf(curvature.blocks)?.update(gradients, before.rest, restContext(moving));
      const all = inner === undefined ? curved : besides(blocks, curved, inner[0]);
      const isBurning = burnIn > 0 ? step.less(burnIn) : undefined;
      const settled = <T extends TensorTree>(fresh: T, old: T): T =>
        isBurning === undefined ? fresh : (mapTensors((a, b) => isBurning.where(b, a), fresh, old) as T);
      const updates = isBurning === undefined ? all : mapTensors((x) => isBurning.where(0, x), all);
      const penalty = isPenalty ? eta : undefined;
      const isDue = turns.adapts(extra.refresh);
      const change = isDue || rejectSteps ? lossChange(updates, penalty, context) : undefined;
      const adapted =
        isDue && change !== undefined && before.damping !== null
          ? turns
              .isAdapted(step)
              .where(dampingAfter(updates, g, penalty, before.damping, change, curvature), before.damping)
          : before.damping;
      const next: KfacBuffers = {
        preconditioner,
        damping: adapted,
        velocity: settled(velocity, before.velocity),
        graft: settled(graftState, before.graft),
        rest: inner === undefined ? null : settled(inner[1], before.rest),
        rejection: null,
      };
      if (before.rejection === null || change === undefined) return [updates, next];
      const knownSince = own.rule === "exactKronecker" ? undefined : oldestInversion(preconditioner.table);
      const verdict = judged(before.rejection, change, adapted, step, knownSince, {
        factor: options.rejectionFactor,
        largest: options.largestDamping,
      });
      const taken = <T extends TensorTree>(fresh: T, old: T): T =>
        mapTensors((a, b) => verdict.isRejected.where(b, a), fresh, old) as T;
      return [
        mapTensors((x) => verdict.isRejected.where(0, x), updates),
        {
          preconditioner,
          damping: verdict.damping,
          // A velocity that stays would make the same step rise for ever. (The quadratic model chooses how much of the update
          // before it takes.)
          velocity: taken(next.velocity, adaptiveSteps ? before.velocity : treeZeros(params)),
          graft: taken(next.graft, before.graft),
          rest: taken(next.rest, before.rest),
          rejection: verdict.state,
        },
      ];

      /** λ of the quadratic model. */
      function modelLambda(): Tensor {
        return withPenalty(base.mul((numbers("modelDamping") as [Tensor])[0]));
      }

      /** Heavy ball and a learning rate. */
      function byRate(direction: TensorTree, slope: TensorTree) {
        const [alpha] = numbers("learningRate") as [Tensor];
        const [mu] = numbers("momentum") as [Tensor];
        const short = isClipped ? shortened(direction, slope, alpha, (numbers("clip") as [Tensor])[0]) : direction;
        const velocity = mapTensors((v, x) => v.mul(mu).add(x), before.velocity, short);
        const ahead = options.nesterov ? mapTensors((v, x) => x.add(v.mul(mu)), velocity, short) : velocity;
        return { alpha, velocity, moved: mapTensors((v) => v.mul(alpha).neg(), ahead) };
      }
    },
    quantities({ preconditioner: { table, factors, skipped }, damping: adapted, rejection }) {
      const cells = Object.keys(factors).flatMap((name, index) =>
        columns.map((column) => [`${name} ${column}`, cell(table, index, column)] as const),
      );
      return {
        skipped: skipped.cast("f32"),
        ...(adapted !== null && { damping: adapted }),
        ...(rejection !== null && { rejected: rejection.count.cast("f32") }),
        ...Object.fromEntries(cells),
      };
    },
  });

  /** What a step makes of the loss of its batch. @param eta of a penalty that is part of the loss. */
  function lossChange(updates: TensorTree, eta: Tensor | undefined, { params, extra }: UpdateContext): Tensor {
    const { loss, valueAndGrad } = extra as Required<Extra>;
    const next = mapTensors((x, u) => x.add(u), params, updates);
    const penalty = (at: TensorTree): Tensor | undefined =>
      eta && decayedSquares(at, options.decayMask).mul(eta.mul(0.5));
    const [here, there] = [penalty(params), penalty(next)];
    const change = valueAndGrad(next)[0].sub(loss);
    return here && there ? change.add(there.sub(here)) : change;
  }

  /** λ after a step, from what the loss did on the same batch. */
  function dampingAfter(
    updates: TensorTree,
    g: TensorTree,
    eta: Tensor | undefined,
    before: Tensor,
    change: Tensor,
    curvature: Curvature,
  ): Tensor {
    const bend = curvature.forms([updates]).reshape([]);
    const both = eta === undefined ? bend : bend.add(decayedSquares(updates, options.decayMask).mul(eta));
    return adaptedDamping(before, change, both.mul(0.5).add(treeDot(updates, g)), {
      factor: options.omega ** options.dampingInterval,
      thresholds: [options.lowerRatio, options.upperRatio],
      bounds: [options.leastDamping, options.largestDamping],
    });
  }
}

/** Rate and momentum that minimise the quadratic model with λ. The update is a direction now, not a velocity. */
function byQuadraticModel(
  u: TensorTree,
  past: TensorTree,
  g: TensorTree,
  lambda: Tensor,
  curvature: Curvature,
): { readonly alpha: Tensor; readonly velocity: TensorTree; readonly moved: TensorTree } {
  const forms = curvature.forms([u, past]);
  const form = (i: number, j: number): Tensor => forms.slice([i, j], [i + 1, j + 1]).reshape([]);
  const products = [
    form(0, 0).add(treeDot(u, u).mul(lambda)),
    form(0, 1).add(treeDot(u, past).mul(lambda)),
    form(1, 1).add(treeDot(past, past).mul(lambda)),
  ] as const;
  // α is the length along u, which points uphill.
  const { rate, momentum } = modelSteps(products, [treeDot(g, u), treeDot(g, past)]);
  const moved = mapTensors((x, p) => x.mul(rate).add(p.mul(momentum)), u, past);
  return { alpha: rate.neg(), velocity: moved, moved };
}

/** ν u with ν = min(1, √(κ / (α² |⟨u, g⟩|))). */
function shortened(u: TensorTree, g: TensorTree, alpha: Tensor, kappa: Tensor): TensorTree {
  const size = treeDot(u, g).abs().mul(alpha.square());
  const isLong = size.greater(kappa);
  const nu = isLong.where(kappa.div(isLong.where(size, 1)).sqrt(), 1);
  return mapTensors((own) => own.mul(nu), u);
}

/** `tree + eta * params` for parameters that decay. */
function withDecay(tree: TensorTree, params: TensorTree, eta: Tensor, mask: DecayMask): TensorTree {
  const decays = decaysOf(mask, params);
  let index = 0;
  return mapTensors((x, p) => (decays[index++] ? x.add(p.mul(eta)) : x), tree, params);
}

function decayedSquares(tree: TensorTree, mask: DecayMask): Tensor {
  const decays = decaysOf(mask, tree);
  return treeLeaves<Tensor>(tree)
    .filter((_, index) => decays[index])
    .reduce((sum, x) => sum.add(x.square().sum()), full([], 0));
}

const parameterNames = (block: Block): readonly string[] => {
  switch (block.kind) {
    case "kronecker":
      return block.bias === undefined ? [block.weight.name] : [block.weight.name, block.bias.name];
    case "embedding":
      return [block.weight.name];
    case "unitwise":
      return [block.scale.name, block.shift.name];
    case "diagonal":
      return [block.parameter.name];
  }
};

/** Zeros in place of the parameters of other blocks. */
function onlyBlocks(blocks: readonly Block[], tree: TensorTree): TensorTree {
  const own = new Set(blocks.flatMap(leavesOf));
  let index = 0;
  return mapTensors((x) => (own.has(index++) ? x : x.zerosLike()), tree);
}

/** The leaves of `tree` where the blocks have parameters, those of `other` elsewhere. */
function besides(blocks: readonly Block[], tree: TensorTree, other: TensorTree): TensorTree {
  const own = new Set(blocks.flatMap(leavesOf));
  const others = treeLeaves<Tensor>(other);
  const { leaves, structure } = treeFlatten<Tensor>(tree);
  const merged = leaves.map((leaf, index) => (own.has(index) ? leaf : (others[index] as Tensor)));
  return treeUnflatten(structure, merged) as TensorTree;
}

/** What the rule for the rest sees: its hyperparameters by their own names. */
const restContext = (context: UpdateContext): UpdateContext => ({
  ...context,
  constant: (name, at) => context.constant(`rest.${name}`, at),
});

/** @throws ArgumentError without blocks. */
export function requireBlocks(owner: string, model: ModelStructure | undefined): readonly Block[] {
  if (model !== undefined) return model.blocks;
  throw new ArgumentError(
    `${owner} needs the blocks of the model. Write optimizer.init(params, kroneckerCurvature(problem, params, batch, optimizer.rule.curvature)).`,
  );
}

const positiveAmount = <const D extends number>(value: D, description: string) =>
  ({ type: "float", default: value, description, ...positive }) as const;

/** A retained fraction that is not usually tuned. */
const share = <const D extends number>(value: D, description: string) =>
  ({ type: "float", default: value, schedulable: true, description, ...fraction }) as const;

/** λ, over the decades where it is tuned. */
export const dampingSpec = <const D extends number>(value: D) =>
  ({
    type: "float",
    default: value,
    schedulable: true,
    tuning: { distribution: "logUniform", low: 1e-4, high: 1 },
    description: "λ, on the scale of the loss",
    ...positive,
  }) as const;

/** How the curvature is measured. */
export const measurement = {
  fisher: {
    type: "choice",
    default: "mc",
    choices: fisherKinds,
    description:
      "the vectors that are sent back: targets that the model draws, the columns of a root of the Hessian, …",
  },
  draws: { type: "integer", default: 1, min: 1, description: "random vectors per example" },
  factorExamples: steps(0, 0, "examples of a batch, its first ones, that the factors are measured on; 0 is all"),
} as const;

/** What {@link measurement} asks of `kroneckerCurvature`. */
export const curvatureRequest = ({
  flavour,
  fisher,
  draws,
  factorExamples,
}: Pick<KroneckerDescentOptions, "flavour" | "fisher" | "draws" | "factorExamples">): CurvatureRequest => ({
  flavour,
  fisher,
  draws,
  ...(factorExamples !== 0 && { examples: factorExamples }),
});

const flavourSpec = <const D extends Flavour | "auto">(value: D) =>
  ({
    type: "choice",
    default: value,
    choices: ["expand", "reduce", "auto"],
    description: "positions that share a weight count one by one, or are reduced to one for each example",
  }) as const;

const shared = {
  learningRate: { ...learningRate(0.05), description: "step size; not used with adaptiveSteps" },
  damping: dampingSpec(0.01),
  momentum: share(0.9, "retained fraction of heavy ball; not used with adaptiveSteps"),
  nesterov: off("look ahead along the velocity"),
  ...measurement,
  factorInterval: steps(1, 1, "steps between two measurements of the factors"),
  inverseInterval: steps(10, 1, "steps between two inversions of a block, a multiple of factorInterval"),
  stagger: steps(2, 1, "groups of blocks, of equal cost, that are inverted in different steps"),
  burnIn: steps(0, 0, "steps at the beginning that measure factors and do not move"),
  decay: share(0.95, "retained fraction of the factors' averages"),
  clip: amount(1e-3, "largest ⟨u, g⟩ times the squared learning rate; 0 is no limit"),
  graft: {
    type: "choice",
    default: "none",
    choices: blockGrafts,
    description: "whose length the direction of a block is given",
  },
  power: {
    type: "choice",
    default: "inverse",
    choices: curvaturePowers,
    description: "the power of the curvature that multiplies gradients: -1, or -1/2",
  },
  blockDamping: {
    type: "choice",
    default: "shared",
    choices: ["shared", "curvature", "gradient"],
    description: "λ of a block: λ, λ times its mean eigenvalue, or √(c |g|) of its gradient, at least λ",
  },
  gradientDamping: amount(1e-4, "c of blockDamping gradient"),
  adaptiveDamping: off("Levenberg-Marquardt: λ follows how well the quadratic model predicts the loss"),
  dampingInterval: steps(5, 1, "steps between two changes of λ"),
  omega: {
    type: "float",
    default: 0.95,
    min: 0,
    max: 1,
    open: "both",
    description: "the factor of λ for each step of dampingInterval",
  },
  lowerRatio: positiveAmount(0.25, "λ rises where the loss falls by less than this part of what the model predicts"),
  upperRatio: positiveAmount(0.75, "λ falls where it falls by more"),
  leastDamping: positiveAmount(1e-8, "λ does not adapt below"),
  largestDamping: positiveAmount(1e8, "λ does not adapt above"),
  rejectSteps: off(
    "a step after which the loss of its batch is higher, or no number, is not taken: heavy ball starts again, and λ rises " +
      "with adaptiveDamping; costs a loss per step",
  ),
  rejectionFactor: {
    type: "float",
    default: 2,
    min: 1,
    description: "the factor of λ after a rejected step, once for each λ that inverses have seen",
  },
  adaptiveSteps: off("learning rate and momentum that minimise the quadratic model, for two forward derivatives"),
  modelDamping: amount(1, "λ of that model, as a multiple of λ"),
  ...weightDecay(0, true),
  rest: {
    type: "choice",
    default: "curvature",
    choices: ["curvature", "adamw"],
    description: "for parameters outside of layers: their own diagonal or 2 × 2 matrices, or AdamW",
  },
  restLearningRate: amount(1e-3, "step size of AdamW for the rest"),
  restBeta1: share(0.9, "AdamW's retained fraction of the first moment"),
  restBeta2: share(0.999, "AdamW's retained fraction of the second moment"),
  restEpsilon: epsilon(1e-8, "AdamW's number that is added to the root"),
} as const;

const rule = {
  type: "choice",
  default: "heuristicPi",
  choices: dampingRules,
  description: "how λ meets the factors: √λ in the ratio π or alike, λ on both, or λ on their product by eigenvectors",
} as const;

const about = {
  family: "nonDiagonal",
  tier: 2,
  cost: "four products with matrices of a layer's sides; rarely their inverses; a second backward pass per measurement",
  factors: "two matrices for each layer, and their inverses",
} as const;

type SharedValues = ValuesOf<typeof shared>;

/** The rule of a record's values, with AdamW for the rest if it is asked for. */
function fromValues(
  name: string,
  { rest, restLearningRate, restBeta1, restBeta2, restEpsilon, ...values }: SharedValues,
  fixed: Pick<KroneckerDescentOptions, "rule" | "flavour">,
): GradientTransformation {
  const { weightDecay: decay, decayMask } = values;
  const beside = () =>
    adamw({
      learningRate: restLearningRate,
      beta1: restBeta1,
      beta2: restBeta2,
      epsilon: restEpsilon,
      weightDecay: decay,
      decayMask,
    });
  return kroneckerDescent(name, { ...values, ...fixed, rest: rest === "adamw" ? beside() : undefined });
}

const grafts = ({ graft, rest }: SharedValues): number =>
  1 + (graft === "adam" ? 2 : graft === "momentum" ? 1 : 0) + (rest === "adamw" ? 2 : 0);

/** The record of {@link kfac}. */
export const kfacRecord = defineOptimizer({
  name: "kfac",
  title: "K-FAC",
  source: "Martens & Grosse, Optimizing Neural Networks with Kronecker-factored Approximate Curvature",
  year: 2015,
  ...about,
  hyperparameters: { ...shared, flavour: flavourSpec("expand"), rule },
  buffers: grafts,
  create: (values) => fromValues("kfac", values, values),
});

/**
 * K-FAC: multiplies gradients by the inverse of the Kronecker-factored curvature. Its `init` wants the blocks of the model,
 * its `update` `extra.kronecker`, an evaluation of the curvature that {@link Rule.curvature} asks for.
 *
 * @see Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature (2015)
 * @see Grosse and Martens, A Kronecker-factored approximate Fisher matrix for convolution layers (2016)
 * @example
 * const optimizer = kfac({ learningRate: 0.1 });
 * const curvature = kroneckerCurvature(problem, params, batch, optimizer.rule.curvature);
 * let state = optimizer.init(params, curvature);
 * const evaluation = curvature.evaluate(params, batch, { key });
 * const [updates, next] = optimizer.update(evaluation.gradients, state, params, { kronecker: evaluation });
 */
export const kfac = kfacRecord.create;

/** The record of {@link kfacReduce}. */
export const kfacReduceRecord = defineOptimizer({
  name: "kfacReduce",
  title: "K-FAC-reduce",
  source: "Eschenhagen et al., Kronecker-Factored Approximate Curvature for Modern Neural Network Architectures",
  year: 2023,
  ...about,
  hyperparameters: { ...shared, rule },
  buffers: grafts,
  create: (values) => fromValues("kfacReduce", values, { ...values, flavour: "reduce" }),
});

/** {@link kfac} that sums the gradients and averages the inputs of positions that share a weight before their products. */
export const kfacReduce = kfacReduceRecord.create;

/** The record of {@link ekfac}. */
export const ekfacRecord = defineOptimizer({
  name: "ekfac",
  title: "EKFAC",
  source: "George et al., Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis",
  year: 2018,
  ...about,
  hyperparameters: { ...shared, flavour: flavourSpec("expand") },
  buffers: grafts,
  create: (values) => fromValues("ekfac", values, { ...values, rule: "eigenvalueCorrected" }),
});

/** {@link kfac} in the eigenbasis of its factors, with the second moments of gradients there in place of eigenvalues. */
export const ekfac = ekfacRecord.create;
