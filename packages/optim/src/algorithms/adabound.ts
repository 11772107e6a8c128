import { full, type Tensor } from "@thalweg/tensor";
import { named } from "../chain";
import { type Constant, constant, nonNegative, positive } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { type DecayMask, decayLinks, decaysOf } from "../transforms/decay";
import {
  awayFromZero,
  type MomentOptions,
  type Moments,
  momentConstants,
  updateMoments,
  zeroMoments,
} from "../transforms/moments";
import { adamBetas, amount, epsilon, learningRate, weightDecay } from "./specs";

interface AdaboundOptions extends MomentOptions {
  readonly learningRate: number | Schedule;
  /** The rate that both bounds end at. A schedule of the learning rate changes it alike. */
  readonly finalLearningRate: number | Schedule;
  /** How fast the bounds close, above 0. */
  readonly gamma: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decoupled: boolean;
  readonly decayMask: DecayMask;
}

interface BoundedBuffers extends Moments {
  readonly [name: string]: TensorTree;
  /** Only for AMSBound. */
  readonly largest: TensorTree;
}

/** Adam whose rates are clipped, and so a rule that has the learning rate in it. */
function bounded(name: string, options: AdaboundOptions, isAmsbound: boolean): GradientTransformation {
  const { learningRate: rate, finalLearningRate, gamma, weightDecay: decay, decoupled, decayMask } = options;
  const own = decoupled && decay !== 0;
  const rule = transformation<BoundedBuffers>({
    name,
    constants: [
      constant(name, "learningRate", rate, nonNegative),
      ...momentConstants(name, options),
      constant(name, "finalLearningRate", finalLearningRate, nonNegative),
      constant(name, "gamma", gamma, positive),
      ...(own ? [constant(name, "weightDecay", decay, nonNegative)] : []),
    ],
    init: (params) => ({ ...zeroMoments(params), largest: isAmsbound ? treeZeros(params) : null }),
    update: (gradients, buffers, context) => {
      const { firstMoment, secondMoment, unbias1, unbias2, epsilon } = updateMoments(gradients, buffers, context);
      const largest = isAmsbound ? mapTensors((old, v) => old.maximum(v), buffers.largest, secondMoment) : null;
      const [[alpha], [final], [closing]] = ["learningRate", "finalLearningRate", "gamma"].map((key) =>
        context.constant(key),
      ) as [[Tensor], [Tensor], [Tensor]];
      const end = final.mul(scheduleFactor(rate, alpha));
      const time = context.step.add(1).cast("f32").mul(closing);
      const [low, high] = [end.mul(time.div(time.add(1))), end.mul(time.reciprocal().add(1))];
      const step = alpha.mul(unbias1).div(unbias2.sqrt());
      const [lambda] = own ? context.constant("weightDecay") : [];
      const decays = decaysOf(decayMask, context.params);
      let index = 0;
      const move = (m: Tensor, v: Tensor, x: Tensor) => {
        const bounds = step
          .div(awayFromZero(v.sqrt().add(epsilon)))
          .maximum(low)
          .minimum(high);
        const moved = bounds.mul(m).neg();
        return lambda !== undefined && decays[index++] ? moved.sub(x.mul(alpha.mul(lambda))) : moved;
      };
      const updates = mapTensors(move, firstMoment, largest ?? secondMoment, context.params);
      return [updates, { firstMoment, secondMoment, largest }];
    },
  });
  return named(name, ...(own ? [] : decayLinks(decay, decayMask)), rule);
}

/** The rate over what it would be without its schedule: the peak or the initial value. */
function scheduleFactor(rate: number | Schedule, now: Tensor): Tensor {
  if (typeof rate === "number") return full([], 1);
  const base = rate.constants?.find(({ name }: Constant) => name === "peak" || name === "initial");
  return base === undefined ? full([], 1) : now.div(base.value);
}

const hyperparameters = {
  learningRate: learningRate(1e-3),
  ...adamBetas(0.9, 0.999),
  epsilon: epsilon(1e-8, "added to the root of the second moment"),
  finalLearningRate: amount(0.1, "rate at which both bounds end", { distribution: "logUniform", low: 1e-3, high: 0.5 }),
  gamma: {
    type: "float",
    default: 1e-3,
    schedulable: true,
    tuning: { distribution: "logUniform", low: 1e-4, high: 0.1 },
    description: "how fast the bounds close",
    ...positive,
  },
  ...weightDecay(0, false),
} as const;

const shared = {
  source: "Luo et al., Adaptive Gradient Methods with Dynamic Bound of Learning Rate",
  year: 2019,
  family: "adaptive",
  tier: 1,
  cost: "elementwise",
  hyperparameters,
} as const;

/** The record of {@link adabound}. */
export const adaboundRecord = defineOptimizer({
  name: "adabound",
  title: "AdaBound",
  ...shared,
  buffers: () => 2,
  create: (values) => bounded("adabound", values, false),
});

/** AdaBound: Adam whose rates α / (√v + ε) are clipped to bounds that close around a final rate, that of SGD. */
export const adabound = adaboundRecord.create;

/** The record of {@link amsbound}. */
export const amsboundRecord = defineOptimizer({
  name: "amsbound",
  title: "AMSBound",
  ...shared,
  buffers: () => 3,
  create: (values) => bounded("amsbound", values, true),
});

/** {@link adabound} with the largest second moment so far. */
export const amsbound = amsboundRecord.create;
