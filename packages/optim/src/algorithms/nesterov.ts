import { defineOptimizer } from "../optimizer-record";
import { scaleByMomentum } from "../transforms/momentum";
import { descent } from "./descent";
import { learningRate, momentumSpace, retained, weightDecay } from "./specs";

/** The record of {@link nesterov}. */
export const nesterovRecord = defineOptimizer({
  name: "nesterov",
  title: "Nesterov's accelerated gradient",
  source: "Nesterov, A method for solving the convex programming problem with convergence rate O(1/k²)",
  year: 1983,
  family: "momentum",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-2),
    momentum: retained(0.9, "retained fraction of the velocity", momentumSpace),
    ...weightDecay(0, false),
  },
  buffers: () => 1,
  create: (values) => descent("nesterov", values, scaleByMomentum({ momentum: values.momentum, nesterov: true })),
});

/**
 * Nesterov's accelerated gradient, with the gradient taken at the point reached: v ← μ v + g, x ← x - α (g + μ v).
 *
 * @see Sutskever et al., On the importance of initialization and momentum in deep learning, 2013
 */
export const nesterov = nesterovRecord.create;
