import type { Tensor } from "@thalweg/tensor";
import { constant, decayConstant } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

export interface MomentumOptions {
  /** The retained fraction μ in [0, 1). */
  readonly momentum: number | Schedule;
  /** Fraction in [0, 1] of the gradient that is left out, except in the first step. Default 0. */
  readonly dampening?: number | Schedule;
  /** Averages instead: v ← μ v + (1 - μ) g from the first step on. Default false. */
  readonly average?: boolean;
  /** Looks ahead along the new velocity. Default false. */
  readonly nesterov?: boolean;
}

/**
 * Accumulates v ← μ v + (1 - dampening) g, with v = g in the first step, and passes on v; with `nesterov` g + μ v, where g
 * counts as it does in v.
 *
 * @see Polyak, Some methods of speeding up the convergence of iteration methods, 1964
 * @see Sutskever et al., On the importance of initialization and momentum in deep learning, 2013, eq. 7
 */
export function scaleByMomentum({
  momentum,
  dampening = 0,
  average = false,
  nesterov = false,
}: MomentumOptions): GradientTransformation {
  const owner = "scaleByMomentum";
  const isDamped = dampening !== 0;
  return transformation<{ readonly velocity: TensorTree }>({
    name: owner,
    constants: [
      decayConstant(owner, "momentum", momentum),
      ...(isDamped ? [constant(owner, "dampening", dampening, { min: 0, max: 1 })] : []),
    ],
    init: (params) => ({ velocity: treeZeros(params) }),
    update: (gradients, buffers, { step, constant: numbers }) => {
      const [mu, complement] = numbers("momentum") as [Tensor, Tensor];
      const [damped] = isDamped ? numbers("dampening") : [];
      const share = average ? complement : damped && step.equal(0).where(1, damped.neg().add(1));
      const velocity = mapTensors(
        (v, g) => v.mul(mu).add(share === undefined ? g : g.mul(share)),
        buffers.velocity,
        gradients,
      );
      const ahead = (v: Tensor, g: Tensor) => (average ? g.mul(complement) : g).add(v.mul(mu));
      return [nesterov ? mapTensors(ahead, velocity, gradients) : velocity, { velocity }];
    },
  });
}
