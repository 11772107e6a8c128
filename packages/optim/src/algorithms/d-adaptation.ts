import { full, type Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeDot, treeNorm, treeSum, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { type DecayMask, decaysOf } from "../transforms/decay";
import { awayFromZero, type MomentOptions, momentConstants, squares, unbiasing } from "../transforms/moments";
import { decayedIn } from "./decayed";
import {
  adamBetas,
  coupledDecay,
  epsilon,
  growthRate,
  momentumSpace,
  off,
  rateFactor,
  retained,
  weightDecay,
} from "./specs";

interface DistanceOptions {
  readonly learningRate: number | Schedule;
  readonly initialDistance: number;
  readonly growthRate: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decayMask: DecayMask;
}

interface DAdaptAdamOptions extends DistanceOptions, MomentOptions {
  readonly biasCorrection: boolean;
  readonly decoupled: boolean;
}

/** The hyperparameters that both methods have. */
const distanceConstants = (
  owner: string,
  { learningRate, growthRate: growth, weightDecay: decay }: DistanceOptions,
) => [
  constant(owner, "learningRate", learningRate, nonNegative),
  ...(growth === 0 ? [] : [constant(owner, "growthRate", growth, { min: 1 })]),
  ...(decay === 0 ? [] : [constant(owner, "weightDecay", decay, nonNegative)]),
];

/** The larger one of the distance and its new bound, of which `divisor` may be 0. */
function grown(distance: Tensor, numerator: Tensor, divisor: Tensor, growth: Tensor | undefined): Tensor {
  const isEmpty = divisor.equal(0);
  const bound = isEmpty.where(0, numerator.div(isEmpty.where(1, divisor)));
  return distance.maximum(growth === undefined ? bound : bound.minimum(distance.mul(growth)));
}

/** A type, so that it counts as a tree. */
type AdamBuffers = {
  readonly firstMoment: TensorTree;
  readonly secondMoment: TensorTree;
  readonly sum: TensorTree;
  readonly numerator: Tensor;
  readonly distance: Tensor;
};

function adamRule(options: DAdaptAdamOptions): GradientTransformation {
  const owner = "dAdaptAdam";
  const { biasCorrection, decoupled, decayMask, growthRate: growth, weightDecay: decay } = options;
  const { value: first } = constant(owner, "initialDistance", options.initialDistance, positive);
  return transformation<AdamBuffers>({
    name: owner,
    constants: [...distanceConstants(owner, options), ...momentConstants(owner, options)],
    init: (params) => ({
      firstMoment: treeZeros(params),
      secondMoment: treeZeros(params),
      sum: treeZeros(params),
      numerator: full([], 0),
      distance: full([], first),
    }),
    update(given, buffers, context) {
      const { params, constant: numbers } = context;
      const { beta1, beta2, epsilon: eps, unbias1, unbias2 } = unbiasing(context);
      const [rate] = numbers("learningRate") as [Tensor];
      const [lambda] = decay === 0 ? [] : numbers("weightDecay");
      const mask = decaysOf(decayMask, params);
      const gradients = decoupled ? given : decayedIn(given, params, lambda, mask);
      const { distance } = buffers;
      const step = distance.mul(rate).mul(biasCorrection ? unbias1.div(unbias2.sqrt()) : 1);
      // √β2 and 1 - √β2 = (1 - β2) / (1 + √β2), which does not cancel.
      const kept = (beta2[0] as Tensor).sqrt();
      const fresh = (beta2[1] as Tensor).div(kept.add(1));
      const along = treeSum(
        mapTensors(
          (g, s, v) => g.mul(s).div(awayFromZero(v.sqrt().add(eps))),
          gradients,
          buffers.sum,
          buffers.secondMoment,
        ),
      );
      const numerator = buffers.numerator.mul(kept).add(fresh.mul(step).mul(along));
      const scaled = mapTensors((g) => g.mul(step), gradients);
      const firstMoment = updateAverage(beta1, buffers.firstMoment, scaled);
      const secondMoment = updateAverage(beta2, buffers.secondMoment, squares(gradients));
      const sum = updateAverage([kept, fresh], buffers.sum, scaled);
      const norm = treeSum(mapTensors((s) => s.abs(), sum));
      const next = grown(distance, numerator, fresh.mul(norm), growth === 0 ? undefined : numbers("growthRate")[0]);
      const directions = mapTensors((m, v) => m.div(awayFromZero(v.sqrt().add(eps))), firstMoment, secondMoment);
      const decayed =
        decoupled && lambda !== undefined ? decayedIn(directions, params, lambda.mul(step), mask) : directions;
      const updates = mapTensors((u) => u.neg(), decayed);
      return [updates, { firstMoment, secondMoment, sum, numerator, distance: next }];
    },
    quantities: ({ distance }) => ({ d: distance }),
  });
}

const shared = {
  source: "Defazio & Mishchenko, Learning-Rate-Free Learning by D-Adaptation",
  year: 2023,
  family: "rateFree",
  tier: 1,
  without: ["learningRate"],
  cost: "two sums over all parameters",
} as const;

const initialDistance = {
  type: "float",
  default: 1e-6,
  description: "first estimate of the distance",
  ...positive,
} as const;

/** The record of {@link dAdaptAdam}. */
export const dAdaptAdamRecord = defineOptimizer({
  name: "dAdaptAdam",
  title: "D-Adapted Adam",
  ...shared,
  hyperparameters: {
    learningRate: rateFactor(1),
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    biasCorrection: off("correct the moments for their start at 0"),
    initialDistance,
    growthRate: growthRate(),
    ...weightDecay(0, true),
  },
  buffers: () => 3,
  create: adamRule,
});

/** Adam whose rate is a lower bound of the distance to the solution. */
export const dAdaptAdam = dAdaptAdamRecord.create;

interface DAdaptSgdOptions extends DistanceOptions {
  readonly momentum: number | Schedule;
}

/** A type, so that it counts as a tree. */
type SgdBuffers = {
  readonly sum: TensorTree;
  readonly start: TensorTree;
  readonly numerator: Tensor;
  readonly firstNorm: Tensor;
  readonly distance: Tensor;
};

function sgdRule(options: DAdaptSgdOptions): GradientTransformation {
  const owner = "dAdaptSgd";
  const { decayMask, growthRate: growth, weightDecay: decay } = options;
  const { value: first } = constant(owner, "initialDistance", options.initialDistance, positive);
  return transformation<SgdBuffers>({
    name: owner,
    constants: [...distanceConstants(owner, options), decayConstant(owner, "momentum", options.momentum)],
    init: (params) => ({
      sum: treeZeros(params),
      start: copyOf(params),
      numerator: full([], 0),
      firstNorm: full([], 0),
      distance: full([], first),
    }),
    update(given, { sum: before, start, ...scalars }, { params, constant: numbers }) {
      const [rate] = numbers("learningRate") as [Tensor];
      const [, moving] = numbers("momentum") as [Tensor, Tensor];
      const [lambda] = decay === 0 ? [] : numbers("weightDecay");
      const gradients = decayedIn(given, params, lambda, decaysOf(decayMask, params));
      const { distance } = scalars;
      // Of the first gradient that is not 0.
      const firstNorm = scalars.firstNorm.equal(0).where(treeNorm(gradients), scalars.firstNorm);
      const step = distance.mul(rate).div(firstNorm.equal(0).where(1, firstNorm));
      const numerator = scalars.numerator.add(step.mul(treeDot(gradients, before)));
      const sum = mapTensors((s, g) => s.add(g.mul(step)), before, gradients);
      const limit = growth === 0 ? undefined : numbers("growthRate")[0];
      const next = grown(distance, numerator.mul(2), treeNorm(sum), limit);
      const updates = mapTensors((x, origin, s) => origin.sub(s).sub(x).mul(moving), params, start, sum);
      return [updates, { sum, start, numerator, firstNorm, distance: next }];
    },
    quantities: ({ distance }) => ({ d: distance }),
  });
}

/** The record of {@link dAdaptSgd}. */
export const dAdaptSgdRecord = defineOptimizer({
  name: "dAdaptSgd",
  title: "D-Adapted SGD",
  ...shared,
  hyperparameters: {
    learningRate: rateFactor(1),
    momentum: retained(0.9, "how much of the old point remains", momentumSpace),
    initialDistance,
    growthRate: growthRate(),
    ...coupledDecay(0),
  },
  buffers: () => 2,
  create: sgdRule,
});

/** Dual-averaged SGD whose rate is a lower bound of the distance to the solution over the first gradient's norm. */
export const dAdaptSgd = dAdaptSgdRecord.create;
