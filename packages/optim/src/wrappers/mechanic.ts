import { full, stack, type Tensor } from "@thalweg/tensor";
import { constant, nonNegative, positive } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeDot, treeNorm } from "../tensors";
import type { GradientTransformation } from "../transform";
import { wrap } from "./wrap";

export interface MechanicOptions {
  /** The first scale, above 0. Default 1e-6. */
  readonly initialScale?: number;
  /** Pulls the parameters to 0 in the learners' view, at least 0. Default 1e-2. */
  readonly decay?: number | Schedule;
  readonly epsilon?: number | Schedule;
  /** Number of learners, whose memories are 1 - 10^-1, 1 - 10^-2, … Default 6. */
  readonly learners?: number;
}

/** A type, so that it counts as a tree. The vectors have one number per learner. */
type Learners = {
  readonly start: TensorTree;
  readonly reward: Tensor;
  readonly variance: Tensor;
  readonly largest: Tensor;
  readonly scales: Tensor;
};

/**
 * Learns a scale for the sum of all updates of an optimizer: x = x0 - s δ, with s the sum of several online learners.
 *
 * @see Cutkosky, Defazio & Mehta, Mechanic: A Learning Rate Tuner, 2023
 */
export function mechanic(
  { rule }: GradientTransformation,
  { initialScale = 1e-6, decay = 1e-2, epsilon = 1e-8, learners = 6 }: MechanicOptions = {},
): GradientTransformation {
  const name = "mechanic";
  const { value: first } = constant(name, "initialScale", initialScale, positive);
  const memories = Array.from({ length: learners }, (_, index) => 1 - 10 ** -(index + 1));
  return wrap<Learners>(rule, {
    name,
    constants: [
      constant(name, "mechanicDecay", decay, nonNegative),
      constant(name, "mechanicEpsilon", epsilon, nonNegative),
    ],
    init: (params) => ({
      start: copyOf(params),
      reward: full([learners], 0),
      variance: full([learners], 0),
      largest: full([learners], 0),
      scales: full([learners], first / learners),
    }),
    update(gradients, { own, inner }, contexts) {
      const { params, constant: numbers } = contexts.own;
      const [[pull], [eps]] = ["mechanicDecay", "mechanicEpsilon"].map((key) => numbers(key)) as [[Tensor], [Tensor]];
      const [steps, next] = rule.update(gradients, inner, contexts.inner);
      const scale = own.scales.sum();
      const unscale = scale.add(eps).reciprocal();
      // What the updates added up to so far, with the sign of gradients.
      const before = mapTensors((origin, x) => origin.sub(x).mul(unscale), own.start, params);
      const delta = mapTensors((sum, u) => sum.sub(u), before, steps);
      const norm = treeNorm(params).add(eps);
      const weight = pull.mul(scale).mul(treeNorm(gradients)).div(norm.equal(0).where(1, norm));
      const pulled = mapTensors((g, x) => g.add(x.mul(weight)), gradients, params);
      const h = treeDot(pulled, before).expand([learners]);
      const memory = stack(
        memories.map((own) => full([], own)),
        { axis: 0 },
      );
      const clipped = h.maximum(own.largest.neg()).minimum(own.largest);
      const largest = own.largest.mul(memory).maximum(h.abs().add(eps));
      const variance = own.variance.mul(memory.square()).add(h.square());
      const reward = own.reward.mul(memory).add(clipped.mul(own.scales));
      const wealth = largest.mul(first / learners).add(reward.maximum(0));
      const divisor = variance.sqrt().add(eps);
      const scales = wealth.div(divisor.equal(0).where(1, divisor));
      const total = scales.sum();
      const updates = mapTensors((origin, d, x) => origin.sub(d.mul(total)).sub(x), own.start, delta, params);
      return [updates, { own: { start: own.start, reward, variance, largest, scales }, inner: next }];
    },
    quantities: ({ scales }) => ({ s: scales.sum() }),
  });
}
