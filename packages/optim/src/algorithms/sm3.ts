import type { Tensor } from "@thalweg/tensor";
import { full, treeLeaves } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { type TensorTree, updateEach } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { awayFromZero } from "../transforms/moments";
import { ema } from "../wrappers/ema";
import { descent } from "./descent";
import { epsilon, learningRate, momentumSpace, retained, weightDecay } from "./specs";

export interface Sm3ScalingOptions {
  /** Retained fraction of the accumulators; 1 keeps sums. Default 1. */
  readonly beta2?: number;
  readonly epsilon: number | Schedule;
}

/**
 * Divides by the root of v + ε, where v is bounded by one accumulator for each index of each axis.
 *
 * @see Anil et al., Memory-Efficient Adaptive Optimization, 2019, algorithm SM3-II
 */
export function scaleBySm3({ beta2 = 1, epsilon }: Sm3ScalingOptions): GradientTransformation {
  const owner = "scaleBySm3";
  const keepsSums = constant(owner, "beta2", beta2, { min: 0, max: 1 }).value === 1;
  return transformation<Tensor[][]>({
    name: owner,
    constants: [constant(owner, "epsilon", epsilon, nonNegative)],
    init: (params: TensorTree) =>
      treeLeaves<Tensor>(params).map(({ shape }) =>
        // A scalar is a vector of length 1.
        shape.length === 0
          ? [full([], 0)]
          : shape.map((length, axis) =>
              full(
                shape.map((_, other) => (other === axis ? length : 1)),
                0,
              ),
            ),
      ),
    update: (gradients, buffers, { params, constant: numbers }) => {
      const [eps] = numbers("epsilon") as [Tensor];
      return updateEach(gradients, buffers, params, (g, accumulators) => {
        const bound = accumulators.reduce((least, own) => least.minimum(own));
        const square = g.square();
        const v = keepsSums ? bound.add(square) : bound.mul(beta2).add(square.mul(1 - beta2));
        const next = accumulators.map((_, axis) => {
          const others = g.shape.map((_, other) => other).filter((other) => other !== axis);
          return others.length === 0 ? v : v.max({ axis: others, keepDims: true });
        });
        return [v.lessEqual(0).where(0, g.div(awayFromZero(v.add(eps).sqrt()))), next];
      });
    },
  });
}

/** The record of {@link sm3}. */
export const sm3Record = defineOptimizer({
  name: "sm3",
  title: "SM3",
  source: "Anil et al., Memory-Efficient Adaptive Optimization",
  year: 2019,
  family: "layerwise",
  tier: 2,
  cost: "maxima over the axes of each tensor",
  factors: "one number for each index of each axis",
  hyperparameters: {
    learningRate: learningRate(0.1),
    momentum: retained(0.9, "retained fraction of the average of updates", momentumSpace),
    beta2: {
      type: "float",
      default: 1,
      min: 0,
      max: 1,
      description: "retained fraction of the accumulators; 1 keeps sums",
    },
    epsilon: epsilon(1e-8, "added under the root"),
    ...weightDecay(0, false),
  },
  buffers: () => 1,
  create: (values) => descent("sm3", values, scaleBySm3(values), ema({ decay: values.momentum, start: "uncorrected" })),
});

/** SM3: Adagrad with accumulators per row and column, whose least is each element's bound. */
export const sm3 = sm3Record.create;
