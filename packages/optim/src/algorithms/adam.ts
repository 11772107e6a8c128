import { defineOptimizer } from "../optimizer-record";
import { scaleByAdam } from "../transforms/adam";
import { descent } from "./descent";
import { adamBetas, epsilon, learningRate, off, weightDecay } from "./specs";

/** The hyperparameters of Adam's scaling. */
const adamScaling = {
  ...adamBetas(0.9, 0.999),
  epsilon: epsilon(1e-8, "added to the root of the second moment"),
  epsilonRoot: epsilon(0, "added under the root; 0 leaves it out"),
  epsilonHat: off("add epsilon before the bias correction"),
} as const;

const shared = { family: "adaptive", tier: 1, cost: "elementwise" } as const;

/** The record of {@link adam}. */
export const adamRecord = defineOptimizer({
  name: "adam",
  title: "Adam",
  source: "Kingma & Ba, Adam: A Method for Stochastic Optimization",
  year: 2015,
  ...shared,
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
  ...shared,
  hyperparameters: { learningRate: learningRate(1e-3), ...adamScaling, ...weightDecay(1e-2, true) },
  buffers: () => 2,
  create: (values) => descent("adamw", values, scaleByAdam(values)),
});

/** {@link adam} with decoupled weight decay, which is multiplied by the learning rate: x ← x - α (u + λ x). */
export const adamw = adamwRecord.create;

/** The record of {@link amsgrad}. */
export const amsgradRecord = defineOptimizer({
  name: "amsgrad",
  title: "AMSGrad",
  source: "Reddi, Kale & Kumar, On the Convergence of Adam and Beyond",
  year: 2018,
  ...shared,
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...adamScaling,
    maximum: {
      type: "choice",
      default: "raw",
      choices: ["raw", "corrected"],
      description: "the largest second moment before or after the bias correction",
    },
    ...weightDecay(0, false),
  },
  buffers: () => 3,
  create: (values) => descent("amsgrad", values, scaleByAdam({ ...values, amsgrad: values.maximum })),
});

/** {@link adam} with the largest second moment so far in place of the current one, so that steps only become smaller. */
export const amsgrad = amsgradRecord.create;
