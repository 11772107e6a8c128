import { named } from "../chain";
import { nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { alphaRange, lookahead } from "../wrappers/lookahead";
import { mechanic } from "../wrappers/mechanic";
import { sam } from "../wrappers/sam";
import { adamw, adamwRecord } from "./adam";
import { momentum, momentumRecord } from "./momentum";
import { radam, radamRecord } from "./radam";
import { amount, off, steps } from "./specs";

const lookaheadOptions = {
  every: {
    ...steps(5, 1, "steps between two moves of the slow weights"),
    tuning: { distribution: "uniform", low: 1, high: 20 },
  },
  alpha: {
    type: "float",
    default: 0.5,
    schedulable: true,
    tuning: { distribution: "logUniform", low: 1e-4, high: 1 },
    description: "how far the slow weights move",
    ...alphaRange,
  },
  reset: off("begin the inner state anew after each move of the slow weights"),
} as const;

const lookaheadShared = {
  source: "Zhang et al., Lookahead Optimizer: k steps forward, 1 step back",
  year: 2019,
  family: "averaging",
  tier: 1,
  cost: "elementwise",
} as const;

/** The record of {@link lookaheadMomentum}. */
export const lookaheadMomentumRecord = defineOptimizer({
  name: "lookaheadMomentum",
  title: "Lookahead of momentum",
  ...lookaheadShared,
  hyperparameters: { ...momentumRecord.hyperparameters, ...lookaheadOptions },
  buffers: () => 2,
  create: ({ every, alpha, reset, ...inner }) =>
    named("lookaheadMomentum", lookahead(momentum(inner), { every, alpha, reset })),
});

/** {@link momentum} under {@link lookahead}. */
export const lookaheadMomentum = lookaheadMomentumRecord.create;

/** The record of {@link lookaheadRadam}. */
export const lookaheadRadamRecord = defineOptimizer({
  name: "lookaheadRadam",
  title: "Lookahead of RAdam (Ranger)",
  ...lookaheadShared,
  hyperparameters: { ...radamRecord.hyperparameters, ...lookaheadOptions },
  buffers: () => 3,
  create: ({ every, alpha, reset, ...inner }) =>
    named("lookaheadRadam", lookahead(radam(inner), { every, alpha, reset })),
});

/** {@link radam} under {@link lookahead}. */
export const lookaheadRadam = lookaheadRadamRecord.create;

const samOptions = {
  rho: amount(0.05, "radius of the neighbourhood"),
  adaptive: off("measure the neighbourhood in units of each weight (ASAM)"),
} as const;

const samShared = {
  source: "Foret et al., Sharpness-Aware Minimization for Efficiently Improving Generalization",
  year: 2021,
  family: "averaging",
  tier: 1,
  cost: "two gradients",
} as const;

/** The record of {@link samMomentum}. */
export const samMomentumRecord = defineOptimizer({
  name: "samMomentum",
  title: "SAM with momentum",
  ...samShared,
  hyperparameters: { ...momentumRecord.hyperparameters, ...samOptions },
  buffers: () => 1,
  create: ({ rho, adaptive, ...inner }) => named("samMomentum", sam(momentum(inner), { rho, adaptive })),
});

/** {@link momentum} with the gradient at the worst point of a neighbourhood. */
export const samMomentum = samMomentumRecord.create;

/** The record of {@link samAdamw}. */
export const samAdamwRecord = defineOptimizer({
  name: "samAdamw",
  title: "SAM with AdamW",
  ...samShared,
  hyperparameters: { ...adamwRecord.hyperparameters, ...samOptions },
  buffers: () => 2,
  create: ({ rho, adaptive, ...inner }) => named("samAdamw", sam(adamw(inner), { rho, adaptive })),
});

/** {@link adamw} with the gradient at the worst point of a neighbourhood. */
export const samAdamw = samAdamwRecord.create;

const mechanicOptions = {
  initialScale: { type: "float", default: 1e-6, description: "the first scale", ...positive },
  mechanicDecay: amount(1e-2, "pulls the parameters to 0 in the learners' view"),
} as const;

const mechanicShared = {
  source: "Cutkosky, Defazio & Mehta, Mechanic: A Learning Rate Tuner",
  year: 2023,
  family: "rateFree",
  tier: 2,
  without: ["learningRate"],
  cost: "three sums over all parameters",
} as const;

/** The factor of the inner optimizer, which the scale makes up for. */
const innerRate = {
  type: "float",
  default: 1,
  schedulable: true,
  description: "factor of the inner updates, for schedules",
  ...nonNegative,
} as const;

/** The record of {@link mechanicMomentum}. */
export const mechanicMomentumRecord = defineOptimizer({
  name: "mechanicMomentum",
  title: "Mechanic with momentum",
  ...mechanicShared,
  hyperparameters: { ...momentumRecord.hyperparameters, learningRate: innerRate, ...mechanicOptions },
  buffers: () => 2,
  create: ({ initialScale, mechanicDecay, ...inner }) =>
    named("mechanicMomentum", mechanic(momentum(inner), { initialScale, decay: mechanicDecay })),
});

/** {@link momentum} under {@link mechanic}. */
export const mechanicMomentum = mechanicMomentumRecord.create;

/** The record of {@link mechanicAdamw}. */
export const mechanicAdamwRecord = defineOptimizer({
  name: "mechanicAdamw",
  title: "Mechanic with AdamW",
  ...mechanicShared,
  hyperparameters: { ...adamwRecord.hyperparameters, learningRate: innerRate, ...mechanicOptions },
  buffers: () => 3,
  create: ({ initialScale, mechanicDecay, ...inner }) =>
    named("mechanicAdamw", mechanic(adamw(inner), { initialScale, decay: mechanicDecay })),
});

/** {@link adamw} under {@link mechanic}. */
export const mechanicAdamw = mechanicAdamwRecord.create;

/** Wrapped optimizers that average weights, or look around. */
export const averagingRecords = [
  lookaheadMomentumRecord,
  lookaheadRadamRecord,
  samMomentumRecord,
  samAdamwRecord,
] as const;
