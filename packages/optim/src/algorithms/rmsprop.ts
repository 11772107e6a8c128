import { defineOptimizer } from "../optimizer-record";
import { scaleByMomentum } from "../transforms/momentum";
import { scaleByRms } from "../transforms/rms";
import { descent } from "./descent";
import { epsilon, learningRate, momentumSpace, off, retained, weightDecay } from "./specs";

/** The record of {@link rmsprop}. */
export const rmspropRecord = defineOptimizer({
  name: "rmsprop",
  title: "RMSProp",
  source: "Tieleman & Hinton, Neural Networks for Machine Learning, lecture 6.5",
  year: 2012,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    decay: retained(0.99, "retained fraction of the average of squares", momentumSpace),
    epsilon: epsilon(1e-8, "added to the root of the average"),
    epsilonInRoot: off("add epsilon under the root instead"),
    centered: off("divide by the standard deviation"),
    momentum: {
      type: "float",
      default: 0,
      schedulable: true,
      min: 0,
      max: 1,
      open: "max",
      description: "retained fraction of the velocity; 0 keeps none",
    },
    initialAccumulator: {
      type: "float",
      default: 0,
      min: 0,
      description: "average of squares before the first step",
    },
    ...weightDecay(0, false),
  },
  buffers: ({ centered, momentum }) => 1 + (centered ? 1 : 0) + (momentum === 0 ? 0 : 1),
  create: (values) =>
    descent(
      "rmsprop",
      values,
      scaleByRms(values),
      ...(values.momentum === 0 ? [] : [scaleByMomentum({ momentum: values.momentum })]),
    ),
});

/**
 * RMSProp: v ← ρ v + (1 - ρ) g², u = g / (√v + ε), b ← μ b + u, x ← x - α b. TensorFlow 1 adds ε under the root
 * (`epsilonInRoot`) and starts at v = 1 (`initialAccumulator`).
 */
export const rmsprop = rmspropRecord.create;
