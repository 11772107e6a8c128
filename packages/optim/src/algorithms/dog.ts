import { named } from "../chain";
import { nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { decayLinks } from "../transforms/decay";
import { scaleByDistanceEstimate } from "../transforms/distance";
import { identity } from "../transforms/scale";
import { polynomialAverage } from "../wrappers/distance-average";
import { amount, coupledDecay, rateFactor } from "./specs";

const start = {
  relativeStart: {
    type: "float",
    default: 1e-6,
    description: "first distance, relative to 1 + the norm of the parameters; 1e-4 with batch norm",
    ...positive,
  },
  epsilon: { type: "float", default: 1e-8, description: "sum of squares before the first step", ...nonNegative },
  gamma: amount(8, "the larger, the shorter the average of points at which the model is evaluated"),
} as const;

const shared = {
  source: "Ivgi, Hinder & Carmon, DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule",
  year: 2023,
  family: "rateFree",
  tier: 1,
  without: ["learningRate", "schedule"],
} as const;

/** The record of {@link dog}. */
export const dogRecord = defineOptimizer({
  name: "dog",
  title: "DoG",
  ...shared,
  cost: "two norms",
  hyperparameters: { learningRate: rateFactor(1), ...start, ...coupledDecay(0) },
  buffers: () => 2,
  create: ({ weightDecay, decayMask, gamma, ...rest }) =>
    named(
      "dog",
      ...decayLinks(weightDecay, decayMask),
      scaleByDistanceEstimate(identity(), { estimate: "dog", ...rest }),
      polynomialAverage({ gamma }),
    ),
});

/** DoG: x ← x - r / √(Σ ‖g‖²) g with the largest distance r from the start; evaluated at an average of the points. */
export const dog = dogRecord.create;

/** The record of {@link ldog}. */
export const ldogRecord = defineOptimizer({
  name: "ldog",
  title: "LDoG",
  ...shared,
  cost: "two norms per tensor",
  hyperparameters: { learningRate: rateFactor(1), ...start, ...coupledDecay(0) },
  buffers: () => 2,
  create: ({ weightDecay, decayMask, gamma, ...rest }) =>
    named(
      "ldog",
      ...decayLinks(weightDecay, decayMask),
      scaleByDistanceEstimate(identity(), { estimate: "dog", layerwise: true, ...rest }),
      polynomialAverage({ gamma }),
    ),
});

/** {@link dog} with a distance for every tensor. */
export const ldog = ldogRecord.create;

/** The record of {@link dowg}. */
export const dowgRecord = defineOptimizer({
  name: "dowg",
  title: "DoWG",
  source: "Khaled, Mishchenko & Jin, DoWG Unleashed: An Efficient Universal Parameter-Free Gradient Descent Method",
  year: 2023,
  family: "rateFree",
  tier: 1,
  without: ["learningRate", "schedule"],
  cost: "two norms",
  hyperparameters: {
    learningRate: rateFactor(1),
    initialSquaredDistance: {
      type: "float",
      default: 1e-4,
      description: "square of the first distance",
      ...positive,
    },
    epsilon: { type: "float", default: 1e-4, description: "added to the root of the sum", ...nonNegative },
    ...coupledDecay(0),
  },
  buffers: () => 1,
  create: ({ weightDecay, decayMask, learningRate, initialSquaredDistance, epsilon }) =>
    named(
      "dowg",
      ...decayLinks(weightDecay, decayMask),
      scaleByDistanceEstimate(identity(), { estimate: "dowg", learningRate, initial: initialSquaredDistance, epsilon }),
    ),
});

/** DoWG: x ← x - r² / √(Σ r² ‖g‖²) g with the largest distance r from the start. */
export const dowg = dowgRecord.create;
