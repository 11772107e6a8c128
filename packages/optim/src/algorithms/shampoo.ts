import { named } from "../chain";
import { defineOptimizer } from "../optimizer-record";
import { decayLinks } from "../transforms/decay";
import { scaleByMomentum } from "../transforms/momentum";
import { scaleByLearningRate } from "../transforms/scale";
import { scaleByShampoo } from "../transforms/shampoo";
import { epsilon, learningRate, momentumSpace, off, on, retained, steps, weightDecay } from "./specs";

/** The record of {@link shampoo}. */
export const shampooRecord = defineOptimizer({
  name: "shampoo",
  title: "Shampoo",
  source: "Gupta, Koren & Singer, Shampoo: Preconditioned Stochastic Tensor Optimization",
  year: 2018,
  family: "nonDiagonal",
  tier: 1,
  cost: "two matrix products per axis, and eigenvectors once per interval",
  factors: "two matrices for each axis of each block",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    beta1: retained(0.9, "retained fraction of the gradient's average; 0 keeps none", momentumSpace),
    beta2: {
      type: "float",
      default: 0.99,
      min: 0,
      max: 1,
      tuning: { distribution: "logUniform", low: 1.9e-3, high: 2.5e-2, complement: true },
      description: "retained fraction of the factors; 1 adds them up",
    },
    epsilon: epsilon(1e-8, "added to the factors' eigenvalues"),
    momentum: {
      type: "float",
      default: 0,
      min: 0,
      max: 1,
      open: "max",
      schedulable: true,
      description: "retained fraction of a velocity of directions; 0 keeps none",
    },
    nesterov: off("look ahead along the velocity"),
    emaMomentum: on("the velocity averages directions instead of adding them up"),
    blockSize: steps(128, 1, "longest side of a block"),
    mergeDims: on("merge neighbouring short axes"),
    frequency: steps(50, 1, "steps between two refreshes of a block"),
    start: steps(0, 0, "the step of the first refresh, before which the graft's direction is used; 0: frequency"),
    stagger: steps(5, 1, "groups of blocks that are refreshed at different steps; divides the frequency"),
    rootOverride: steps(0, 0, "the root p of A^(-1/p) for tensors of any order; 0: twice the order"),
    exponentMultiplier: { type: "float", default: 1, min: 0, open: "min", description: "multiplies the exponent" },
    biasCorrection: on("correct averages for their start at 0"),
    nadam: off("mix the gradient into its average once more"),
    graft: {
      type: "choice",
      default: "adam",
      choices: ["none", "sgd", "adagrad", "rmsprop", "adam"],
      description: "the method whose step size each block is given",
    },
    graftBeta2: retained(0.999, "retained fraction of the graft's second moment", momentumSpace),
    graftEpsilon: epsilon(1e-8, "added to its root"),
    inverse: {
      type: "choice",
      default: "eigen",
      choices: ["eigen", "newton"],
      description: "how roots are taken: from eigenvectors, or by Newton's method",
    },
    ...weightDecay(0, true),
  },
  buffers: ({ beta1, momentum, graft }) =>
    (beta1 === 0 ? 0 : 1) + (momentum === 0 ? 0 : 1) + (graft === "none" || graft === "sgd" ? 0 : 1),
  create({ learningRate: rate, momentum, nesterov, emaMomentum, weightDecay: decay, decoupled, decayMask, ...values }) {
    const { start, ...scaling } = values;
    const links = decayLinks(decay, decayMask);
    return named(
      "shampoo",
      ...(decoupled ? [] : links),
      scaleByShampoo({ ...scaling, ...(start > 0 && { start }) }),
      ...(decoupled ? links : []),
      ...(momentum === 0 ? [] : [scaleByMomentum({ momentum, nesterov, average: emaMomentum })]),
      scaleByLearningRate(rate),
    );
  },
});

/** Shampoo in the form that won AlgoPerf's external-tuning track in 2024: blocks, grafting, refreshes that take turns. */
export const shampoo = shampooRecord.create;
