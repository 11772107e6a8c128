import { defineOptimizer } from "../optimizer-record";
import { scaleByAdam } from "../transforms/adam";
import { descent } from "./descent";
import { epsilon, learningRate, off, retained, weightDecay } from "./specs";

/** The hyperparameters of Adam's scaling. */
const adamScaling = {
  beta1: retained(0.9, "retained fraction of the first moment", { distribution: "logUniform", low: 0.5, high: 0.999 }),
  beta2: retained(0.999, "retained fraction of the second moment", {
    distribution: "logUniform",
    low: 0.8,
    high: 0.999,
  }),
  epsilon: epsilon(1e-8, "added to the root of the second moment"),
  epsilonRoot: epsilon(0, "added under the root; 0 leaves it out"),
  epsilonHat: off("add epsilon before the bias correction"),
} as const;

/** The record of {@link adam}. */
export const adamRecord = defineOptimizer({
  name: "adam",
  title: "Adam",
  source: "Kingma & Ba, Adam: A Method for Stochastic Optimization",
  year: 2015,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: { learningRate: learningRate(1e-3), ...adamScaling, ...weightDecay(0, false) },
  buffers: () => 2,
  create: (values) => descent("adam", values, scaleByAdam(values)),
});

/** Adam: m and v average g and g²; x ← x - α (m / c1) / (√(v / c2) + ε), with c = 1 - β^t. */
export const adam = adamRecord.create;

/** The record of {@link adamw}. */
export const adamwRecord = defineOptimizer({
  name: "adamw",
  title: "AdamW",
  source: "Loshchilov & Hutter, Decoupled Weight Decay Regularization",
  year: 2019,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: { learningRate: learningRate(1e-3), ...adamScaling, ...weightDecay(1e-2, true) },
  buffers: () => 2,
  create: (values) => descent("adamw", values, scaleByAdam(values)),
});

/** {@link adam} with decoupled weight decay, which is multiplied by the learning rate: x ← x - α (u + λ x). */
export const adamw = adamwRecord.create;
