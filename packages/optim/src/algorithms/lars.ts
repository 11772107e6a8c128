import { named } from "../chain";
import { positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { decayLinks } from "../transforms/decay";
import { scaleByMomentum } from "../transforms/momentum";
import { scaleByLearningRate } from "../transforms/scale";
import { scaleByTrustRatio } from "../transforms/trust-ratio";
import { coupledDecay, epsilon, learningRate, momentumSpace, off, retained } from "./specs";

/** The record of {@link lars}. */
export const larsRecord = defineOptimizer({
  name: "lars",
  title: "LARS",
  source: "You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks",
  year: 2017,
  family: "layerwise",
  tier: 2,
  cost: "two norms per tensor",
  hyperparameters: {
    learningRate: learningRate(1),
    coefficient: {
      type: "float",
      default: 1e-3,
      schedulable: true,
      description: "how much of its norm a tensor moves by",
      ...positive,
    },
    momentum: retained(0.9, "retained fraction of the velocity", momentumSpace),
    nesterov: off("look ahead along the velocity"),
    epsilon: epsilon(0, "added to the norm of the update"),
    ...coupledDecay(0),
  },
  buffers: () => 1,
  create: ({ learningRate: rate, coefficient, momentum, nesterov, epsilon: eps, weightDecay: decay, decayMask }) =>
    named(
      "lars",
      ...decayLinks(decay, decayMask),
      scaleByTrustRatio({ coefficient, epsilon: eps }),
      // The velocity has the rate in it, so that a rate that falls does not speed up what was gathered before.
      scaleByLearningRate(rate),
      scaleByMomentum({ momentum, nesterov }),
    ),
});

/** LARS: u = g + λ x, v ← μ v + α η ‖x‖ / ‖u‖ u with the norms of each tensor, x ← x - v. */
export const lars = larsRecord.create;
