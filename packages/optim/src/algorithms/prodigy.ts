import { full, type Tensor } from "@thalweg/tensor";
import { constant, decayConstant, fraction, nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeSum, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { type DecayMask, decaysOf } from "../transforms/decay";
import { awayFromZero, type MomentOptions, momentConstants, squares, unbiasing } from "../transforms/moments";
import { decayedIn } from "./decayed";
import { adamBetas, epsilon, growthRate, off, rateFactor, weightDecay } from "./specs";

interface ProdigyOptions extends MomentOptions {
  readonly learningRate: number | Schedule;
  readonly beta3: number | Schedule;
  readonly biasCorrection: boolean;
  readonly safeguardWarmup: boolean;
  readonly initialDistance: number;
  readonly coefficient: number | Schedule;
  readonly growthRate: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decoupled: boolean;
  readonly decayMask: DecayMask;
}

/** A type, so that it counts as a tree. */
type ProdigyBuffers = {
  readonly firstMoment: TensorTree;
  readonly secondMoment: TensorTree;
  readonly sum: TensorTree;
  readonly start: TensorTree;
  readonly numerator: Tensor;
  readonly distance: Tensor;
  readonly largest: Tensor;
};

function prodigyRule(options: ProdigyOptions): GradientTransformation {
  const owner = "prodigy";
  const { learningRate, beta3, biasCorrection, safeguardWarmup, initialDistance, weightDecay: decay } = options;
  const { value: first } = constant(owner, "initialDistance", initialDistance, positive);
  const [decays, grows] = [decay !== 0, options.growthRate !== 0];
  return transformation<ProdigyBuffers>({
    name: owner,
    constants: [
      constant(owner, "learningRate", learningRate, nonNegative),
      ...momentConstants(owner, options),
      ...(beta3 === 0 ? [] : [decayConstant(owner, "beta3", beta3)]),
      constant(owner, "coefficient", options.coefficient, positive),
      ...(grows ? [constant(owner, "growthRate", options.growthRate, { min: 1 })] : []),
      ...(decays ? [constant(owner, "weightDecay", decay, nonNegative)] : []),
    ],
    init: (params) => ({
      firstMoment: treeZeros(params),
      secondMoment: treeZeros(params),
      sum: treeZeros(params),
      start: copyOf(params),
      numerator: full([], 0),
      distance: full([], first),
      largest: full([], first),
    }),
    update(given, buffers, context) {
      const { params, constant: numbers } = context;
      const { beta1, beta2: second, epsilon: eps, unbias1, unbias2 } = unbiasing(context);
      const [[rate], [coefficient]] = ["learningRate", "coefficient"].map((name) => numbers(name)) as [
        [Tensor],
        [Tensor],
      ];
      const kept = beta3 === 0 ? (second[0] as Tensor).sqrt() : (numbers("beta3")[0] as Tensor);
      const [lambda] = decays ? numbers("weightDecay") : [];
      const mask = decaysOf(options.decayMask, params);
      const gradients = options.decoupled ? given : decayedIn(given, params, lambda, mask);
      const { distance } = buffers;
      const step = distance.mul(rate).mul(biasCorrection ? unbias1.div(unbias2.sqrt()) : 1);
      const relative = distance.div(first);
      const along = treeSum(mapTensors((g, origin, x) => g.mul(origin.sub(x)), gradients, buffers.start, params));
      const numerator = buffers.numerator.mul(kept).add(relative.mul(step).mul(along));
      const firstMoment = updateAverage(
        beta1,
        buffers.firstMoment,
        mapTensors((g) => g.mul(distance), gradients),
      );
      const scaled = squares(mapTensors((g) => g.mul(distance), gradients));
      const secondMoment = updateAverage(second, buffers.secondMoment, scaled);
      const share = relative.mul(safeguardWarmup ? distance : step);
      const sum = mapTensors((s, g) => s.mul(kept).add(g.mul(share)), buffers.sum, gradients);
      const norm = treeSum(mapTensors((s) => s.abs(), sum));
      const isEmpty = norm.equal(0);
      const bound = isEmpty.where(0, coefficient.mul(numerator).div(isEmpty.where(1, norm)));
      const largest = buffers.largest.maximum(bound);
      // The first increase is not limited: before it, the distance says nothing.
      const base = distance.equal(first).where(distance.maximum(bound), distance);
      const next = grows ? largest.minimum(base.mul(numbers("growthRate")[0] as Tensor)) : largest;
      const least = next.mul(eps);
      const directions = mapTensors((m, v) => m.div(awayFromZero(v.sqrt().add(least))), firstMoment, secondMoment);
      const decayed = options.decoupled ? decayedIn(directions, params, lambda, mask) : directions;
      const updates = mapTensors((u) => u.mul(step.neg()), decayed);
      return [updates, { ...buffers, firstMoment, secondMoment, sum, numerator, distance: next, largest }];
    },
    quantities: ({ distance }) => ({ d: distance }),
  });
}

/** The record of {@link prodigy}. */
export const prodigyRecord = defineOptimizer({
  name: "prodigy",
  title: "Prodigy",
  source: "Mishchenko & Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner",
  year: 2024,
  family: "rateFree",
  tier: 1,
  without: ["learningRate"],
  cost: "two sums over all parameters",
  hyperparameters: {
    learningRate: rateFactor(1),
    ...adamBetas(0.9, 0.999),
    beta3: {
      type: "float",
      default: 0,
      schedulable: true,
      description: "retained fraction of the distance's sums; 0 stands for √beta2",
      ...fraction,
    },
    epsilon: epsilon(1e-8, "added to the root of the second moment, times the distance"),
    biasCorrection: off("correct the moments for their start at 0"),
    safeguardWarmup: off("leave the rate out of the distance's sums, for schedules that begin at 0"),
    initialDistance: { type: "float", default: 1e-6, description: "first estimate of the distance", ...positive },
    coefficient: {
      type: "float",
      default: 1,
      schedulable: true,
      description: "factor of the estimated distance",
      ...positive,
    },
    growthRate: growthRate(),
    ...weightDecay(0, true),
  },
  buffers: () => 4,
  create: prodigyRule,
});

/** Prodigy: Adam whose rate is an estimate of the distance to the solution, which grows from almost nothing. */
export const prodigy = prodigyRecord.create;
