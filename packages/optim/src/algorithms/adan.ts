import type { Tensor } from "@thalweg/tensor";
import { named } from "../chain";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { biasCorrection, updateAverage } from "../transforms/average";
import { awayFromZero } from "../transforms/moments";
import { scaleByProximalRate } from "../transforms/proximal";
import { descent } from "./descent";
import { epsilon, learningRate, momentumSpace, on, retained, weightDecay } from "./specs";

export interface AdanScalingOptions {
  /** Retained fraction of the gradient's average, in [0, 1). */
  readonly beta1: number | Schedule;
  /** Of the average of its differences. */
  readonly beta2: number | Schedule;
  /** Of the second moment. */
  readonly beta3: number | Schedule;
  readonly epsilon: number | Schedule;
}

/** A type, so that it counts as a tree. */
type AdanBuffers = {
  readonly firstMoment: TensorTree;
  readonly difference: TensorTree;
  readonly secondMoment: TensorTree;
  readonly previous: TensorTree;
};

/**
 * Nesterov's momentum without a gradient elsewhere: with d = g - g_previous, averages m of g, v of d and n of (g + β2 d)²,
 * u = (m / c1 + β2 v / c2) / (√(n / c3) + ε).
 *
 * @see Xie et al., Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models, 2022
 */
export function scaleByAdan({ beta1, beta2, beta3, epsilon }: AdanScalingOptions): GradientTransformation {
  const owner = "scaleByAdan";
  return transformation<AdanBuffers>({
    name: owner,
    constants: [
      decayConstant(owner, "beta1", beta1),
      decayConstant(owner, "beta2", beta2),
      decayConstant(owner, "beta3", beta3),
      constant(owner, "epsilon", epsilon, nonNegative),
    ],
    init: (params) => ({
      firstMoment: treeZeros(params),
      difference: treeZeros(params),
      secondMoment: treeZeros(params),
      previous: treeZeros(params),
    }),
    update: (gradients, buffers, { step, constant: numbers }) => {
      const [first, second, third] = [numbers("beta1"), numbers("beta2"), numbers("beta3")];
      const [eps] = numbers("epsilon") as [Tensor];
      const share = second[0] as Tensor;
      const [unbias1, unbias2, unbias3] = [first, second, third].map((beta) =>
        biasCorrection(beta, step).reciprocal(),
      ) as [Tensor, Tensor, Tensor];
      const isFirst = step.equal(0);
      const change = mapTensors((g, before) => isFirst.where(0, g.sub(before)), gradients, buffers.previous);
      const firstMoment = updateAverage(first, buffers.firstMoment, gradients);
      const difference = updateAverage(second, buffers.difference, change);
      const ahead = mapTensors((g, d) => g.add(d.mul(share)).square(), gradients, change);
      const secondMoment = updateAverage(third, buffers.secondMoment, ahead);
      const along = share.mul(unbias2);
      const direction = (m: Tensor, v: Tensor, n: Tensor) =>
        m
          .mul(unbias1)
          .add(v.mul(along))
          .div(awayFromZero(n.mul(unbias3).sqrt().add(eps)));
      return [
        mapTensors(direction, firstMoment, difference, secondMoment),
        { firstMoment, difference, secondMoment, previous: gradients },
      ];
    },
  });
}

/** The record of {@link adan}. */
export const adanRecord = defineOptimizer({
  name: "adan",
  title: "Adan",
  source: "Xie et al., Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models",
  year: 2022,
  family: "adaptive",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    beta1: retained(0.98, "retained fraction of the gradient's average", momentumSpace),
    beta2: retained(0.92, "retained fraction of the average of differences", momentumSpace),
    beta3: retained(0.99, "retained fraction of the second moment", momentumSpace),
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    proximal: on("take the decoupled decay at the new point: divide by 1 + α λ"),
    ...weightDecay(0, true),
  },
  buffers: () => 4,
  create(values) {
    const { proximal, decoupled, weightDecay: decay } = values;
    const scaling = scaleByAdan(values);
    if (proximal && decoupled && decay !== 0) return named("adan", scaling, scaleByProximalRate(values));
    return descent("adan", values, scaling);
  },
});

/** Adan: adaptive moments with Nesterov's look ahead estimated from differences of gradients. */
export const adan = adanRecord.create;
