import { named } from "../chain";
import { defineOptimizer } from "../optimizer-record";
import { scaleByAdam } from "../transforms/adam";
import { decayLinks } from "../transforms/decay";
import { scaleByLearningRate } from "../transforms/scale";
import { scaleByTrustRatio } from "../transforms/trust-ratio";
import { adamBetas, amount, epsilon, learningRate, weightDecay } from "./specs";

/** The record of {@link lamb}. */
export const lambRecord = defineOptimizer({
  name: "lamb",
  title: "LAMB",
  source: "You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
  year: 2020,
  family: "layerwise",
  tier: 2,
  cost: "two norms per tensor",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...adamBetas(0.9, 0.999),
    epsilon: epsilon(1e-6, "added to the root of the second moment"),
    trustClip: amount(0, "the largest ratio of norms; 0 is no limit"),
    ...weightDecay(1e-2, true),
  },
  buffers: () => 2,
  create({ learningRate: rate, trustClip, weightDecay: decay, decoupled, decayMask, ...moments }) {
    const links = decayLinks(decay, decayMask);
    return named(
      "lamb",
      ...(decoupled ? [] : links),
      scaleByAdam(moments),
      ...(decoupled ? links : []),
      scaleByTrustRatio({ limit: trustClip === 0 ? undefined : trustClip }),
      scaleByLearningRate(rate),
    );
  },
});

/** LAMB: u = the direction of Adam + λ x, x ← x - α ‖x‖ / ‖u‖ u with the norms of each tensor. */
export const lamb = lambRecord.create;
