import { defineOptimizer } from "../optimizer-record";
import { scaleByMomentum } from "../transforms/momentum";
import { descent } from "./descent";
import { learningRate, momentumSpace, retained, weightDecay } from "./specs";

/** The record of {@link momentum}. */
export const momentumRecord = defineOptimizer({
  name: "momentum",
  title: "Heavy ball",
  source: "Polyak, Some methods of speeding up the convergence of iteration methods",
  year: 1964,
  family: "momentum",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    momentum: retained(0.9, "retained fraction of the velocity", momentumSpace),
    dampening: {
      type: "float",
      default: 0,
      schedulable: true,
      min: 0,
      max: 1,
      description: "fraction of the gradient that is left out, except in the first step",
    },
    ...weightDecay(0, false),
  },
  buffers: () => 1,
  create: (values) => descent("momentum", values, scaleByMomentum(values)),
});

/** Heavy ball: v ← μ v + (1 - dampening) g, x ← x - α v. */
export const momentum = momentumRecord.create;
