import { full, type Tensor } from "@thalweg/tensor";
import { constant, decayConstant, nonNegative } from "../constant";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree } from "../tensors";
import type { GradientTransformation } from "../transform";
import { type DecayMask, decaysOf } from "../transforms/decay";
import { checkDirection, wrap } from "./wrap";

export interface ScheduleFreeOptions {
  /** At least 0. */
  readonly learningRate: number | Schedule;
  /** How far the gradients are taken towards the average, in [0, 1). Default 0.9. */
  readonly beta1?: number | Schedule;
  /** Steps over which the rate grows from 0. Default 0. */
  readonly warmupSteps?: number;
  /** The weights of the average grow with the step's number to this power. Default 0. */
  readonly weightPower?: number | Schedule;
  /** They grow with the largest rate so far to this power. Default 2. */
  readonly weightRatePower?: number | Schedule;
  /** Decay of the point of training, beside the direction. Default 0. */
  readonly weightDecay?: number | Schedule;
  /** Default `"matrices"`. */
  readonly decayMask?: DecayMask;
}

/** A type, so that it counts as a tree. */
type Points = {
  /** The point that the direction moves. */
  readonly z: TensorTree;
  /** The average, at which the model is evaluated. */
  readonly x: TensorTree;
  readonly weightSum: Tensor;
  readonly largestRate: Tensor;
};

/**
 * Any direction without a schedule: z ← z - α d, x an average of all z, and the next gradient at y = β1 x + (1 - β1) z. The
 * parameters of training are y; the model is evaluated at x. The direction brings no momentum and no rate of its own:
 * `scaleByShampoo` and `scaleBySoap` with beta1 = 0, `scaleByMuon` with momentum = 0. Statistics of batch norm belong to y;
 * compute them anew at x, by some batches in training mode, before evaluating.
 *
 * @example scheduleFree(scaleByRms({ decay: 0.999, epsilon: 1e-8, debiased: true }), { learningRate: 2.5e-3 })
 * @throws ArgumentError for a direction with a learning rate.
 * @see Defazio et al., The Road Less Scheduled, 2024
 */
export function scheduleFree({ rule }: GradientTransformation, options: ScheduleFreeOptions): GradientTransformation {
  const { learningRate, beta1 = 0.9, warmupSteps = 0, weightPower = 0, weightRatePower = 2 } = options;
  const { weightDecay = 0, decayMask = "matrices" } = options;
  const name = "scheduleFree";
  checkSteps(`${name}: warmupSteps`, warmupSteps);
  checkDirection(name, rule);
  const [isWeighted, decays] = [weightPower !== 0, weightDecay !== 0];
  return wrap<Points>(rule, {
    name,
    constants: [
      constant(name, "learningRate", learningRate, nonNegative),
      decayConstant(name, "beta1", beta1),
      constant(name, "weightRatePower", weightRatePower, nonNegative),
      ...(isWeighted ? [constant(name, "weightPower", weightPower, nonNegative)] : []),
      ...(decays ? [constant(name, "weightDecay", weightDecay, nonNegative)] : []),
    ],
    init: (params) => ({ z: copyOf(params), x: copyOf(params), weightSum: full([], 0), largestRate: full([], 0) }),
    update(gradients, { own, inner }, contexts) {
      const { params, step, constant: numbers } = contexts.own;
      const [directions, next] = rule.update(gradients, inner, contexts.inner);
      const t = step.add(1).cast("f32");
      const [base] = numbers("learningRate") as [Tensor];
      const rate = warmupSteps === 0 ? base : base.mul(t.div(warmupSteps).minimum(1));
      const largestRate = own.largestRate.maximum(rate);
      const powered = power(largestRate, numbers("weightRatePower")[0] as Tensor);
      const weight = isWeighted ? powered.mul(power(t, numbers("weightPower")[0] as Tensor)) : powered;
      const weightSum = own.weightSum.add(weight);
      const isEmpty = weightSum.equal(0);
      const share = isEmpty.where(0, weight.div(isEmpty.where(1, weightSum)));
      const [lambda] = decays ? numbers("weightDecay") : [];
      const mask = decaysOf(decayMask, params);
      let index = 0;
      const direction = mapTensors(
        (d, y) => (lambda !== undefined && mask[index++] ? d.add(y.mul(lambda)) : d),
        directions,
        params,
      );
      const z = mapTensors((point, d) => point.sub(d.mul(rate)), own.z, direction);
      const x = mapTensors((average, point) => average.add(point.sub(average).mul(share)), own.x, z);
      const [towards] = numbers("beta1") as [Tensor];
      // As a difference, so that equal points stay where they are.
      const updates = mapTensors(
        (average, point, y) => point.add(average.sub(point).mul(towards)).sub(y),
        x,
        z,
        params,
      );
      return [updates, { own: { z, x, weightSum, largestRate }, inner: next }];
    },
    evalParams: ({ own: { x } }) => x,
  });
}

/** base^exponent for a base from 0 on; 0^0 is 1. */
function power(base: Tensor, exponent: Tensor): Tensor {
  const isZero = base.equal(0);
  const positive = isZero.where(1, base).log().mul(exponent).exp();
  return isZero.and(exponent.greater(0)).where(0, positive);
}
