import type { Tensor } from "@thalweg/tensor";
import { full, treeLeaves } from "@thalweg/tensor";
import { named } from "../chain";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { type TensorTree, treeSquaredNorm, updateEach } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { decayLinks } from "../transforms/decay";
import { awayFromZero } from "../transforms/moments";
import { scaleByMomentum } from "../transforms/momentum";
import { scaleByLearningRate } from "../transforms/scale";
import { epsilon, learningRate, momentumSpace, retained, weightDecay } from "./specs";

export interface LayerRmsOptions {
  /** Retained fraction of each tensor's average, in [0, 1). */
  readonly decay: number | Schedule;
  readonly epsilon: number | Schedule;
}

/**
 * Divides each tensor by the root of an average of its squared norms, which begins with the first one.
 *
 * @see Ginsburg et al., Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep Networks, 2019
 */
export function scaleByLayerRms({ decay, epsilon }: LayerRmsOptions): GradientTransformation {
  const owner = "scaleByLayerRms";
  return transformation<Tensor[]>({
    name: owner,
    constants: [decayConstant(owner, "decay", decay), constant(owner, "epsilon", epsilon, nonNegative)],
    init: (params: TensorTree) => treeLeaves<Tensor>(params).map(() => full([], 0)),
    update: (gradients, buffers, { params, step, constant: numbers }) => {
      const [retainedShare, newShare] = numbers("decay") as [Tensor, Tensor];
      const [eps] = numbers("epsilon") as [Tensor];
      const isFirst = step.equal(0);
      return updateEach(gradients, buffers, params, (g, average) => {
        const square = treeSquaredNorm(g);
        const next = isFirst.where(square, average.mul(retainedShare).add(square.mul(newShare)));
        return [g.div(awayFromZero(next.sqrt().add(eps))), next];
      });
    },
  });
}

/** The record of {@link novograd}. */
export const novogradRecord = defineOptimizer({
  name: "novograd",
  title: "NovoGrad",
  source: "Ginsburg et al., Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep Networks",
  year: 2019,
  family: "layerwise",
  tier: 2,
  cost: "one norm per tensor",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    momentum: retained(0.9, "retained fraction of the velocity", momentumSpace),
    decay: retained(0.25, "retained fraction of each tensor's average of squared norms", momentumSpace),
    epsilon: epsilon(1e-8, "added to the root of the average"),
    ...weightDecay(0, true),
  },
  buffers: () => 1,
  create({ learningRate: rate, momentum, weightDecay: lambda, decoupled, decayMask, ...scaling }) {
    const links = decayLinks(lambda, decayMask);
    return named(
      "novograd",
      ...(decoupled ? [] : links),
      scaleByLayerRms(scaling),
      // Decay stands beside the scaled gradient, and passes through the velocity with it.
      ...(decoupled ? links : []),
      scaleByMomentum({ momentum }),
      scaleByLearningRate(rate),
    );
  },
});

/** NovoGrad: v ← β2 v + (1 - β2) ‖g‖² for each tensor, m ← β1 m + g / (√v + ε) + λ x, x ← x - α m. */
export const novograd = novogradRecord.create;
