import type { Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeFull } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { awayFromZero } from "../transforms/moments";
import { descent } from "./descent";
import { amount, epsilon, learningRate, off, start, weightDecay } from "./specs";

export interface AdagradScalingOptions {
  readonly epsilon: number | Schedule;
  /** Adds `epsilon` under the root, as TensorFlow 1 and optax do. Default false. */
  readonly epsilonInRoot?: boolean;
  /** Sum of squares before the first step, at least 0. Default 0. */
  readonly initialAccumulator?: number;
  /** Divides the rate of step t by 1 + (t - 1) times this. Default 0. */
  readonly rateDecay?: number | Schedule;
}

/**
 * Divides by the root of the sum of all squared gradients: g / (√s + epsilon).
 *
 * @see Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011
 */
export function scaleByAdagrad({
  epsilon,
  epsilonInRoot = false,
  initialAccumulator = 0,
  rateDecay = 0,
}: AdagradScalingOptions): GradientTransformation {
  const owner = "scaleByAdagrad";
  const { value: first } = constant(owner, "initialAccumulator", initialAccumulator, nonNegative);
  const decays = rateDecay !== 0;
  return transformation<{ readonly sum: TensorTree }>({
    name: owner,
    constants: [
      constant(owner, "epsilon", epsilon, nonNegative),
      ...(decays ? [constant(owner, "rateDecay", rateDecay, nonNegative)] : []),
    ],
    init: (params) => ({ sum: treeFull(params, first) }),
    update: (gradients, buffers, { step, constant: numbers }) => {
      const [eps] = numbers("epsilon") as [Tensor];
      const [slope] = decays ? numbers("rateDecay") : [];
      const share = slope?.mul(step.cast("f32")).add(1).reciprocal();
      const sum = mapTensors((s, g) => s.add(g.square()), buffers.sum, gradients);
      const direction = (g: Tensor, s: Tensor) => {
        const divisor = awayFromZero(epsilonInRoot ? s.add(eps).sqrt() : s.sqrt().add(eps));
        return (share === undefined ? g : g.mul(share)).div(divisor);
      };
      return [mapTensors(direction, gradients, sum), { sum }];
    },
  });
}

/** The record of {@link adagrad}. */
export const adagradRecord = defineOptimizer({
  name: "adagrad",
  title: "Adagrad",
  source: "Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
  year: 2011,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    rateDecay: amount(0, "divides the rate of step t by 1 + (t - 1) times this"),
    epsilon: epsilon(1e-10, "added to the root of the sum"),
    epsilonInRoot: off("add epsilon under the root instead"),
    initialAccumulator: start(0, "sum of squares before the first step"),
    ...weightDecay(0, false),
  },
  buffers: () => 1,
  create: (values) => descent("adagrad", values, scaleByAdagrad(values)),
});

/** Adagrad: s ← s + g², x ← x - α g / (√s + ε). */
export const adagrad = adagradRecord.create;
