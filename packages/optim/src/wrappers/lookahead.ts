import type { Tensor } from "@thalweg/tensor";
import { constant, type Range } from "../constant";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree } from "../tensors";
import { contextAt, type GradientTransformation } from "../transform";
import { wrap } from "./wrap";

export interface LookaheadOptions {
  /** Steps between two moves of the slow weights, at least 1. Default 5. */
  readonly every?: number;
  /** How far the slow weights move, in (0, 1]. Default 0.5. */
  readonly alpha?: number | Schedule;
  /** Begins the inner state anew after each move. Default false. */
  readonly reset?: boolean;
}

/** Of the slow weights' move: above 0, up to 1. */
export const alphaRange: Range = { min: 0, max: 1, open: "min" };

/**
 * Lets the fast weights of an optimizer run ahead for some steps, moves slow weights towards them, and puts them back there:
 * every k steps s ← s + α (x - s), x ← s. The model is evaluated at the slow weights.
 *
 * @see Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019
 */
export function lookahead(
  { rule }: GradientTransformation,
  { every = 5, alpha = 0.5, reset = false }: LookaheadOptions = {},
): GradientTransformation {
  const name = "lookahead";
  checkSteps(`${name}: every`, every, 1);
  return wrap<{ readonly slow: TensorTree }>(rule, {
    name,
    constants: [constant(name, "alpha", alpha, alphaRange)],
    init: (params) => ({ slow: copyOf(params) }),
    update(gradients, { own: { slow }, inner }, contexts) {
      const { params, step, constant: numbers } = contexts.own;
      const [share] = numbers("alpha") as [Tensor];
      const innerContext = reset ? contextAt(contexts.inner, step.rem(every)) : contexts.inner;
      const [updates, next] = rule.update(gradients, inner, innerContext);
      const isDue = step.add(1).rem(every).equal(0);
      const moved = mapTensors((s, x, u) => isDue.where(s.add(x.add(u).sub(s).mul(share)), s), slow, params, updates);
      // A rule that remembers where it began, begins at the slow weights.
      const again = () => rule.init(moved, contexts.own.extra.kronecker);
      const kept = reset ? mapTensors((own, fresh) => isDue.where(fresh, own), next, again()) : next;
      const back = mapTensors((u, s, x) => isDue.where(s.sub(x), u), updates, moved, params);
      return [back, { own: { slow: moved }, inner: kept }];
    },
    evalParams: ({ own: { slow } }) => slow,
    ...(reset && rule.refreshesAt && { refreshesAt: (step) => rule.refreshesAt?.(step % every) ?? false }),
  });
}
