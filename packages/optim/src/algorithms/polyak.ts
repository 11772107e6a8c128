import { full, type Tensor, treeLeaves } from "@thalweg/tensor";
import { type Constant, constant, decayConstant, nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeDot, treeSquaredNorm, treeSum, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { type DecayMask, decaysOf } from "../transforms/decay";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  updateMoments,
  zeroMoments,
} from "../transforms/moments";
import { decayedIn } from "./decayed";
import { adamBetas, coupledDecay, epsilon, momentumSpace, rateFactor, retained, steps } from "./specs";

/** A limit that is not there. Large, but its square is finite. */
const unlimited = 1e18;

interface PolyakOptions {
  readonly learningRate: number | Schedule;
  readonly scale: number | Schedule;
  readonly lowerBound: number | Schedule;
  readonly maxStep: number | Schedule;
  readonly smoothing: number;
  readonly stepsPerEpoch: number;
  readonly weightDecay: number | Schedule;
  readonly decayMask: DecayMask;
}

/** The excess of the loss over a squared norm; 0 where the norm is. */
function quotient(excess: Tensor, squaredNorm: Tensor): Tensor {
  const isEmpty = squaredNorm.equal(0);
  return isEmpty.where(0, excess.div(isEmpty.where(1, squaredNorm)));
}

function polyakRule(options: PolyakOptions) {
  const { learningRate, scale, lowerBound, maxStep, smoothing, stepsPerEpoch, weightDecay, decayMask } = options;
  const owner = "polyak";
  const limits = maxStep !== 0;
  // Of the step before, so that the first one is limited by maxStep times it.
  const growth = smoothing === 0 ? undefined : smoothing ** (1 / stepsPerEpoch);
  return transformation<{ readonly eta: Tensor }>({
    name: owner,
    needs: ["loss"],
    constants: [
      constant(owner, "learningRate", learningRate, nonNegative),
      constant(owner, "scale", scale, positive),
      constant(owner, "lowerBound", lowerBound, {}),
      ...(limits ? [constant(owner, "maxStep", maxStep, positive)] : []),
      ...(weightDecay === 0 ? [] : [constant(owner, "weightDecay", weightDecay, nonNegative)]),
    ],
    init: () => ({ eta: full([], typeof maxStep === "number" && maxStep > 0 ? maxStep : unlimited) }),
    update(given, { eta: before }, { params, constant: numbers, extra }) {
      const [[rate], [c], [bound]] = ["learningRate", "scale", "lowerBound"].map((name) => numbers(name)) as [
        [Tensor],
        [Tensor],
        [Tensor],
      ];
      const [lambda] = weightDecay === 0 ? [] : numbers("weightDecay");
      const mask = decaysOf(decayMask, params);
      const gradients = decayedIn(given, params, lambda, mask);
      const own = (extra.loss as Tensor).cast("f32");
      // The step is that of what is minimized, with the decay's part.
      const loss = lambda === undefined ? own : own.add(decayingNorm(params, mask).mul(lambda.mul(0.5)));
      const excess = loss.sub(bound).maximum(0);
      const squaredNorm = treeSquaredNorm(gradients).mul(c);
      const wanted = quotient(excess, squaredNorm);
      const limit =
        growth === undefined ? (limits ? (numbers("maxStep")[0] as Tensor) : full([], unlimited)) : before.mul(growth);
      // A step without gradient says nothing; a step size of 0 could never grow again.
      const eta = squaredNorm.equal(0).where(before.minimum(limit), wanted.minimum(limit));
      return [mapTensors((g) => g.mul(eta.mul(rate).neg()), gradients), { eta }];
    },
    quantities: ({ eta }) => ({ eta }),
  });
}

/** The squared norm of the parameters that decay. */
function decayingNorm(params: TensorTree, mask: readonly boolean[]): Tensor {
  const own = treeLeaves<Tensor>(params).filter((_, index) => mask[index]);
  return own.length === 0 ? full([], 0) : treeSquaredNorm(own);
}

const lowerBound = {
  type: "float",
  default: 0,
  schedulable: true,
  description: "a value below which the loss does not go",
} as const;

const shared = { family: "rateFree", without: ["learningRate", "schedule"] } as const;

/** The record of {@link polyak}. */
export const polyakRecord = defineOptimizer({
  name: "polyak",
  title: "Stochastic Polyak step size",
  source: "Loizou et al., Stochastic Polyak Step-size for SGD: An Adaptive Learning Rate for Fast Convergence",
  year: 2021,
  ...shared,
  tier: 1,
  cost: "one norm",
  hyperparameters: {
    learningRate: rateFactor(1),
    scale: { type: "float", default: 1, schedulable: true, description: "divides the step: 1 or 0.5", ...positive },
    lowerBound,
    maxStep: {
      type: "float",
      default: 1,
      schedulable: true,
      description: "the largest step; 0 is no limit",
      ...nonNegative,
    },
    smoothing: {
      type: "float",
      default: 0,
      description: "factor by which the step may grow in an epoch, from maxStep on; 0 is no such limit",
      ...nonNegative,
    },
    stepsPerEpoch: steps(1, 1, "steps of an epoch, for smoothing"),
    ...coupledDecay(0),
  },
  buffers: () => 0,
  create: polyakRule,
});

/**
 * Polyak's step size: η = min((f - f*) / (c ‖g‖²), ηmax), x ← x - α η g. It needs the loss.
 *
 * @see Polyak, Introduction to Optimization, 1987
 */
export const polyak = polyakRecord.create;

interface MomoOptions {
  readonly learningRate: number | Schedule;
  readonly lowerBound: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decayMask: DecayMask;
}

const momoConstants = (owner: string, { learningRate, lowerBound: bound, weightDecay: decay }: MomoOptions) => [
  constant(owner, "learningRate", learningRate, nonNegative),
  constant(owner, "lowerBound", bound, {}),
  ...(decay === 0 ? [] : ([constant(owner, "weightDecay", decay, nonNegative)] as readonly Constant[])),
];

/** x ← x / (1 + α λ) - η u as updates. */
function shrunk(
  params: TensorTree,
  directions: TensorTree,
  eta: Tensor,
  shrinking: Tensor | undefined,
  mask: readonly boolean[],
): TensorTree {
  let index = 0;
  const loss = shrinking?.div(shrinking.add(1));
  return mapTensors(
    (x, u) => {
      const moved = u.mul(eta.neg());
      return loss !== undefined && mask[index++] ? moved.sub(x.mul(loss)) : moved;
    },
    params,
    directions,
  );
}

/** A type, so that it counts as a tree. */
type MomoBuffers = {
  readonly moment: TensorTree;
  readonly loss: Tensor;
  readonly product: Tensor;
  readonly eta: Tensor;
};

function momoRule(options: MomoOptions & { readonly momentum: number | Schedule }): GradientTransformation {
  const owner = "momo";
  return transformation<MomoBuffers>({
    name: owner,
    needs: ["loss"],
    constants: [...momoConstants(owner, options), decayConstant(owner, "momentum", options.momentum)],
    init: (params) => ({ moment: treeZeros(params), loss: full([], 0), product: full([], 0), eta: full([], 0) }),
    update(gradients, buffers, { params, step, constant: numbers, extra }) {
      const [[rate], [bound]] = ["learningRate", "lowerBound"].map((name) => numbers(name)) as [[Tensor], [Tensor]];
      const beta = numbers("momentum");
      const [lambda] = options.weightDecay === 0 ? [] : numbers("weightDecay");
      const isFirst = step.equal(0);
      const average = (old: TensorTree, value: TensorTree) =>
        mapTensors((a, v) => isFirst.where(v, a), updateAverage(beta, old, value), value);
      const moment = average(buffers.moment, gradients);
      const loss = average(buffers.loss, (extra.loss as Tensor).cast("f32")) as Tensor;
      const product = average(buffers.product, treeDot(gradients, params)) as Tensor;
      const shrinking = lambda?.mul(rate);
      const excess = loss
        .sub(bound)
        .sub(product)
        .mul(shrinking === undefined ? 1 : shrinking.add(1));
      const model = excess.add(treeDot(moment, params)).maximum(0);
      const eta = quotient(model, treeSquaredNorm(moment)).minimum(rate);
      const updates = shrunk(params, moment, eta, shrinking, decaysOf(options.decayMask, params));
      return [updates, { moment, loss, product, eta }];
    },
    quantities: ({ eta }) => ({ eta }),
  });
}

const momoShared = {
  source: "Schaipp et al., MoMo: Momentum Models for Adaptive Learning Rates",
  year: 2024,
  ...shared,
  tier: 2,
  cost: "three sums over all parameters",
} as const;

/** The record of {@link momo}. */
export const momoRecord = defineOptimizer({
  name: "momo",
  title: "MoMo",
  ...momoShared,
  hyperparameters: {
    learningRate: { ...rateFactor(1), description: "the largest rate" },
    momentum: retained(0.9, "retained fraction of the averages of loss and gradient", momentumSpace),
    lowerBound,
    ...coupledDecay(0),
  },
  buffers: () => 1,
  create: momoRule,
});

/** MoMo: the Polyak step of averaged losses and gradients, at most the learning rate. It needs the loss. */
export const momo = momoRecord.create;

/** A type, so that it counts as a tree. */
type MomoAdamBuffers = Moments & { readonly loss: Tensor; readonly product: Tensor; readonly eta: Tensor };

function momoAdamRule(options: MomoOptions & MomentOptions): GradientTransformation {
  const owner = "momoAdam";
  return transformation<MomoAdamBuffers>({
    name: owner,
    needs: ["loss"],
    constants: [...momoConstants(owner, options), ...momentConstants(owner, options)],
    init: (params) => ({ ...zeroMoments(params), loss: full([], 0), product: full([], 0), eta: full([], 0) }),
    update(gradients, buffers, context) {
      const { params, constant: numbers, extra } = context;
      const moments = updateMoments(gradients, buffers, context);
      const { firstMoment, secondMoment, beta1, unbias1, unbias2, epsilon: eps } = moments;
      const [[rate], [bound]] = ["learningRate", "lowerBound"].map((name) => numbers(name)) as [[Tensor], [Tensor]];
      const [lambda] = options.weightDecay === 0 ? [] : numbers("weightDecay");
      const loss = updateAverage(beta1, buffers.loss, (extra.loss as Tensor).cast("f32")) as Tensor;
      const product = updateAverage(beta1, buffers.product, treeDot(gradients, params)) as Tensor;
      const directions = mapTensors(
        (m, v) => m.div(awayFromZero(v.mul(unbias2).sqrt().add(eps))),
        firstMoment,
        secondMoment,
      );
      const shrinking = lambda?.mul(rate);
      const excess = loss
        .sub(bound.div(unbias1))
        .sub(product)
        .mul(shrinking === undefined ? 1 : shrinking.add(1));
      const model = excess.add(treeDot(firstMoment, params)).maximum(0);
      const norm = treeSum(mapTensors((m, u) => m.mul(u), firstMoment, directions));
      const eta = quotient(model, norm).minimum(rate.mul(unbias1));
      const updates = shrunk(params, directions, eta, shrinking, decaysOf(options.decayMask, params));
      return [updates, { firstMoment, secondMoment, loss, product, eta }];
    },
    quantities: ({ eta }) => ({ eta }),
  });
}

/** The record of {@link momoAdam}. */
export const momoAdamRecord = defineOptimizer({
  name: "momoAdam",
  title: "MoMo-Adam",
  ...momoShared,
  hyperparameters: {
    learningRate: { ...rateFactor(1e-2), description: "the largest rate" },
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    lowerBound,
    ...coupledDecay(0),
  },
  buffers: () => 2,
  create: momoAdamRule,
});

/** {@link momo} in the norm of Adam. */
export const momoAdam = momoAdamRecord.create;
