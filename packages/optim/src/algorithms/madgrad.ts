import type { Tensor } from "@thalweg/tensor";
import { named } from "../chain";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { decayLinks } from "../transforms/decay";
import { awayFromZero } from "../transforms/moments";
import { coupledDecay, epsilon, learningRate, momentumSpace, retained } from "./specs";

interface MadgradOptions {
  readonly learningRate: number | Schedule;
  readonly momentum: number | Schedule;
  readonly epsilon: number | Schedule;
}

/** A type, so that it counts as a tree. */
type MadgradBuffers = {
  readonly sum: TensorTree;
  readonly squares: TensorTree;
  readonly start: TensorTree;
};

/** Dual averaging, whose sums have the learning rate in them. */
function dualAveraging(options: MadgradOptions): GradientTransformation {
  const owner = "madgrad";
  return transformation<MadgradBuffers>({
    name: owner,
    constants: [
      constant(owner, "learningRate", options.learningRate, nonNegative),
      decayConstant(owner, "momentum", options.momentum),
      constant(owner, "epsilon", options.epsilon, nonNegative),
    ],
    init: (params) => ({
      sum: treeZeros(params),
      squares: treeZeros(params),
      start: copyOf(params),
    }),
    update: (gradients, { sum, squares, start }, { params, step, constant: numbers }) => {
      const [[rate], [, moving], [eps]] = ["learningRate", "momentum", "epsilon"].map((name) => numbers(name)) as [
        [Tensor],
        [Tensor, Tensor],
        [Tensor],
      ];
      const weight = step.add(1).cast("f32").sqrt().mul(rate.add(eps));
      const next = {
        sum: mapTensors((s, g) => s.add(g.mul(weight)), sum, gradients),
        squares: mapTensors((v, g) => v.add(g.square().mul(weight)), squares, gradients),
        start,
      };
      const move = (x: Tensor, origin: Tensor, s: Tensor, v: Tensor) =>
        origin
          .sub(s.div(awayFromZero(cubeRoot(v).add(eps))))
          .sub(x)
          .mul(moving);
      return [mapTensors(move, params, start, next.sum, next.squares), next];
    },
  });
}

/** Of numbers from 0 on. */
const cubeRoot = (x: Tensor): Tensor => x.greater(0).where(awayFromZero(x).log().div(3).exp(), 0);

/** The record of {@link madgrad}. */
export const madgradRecord = defineOptimizer({
  name: "madgrad",
  title: "MADGRAD",
  source: "Defazio & Jelassi, Adaptivity without Compromise: A Momentumized, Adaptive, Dual Averaged Gradient Method",
  year: 2022,
  family: "adaptive",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    momentum: retained(0.9, "how much of the old point remains", momentumSpace),
    epsilon: epsilon(1e-6, "added to the cube root, and to the rate"),
    // Dual averaging forgets no gradient, so that decay beside it has no meaning.
    ...coupledDecay(0),
  },
  buffers: () => 3,
  create: (values) => named("madgrad", ...decayLinks(values.weightDecay, values.decayMask), dualAveraging(values)),
});

/** MADGRAD: with w = α √t, s ← s + w g, v ← v + w g², x ← μ x + (1 - μ)(x0 - s / (∛v + ε)). */
export const madgrad = madgradRecord.create;
