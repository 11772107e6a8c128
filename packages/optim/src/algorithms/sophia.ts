import type { Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { updateAverage } from "../transforms/average";
import { awayFromZero } from "../transforms/moments";
import { descent } from "./descent";
import { amount, epsilon, learningRate, momentumSpace, retained, steps, weightDecay } from "./specs";

export interface SophiaScalingOptions {
  /** Retained fraction of the gradient's average, in [0, 1). */
  readonly beta1: number | Schedule;
  /** Retained fraction of the curvature's average, in [0, 1). */
  readonly beta2: number | Schedule;
  /** Factor of the curvature: 0.01 for Hutchinson's estimate, 0.05 for Gauss-Newton-Bartlett's. */
  readonly gamma: number | Schedule;
  readonly epsilon: number | Schedule;
  /** Steps between two estimates of the curvature. */
  readonly interval: number;
}

/**
 * Divides the average gradient by an average of the curvature's diagonal, and limits the result to [-1, 1]: every `interval`
 * steps h ← β2 h + (1 - β2) ĥ, u = clip(m / max(γ h, ε)). The estimate ĥ comes from the caller, as `curvatureDiagonal`.
 *
 * @see Liu et al., Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training, 2023
 */
export function scaleBySophia(options: SophiaScalingOptions): GradientTransformation {
  const { beta1, beta2, gamma, epsilon, interval } = options;
  const owner = "scaleBySophia";
  checkSteps(`${owner}: interval`, interval, 1);
  return transformation<{ readonly moment: TensorTree; readonly curvature: TensorTree }>({
    name: owner,
    needs: ["curvatureDiagonal"],
    constants: [
      decayConstant(owner, "beta1", beta1),
      decayConstant(owner, "beta2", beta2),
      constant(owner, "gamma", gamma, nonNegative),
      constant(owner, "epsilon", epsilon, nonNegative),
    ],
    init: (params) => ({ moment: treeZeros(params), curvature: treeZeros(params) }),
    refreshesAt: (step) => step % interval === 0,
    update: (gradients, buffers, { step, constant: numbers, extra }) => {
      const [[factor], [eps]] = ["gamma", "epsilon"].map((name) => numbers(name)) as [[Tensor], [Tensor]];
      const moment = updateAverage(numbers("beta1"), buffers.moment, gradients);
      const estimate = extra.refresh === false ? undefined : extra.curvatureDiagonal?.();
      const isDue = step.rem(interval).equal(0);
      const curvature =
        estimate === undefined
          ? buffers.curvature
          : mapTensors(
              (next, old) => isDue.where(next, old),
              updateAverage(numbers("beta2"), buffers.curvature, estimate),
              buffers.curvature,
            );
      const direction = (m: Tensor, h: Tensor) =>
        m
          .div(awayFromZero(h.mul(factor).maximum(eps)))
          .maximum(-1)
          .minimum(1);
      return [mapTensors(direction, moment, curvature), { moment, curvature }];
    },
  });
}

/** The record of {@link sophia}. */
export const sophiaRecord = defineOptimizer({
  name: "sophia",
  title: "Sophia",
  source: "Liu et al., Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training",
  year: 2023,
  family: "adaptive",
  tier: 2,
  cost: "elementwise, and one Hessian-vector product per interval",
  hyperparameters: {
    learningRate: learningRate(1e-3),
    beta1: retained(0.965, "retained fraction of the gradient's average", momentumSpace),
    beta2: retained(0.99, "retained fraction of the curvature's average", momentumSpace),
    gamma: amount(0.01, "factor of the curvature: 0.01 for Hutchinson's estimate, 0.05 for Gauss-Newton-Bartlett's"),
    epsilon: epsilon(1e-12, "least divisor"),
    interval: steps(10, 1, "steps between two estimates of the curvature"),
    ...weightDecay(0, true),
  },
  buffers: () => 2,
  create: (values) => descent("sophia", values, scaleBySophia(values)),
});

/** Sophia: m over the curvature's diagonal, limited to [-1, 1]: x ← x - α (clip(m / max(γ h, ε)) + λ x). */
export const sophia = sophiaRecord.create;
