import { named } from "../chain";
import { defineOptimizer } from "../optimizer-record";
import { scaleByRms } from "../transforms/rms";
import { identity } from "../transforms/scale";
import { scheduleFree } from "../wrappers/schedule-free";
import { amount, coupledDecay, epsilon, learningRate, momentumSpace, retained, steps } from "./specs";

const averaging = {
  beta1: retained(0.9, "how far gradients are taken towards the average", momentumSpace),
  warmupSteps: steps(0, 0, "steps over which the rate grows from 0"),
  weightPower: amount(0, "weights of the average grow with the step to this power"),
  weightRatePower: amount(2, "weights of the average grow with the largest rate to this power"),
} as const;

const shared = {
  source: "Defazio et al., The Road Less Scheduled",
  year: 2024,
  family: "rateFree",
  tier: 1,
  without: ["schedule"],
  cost: "elementwise",
} as const;

/** The record of {@link scheduleFreeSgd}. */
export const scheduleFreeSgdRecord = defineOptimizer({
  name: "scheduleFreeSgd",
  title: "Schedule-Free SGD",
  ...shared,
  hyperparameters: { learningRate: learningRate(1), ...averaging, ...coupledDecay(0) },
  buffers: () => 2,
  create: (values) => named("scheduleFreeSgd", scheduleFree(identity(), values)),
});

/** SGD whose average takes the place of a schedule. */
export const scheduleFreeSgd = scheduleFreeSgdRecord.create;

/** The record of {@link scheduleFreeAdamw}. */
export const scheduleFreeAdamwRecord = defineOptimizer({
  name: "scheduleFreeAdamw",
  title: "Schedule-Free AdamW",
  ...shared,
  hyperparameters: {
    learningRate: learningRate(2.5e-3),
    ...averaging,
    beta2: retained(0.999, "retained fraction of the second moment", momentumSpace),
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    ...coupledDecay(0),
  },
  buffers: () => 3,
  create: ({ beta2, epsilon: eps, ...values }) =>
    named(
      "scheduleFreeAdamw",
      scheduleFree(scaleByRms({ decay: beta2, decayName: "beta2", epsilon: eps, debiased: true }), values),
    ),
});

/** AdamW whose average takes the place of momentum and of a schedule; it won AlgoPerf's self-tuning track in 2024. */
export const scheduleFreeAdamw = scheduleFreeAdamwRecord.create;
