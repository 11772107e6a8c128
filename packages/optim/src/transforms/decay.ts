import type { Tensor } from "@thalweg/tensor";
import { ArgumentError } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { describeParameters, mapTensors, type ParameterPredicate, type TensorTree } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

/** Which parameters decay: those of rank 2 and more, all of them, or those that a function chooses. */
export type DecayMask = "matrices" | "all" | ParameterPredicate;

export interface DecayOptions {
  /** The factor λ ≥ 0 of the parameters. */
  readonly weightDecay: number | Schedule;
  /** Default `"matrices"`: biases, gains and other vectors do not decay. */
  readonly decayMask?: DecayMask;
}

/**
 * Adds λ times the parameters. First in a chain this is L2 regularization; between the preconditioner and the learning
 * rate it is decoupled weight decay.
 *
 * @see Loshchilov & Hutter, Decoupled Weight Decay Regularization, 2019
 */
export function addDecayedWeights({ weightDecay, decayMask = "matrices" }: DecayOptions): GradientTransformation {
  return transformation({
    name: "addDecayedWeights",
    constants: [constant("addDecayedWeights", "weightDecay", weightDecay, nonNegative)],
    update: (gradients, buffers, { params, constant: numbers }) => {
      const [decay] = numbers("weightDecay");
      const decays = decaysOf(decayMask, params);
      let index = 0;
      const add = (g: Tensor, x: Tensor) => (decays[index++] ? g.add(x.mul(decay as Tensor)) : g);
      return [mapTensors(add, gradients, params), buffers];
    },
  });
}

/** Weight decay as a link of a chain; no link without decay. */
export function decayLinks(weightDecay: number | Schedule, decayMask?: DecayMask): readonly GradientTransformation[] {
  if (weightDecay === 0) return [];
  return [addDecayedWeights(decayMask === undefined ? { weightDecay } : { weightDecay, decayMask })];
}

/** Which parameters decay, in the order of the leaves. */
export function decaysOf(mask: DecayMask, params: TensorTree): boolean[] {
  const parameters = describeParameters(params);
  if (typeof mask === "function") return parameters.map(mask);
  if (mask === "all") return parameters.map(() => true);
  if (mask === "matrices") return parameters.map(({ shape }) => shape.length >= 2);
  throw new ArgumentError(`addDecayedWeights: decayMask is ${String(mask)}. Give "matrices", "all" or a function.`);
}
