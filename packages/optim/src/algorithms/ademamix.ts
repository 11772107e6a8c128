import type { Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { checkSteps } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation, type UpdateContext } from "../transform";
import { updateAverage } from "../transforms/average";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  updateMoments,
  zeroMoments,
} from "../transforms/moments";
import { descent } from "./descent";
import { adamBetas, amount, epsilon, learningRate, retained, steps, weightDecay } from "./specs";

export interface AdemamixScalingOptions extends MomentOptions {
  /** Retained fraction of the slow average, in [0, 1). */
  readonly beta3: number | Schedule;
  /** Weight of the slow average. */
  readonly alpha: number | Schedule;
  /** Steps over which alpha grows from 0. Default 0. */
  readonly alphaWarmup?: number;
  /** Steps over which the half-life of the slow average grows from that of beta1. Default 0. */
  readonly beta3Warmup?: number;
}

interface AdemamixBuffers extends Moments {
  readonly [name: string]: TensorTree;
  readonly slowMoment: TensorTree;
}

/**
 * {@link scaleByAdam} with a second, much slower average of the gradient: u = (m / c1 + α m2) / (√(v / c2) + ε).
 *
 * @see Pagliardini, Ablin & Grangier, The AdEMAMix Optimizer: Better, Faster, Older, 2024
 */
export function scaleByAdemamix(options: AdemamixScalingOptions): GradientTransformation {
  const { beta3, alpha, alphaWarmup = 0, beta3Warmup = 0 } = options;
  const owner = "scaleByAdemamix";
  checkSteps(`${owner}: alphaWarmup`, alphaWarmup);
  checkSteps(`${owner}: beta3Warmup`, beta3Warmup);
  return transformation<AdemamixBuffers>({
    name: owner,
    constants: [
      ...momentConstants(owner, options),
      decayConstant(owner, "beta3", beta3),
      constant(owner, "alpha", alpha, nonNegative),
    ],
    init: (params) => ({ ...zeroMoments(params), slowMoment: treeZeros(params) }),
    update: (gradients, buffers, context) => {
      const { firstMoment, secondMoment, unbias1, unbias2, epsilon } = updateMoments(gradients, buffers, context);
      const slowMoment = updateAverage(slowDecay(context, beta3Warmup), buffers.slowMoment, gradients);
      const [largest] = context.constant("alpha") as [Tensor];
      const weight = alphaWarmup === 0 ? largest : largest.mul(progress(context.step, alphaWarmup));
      const direction = (m: Tensor, slow: Tensor, v: Tensor) =>
        m
          .mul(unbias1)
          .add(slow.mul(weight))
          .div(awayFromZero(v.mul(unbias2).sqrt().add(epsilon)));
      return [mapTensors(direction, firstMoment, slowMoment, secondMoment), { firstMoment, secondMoment, slowMoment }];
    },
  });
}

/** How much of a warm-up is over, from 0 to 1. */
const progress = (step: Tensor, total: number): Tensor => step.add(1).cast("f32").div(total).minimum(1);

/** β3 and 1 - β3 of the step, whose half-life grows linearly: log β3(t) = l1 l3 / ((1 - f) l3 + f l1). */
function slowDecay({ step, constant: numbers }: UpdateContext, warmup: number): readonly Tensor[] {
  const beta3 = numbers("beta3");
  if (warmup === 0) return beta3;
  const [, , first] = numbers("beta1") as [Tensor, Tensor, Tensor];
  const [, , last] = beta3 as [Tensor, Tensor, Tensor];
  const over = progress(step, warmup);
  const log = first.mul(last).div(over.neg().add(1).mul(last).add(over.mul(first)));
  return [log.exp(), log.expm1().neg()];
}

/** The record of {@link ademamix}. */
export const ademamixRecord = defineOptimizer({
  name: "ademamix",
  title: "AdEMAMix",
  source: "Pagliardini, Ablin & Grangier, The AdEMAMix Optimizer: Better, Faster, Older",
  year: 2024,
  family: "adaptive",
  tier: 2,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...adamBetas(0.9, 0.999),
    beta3: retained(0.9999, "retained fraction of the slow average", {
      distribution: "logUniform",
      low: 1e-5,
      high: 1e-2,
      complement: true,
    }),
    alpha: amount(5, "weight of the slow average"),
    alphaWarmup: steps(0, 0, "steps over which alpha grows from 0"),
    beta3Warmup: steps(0, 0, "steps over which the slow average becomes slow"),
    epsilon: epsilon(1e-8, "added to the root of the second moment"),
    ...weightDecay(1e-2, true),
  },
  buffers: () => 3,
  create: (values) => descent("ademamix", values, scaleByAdemamix(values)),
});

/** AdEMAMix: AdamW with a fast and a slow average of the gradient. */
export const ademamix = ademamixRecord.create;
