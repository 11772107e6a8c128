import { full, type Tensor } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree } from "../tensors";
import { type GradientTransformation, transformation, type UpdateContext } from "../transform";
import { biasCorrection } from "../transforms/average";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  updateMoments,
  zeroMoments,
} from "../transforms/moments";
import { descent } from "./descent";
import { adamBetas, amount, epsilon, learningRate, weightDecay } from "./specs";

export interface NadamScalingOptions extends MomentOptions {
  /**
   * How the gradient is mixed into the first moment once more. `"schedule"`: by Dozat's momentum schedule; `"plain"`: β1 m +
   * (1 - β1) g with one bias correction for both, as in AlgoPerf's NAdamW; `"next"`: m with the correction of the next step.
   * Default `"schedule"`.
   */
  readonly form?: "schedule" | "plain" | "next";
  /** ψ of the schedule μ = β1 (1 - 0.96^(tψ) / 2). Default 0.004. */
  readonly momentumDecay?: number | Schedule;
}

interface NadamBuffers extends Moments {
  readonly [name: string]: TensorTree;
  /** The product of all μ so far, only with the schedule. */
  readonly product: TensorTree;
}

/** Factors of the gradient and of the first moment. */
interface Mixture {
  readonly gradient: Tensor;
  readonly moment: Tensor;
  readonly product: TensorTree;
}

const logBase = Math.log(0.96);

/** {@link scaleByAdam} with Nesterov's momentum. @see Dozat, Incorporating Nesterov Momentum into Adam, 2016 */
export function scaleByNadam(options: NadamScalingOptions): GradientTransformation {
  const { form = "schedule", momentumDecay = 4e-3 } = options;
  const owner = "scaleByNadam";
  const isScheduled = form === "schedule";
  const mix = { schedule: mixBySchedule, plain: mixPlainly, next: mixWithNext }[form];
  return transformation<NadamBuffers>({
    name: owner,
    constants: [
      ...momentConstants(owner, options),
      ...(isScheduled ? [constant(owner, "momentumDecay", momentumDecay, nonNegative)] : []),
    ],
    init: (params) => ({ ...zeroMoments(params), product: isScheduled ? full([], 1) : null }),
    update: (gradients, buffers, context) => {
      const { firstMoment, secondMoment, unbias1, unbias2, epsilon } = updateMoments(gradients, buffers, context);
      const { gradient, moment, product } = mix(context, unbias1, buffers.product as Tensor);
      const updates = mapTensors(
        (g, m, v) =>
          g
            .mul(gradient)
            .add(m.mul(moment))
            .div(awayFromZero(v.mul(unbias2).sqrt().add(epsilon))),
        gradients,
        firstMoment,
        secondMoment,
      );
      return [updates, { firstMoment, secondMoment, product }];
    },
  });
}

function mixBySchedule({ step, constant: numbers }: UpdateContext, _: Tensor, before: Tensor): Mixture {
  const [beta1] = numbers("beta1") as [Tensor];
  const [decay] = numbers("momentumDecay") as [Tensor];
  const momentumAt = (t: Tensor) => t.cast("f32").mul(decay).mul(logBase).exp().mul(-0.5).add(1).mul(beta1);
  const [now, next] = [momentumAt(step.add(1)), momentumAt(step.add(2))];
  const product = before.mul(now);
  const rest = (value: Tensor) => value.neg().add(1);
  return { gradient: rest(now).div(rest(product)), moment: next.div(rest(product.mul(next))), product };
}

function mixPlainly({ constant: numbers }: UpdateContext, unbias1: Tensor): Mixture {
  const [beta1, complement] = numbers("beta1") as [Tensor, Tensor];
  return { gradient: complement.mul(unbias1), moment: beta1.mul(unbias1), product: null };
}

function mixWithNext({ step, constant: numbers }: UpdateContext, unbias1: Tensor): Mixture {
  const beta1 = numbers("beta1");
  const [retained, complement] = beta1 as [Tensor, Tensor];
  const moment = retained.div(biasCorrection(beta1, step.add(1)));
  return { gradient: complement.mul(unbias1), moment, product: null };
}

const nadamScaling = {
  ...adamBetas(0.9, 0.999),
  epsilon: epsilon(1e-8, "added to the root of the second moment"),
} as const;

const momentumDecay = amount(4e-3, "how fast the momentum of the schedule grows to its end");

/** The record of {@link nadam}. */
export const nadamRecord = defineOptimizer({
  name: "nadam",
  title: "NAdam",
  source: "Dozat, Incorporating Nesterov Momentum into Adam",
  year: 2016,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(2e-3),
    ...nadamScaling,
    form: {
      type: "choice",
      default: "schedule",
      choices: ["schedule", "plain", "next"],
      description:
        "how the gradient is mixed in: by a momentum schedule, with one bias correction, or with the next one",
    },
    momentumDecay,
    ...weightDecay(0, false),
  },
  buffers: () => 2,
  create: (values) => descent("nadam", values, scaleByNadam(values)),
});

/** NAdam: Adam that looks ahead along the first moment, under a momentum that grows. */
export const nadam = nadamRecord.create;

/** The record of {@link nadamw}. */
export const nadamwRecord = defineOptimizer({
  name: "nadamw",
  title: "NAdamW",
  source: "Choi et al., On Empirical Comparisons of Optimizers for Deep Learning",
  year: 2019,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    ...nadamScaling,
    form: {
      type: "choice",
      default: "plain",
      choices: ["schedule", "plain", "next"],
      description:
        "how the gradient is mixed in: by a momentum schedule, with one bias correction, or with the next one",
    },
    momentumDecay,
    ...weightDecay(1e-2, true),
  },
  buffers: () => 2,
  create: (values) => descent("nadamw", values, scaleByNadam(values)),
});

/** NAdamW, AlgoPerf's baseline: x ← x - α [((β1 m + (1 - β1) g) / c1) / (√(v / c2) + ε) + λ x]. */
export const nadamw = nadamwRecord.create;
