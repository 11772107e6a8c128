import { defineOptimizer } from "../optimizer-record";
import { descent } from "./descent";
import { learningRate, weightDecay } from "./specs";

/** The record of {@link sgd}. */
export const sgdRecord = defineOptimizer({
  name: "sgd",
  title: "Stochastic gradient descent",
  source: "Robbins & Monro, A Stochastic Approximation Method",
  year: 1951,
  family: "gradient",
  tier: 1,
  cost: "nothing",
  hyperparameters: { learningRate: learningRate(1e-2), ...weightDecay(0, false) },
  buffers: () => 0,
  create: (values) => descent("sgd", values),
});

/** Stochastic gradient descent: x ← x - α g. */
export const sgd = sgdRecord.create;
