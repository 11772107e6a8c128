import { defineOptimizer } from "../optimizer-record";
import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { ema } from "../wrappers/ema";
import { descent } from "./descent";
import { learningRate, momentumSpace, retained, weightDecay } from "./specs";

/** The signs: -1, 0 or 1. @see Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018 */
export function scaleBySign(): GradientTransformation {
  return transformation({
    name: "scaleBySign",
    update: (gradients, buffers) => [mapTensors((g) => g.sign(), gradients), buffers],
  });
}

const shared = {
  source: "Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems",
  year: 2018,
  family: "sign",
  tier: 2,
  cost: "elementwise",
} as const;

/** The record of {@link signSgd}. */
export const signSgdRecord = defineOptimizer({
  name: "signSgd",
  title: "signSGD",
  ...shared,
  hyperparameters: { learningRate: learningRate(1e-3), ...weightDecay(0, true) },
  buffers: () => 0,
  create: (values) => descent("signSgd", values, scaleBySign()),
});

/** signSGD: x ← x - α sign(g). */
export const signSgd = signSgdRecord.create;

/** The record of {@link signum}. */
export const signumRecord = defineOptimizer({
  name: "signum",
  title: "Signum",
  ...shared,
  hyperparameters: {
    learningRate: learningRate(1e-3),
    momentum: retained(0.9, "retained fraction of the average", momentumSpace),
    ...weightDecay(0, true),
  },
  buffers: () => 1,
  // No correction of the start at 0, which changes no sign.
  create: (values) => descent("signum", values, ema({ decay: values.momentum, start: "uncorrected" }), scaleBySign()),
});

/** Signum: x ← x - α sign(m), where m averages g. */
export const signum = signumRecord.create;
