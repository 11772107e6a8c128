/** The vectors that are sent back from the outputs of an example: together they stand for the Hessian of its loss. */
import { ArgumentError, full, type Key, splitKeys, stack, type Tensor, uniform } from "@thalweg/tensor";
import type { OutputLoss } from "../output-loss";

/**
 * What the factors of the outputs' gradients are made of.
 *
 * - `"type2"`: the columns of a root of the Hessian of every loss term, one term at a time: exact, M · C vectors.
 * - `"type2Together"`: the same with all terms of an example in one vector, C of them. Cheaper, and biased where terms
 *   interact, as through attention: it adds products of different terms.
 * - `"mc"`: gradients at targets that the model draws.
 * - `"empirical"`: the gradient at the targets.
 * - `"propagation"`: random signs times the columns of the root (curvature propagation).
 * - `"forward"`: none; the factor of the outputs is the identity (FOOF, ISAAC).
 */
export type FisherKind = "type2" | "type2Together" | "mc" | "empirical" | "propagation" | "forward";

export const fisherKinds: readonly FisherKind[] = [
  "type2",
  "type2Together",
  "mc",
  "empirical",
  "propagation",
  "forward",
];

export interface VectorOptions {
  readonly fisher: FisherKind;
  /** Number of random vectors per example. */
  readonly draws: number;
}

/** The random part of the vectors of one example. */
export interface Randomness {
  readonly key?: Key | undefined;
  /** Instead of a key: targets, with the draws on axis 0. */
  readonly targets?: Tensor | undefined;
}

/**
 * The vectors of one example, `[K, M, C]`: gradients of ℓ without ρ.
 *
 * @param outputs `[M, C]`.
 * @param targets `[M]` or `[M, C]`.
 */
export function outputVectors(
  loss: OutputLoss,
  outputs: Tensor,
  targets: Tensor,
  { fisher, draws }: VectorOptions,
  { key, targets: drawn }: Randomness,
): Tensor {
  const [terms, features] = outputs.shape as [number, number];
  switch (fisher) {
    case "empirical":
      return loss.gradient(outputs, targets).expandDims(0);
    case "type2": {
      const root = loss.hessianRoot(outputs);
      const count = root.shape[1] as number;
      if (terms === 1) return root.permute([1, 0, 2]);
      const shape = [terms, count, terms, features];
      const own = full(shape, 0).iotaLike(0).equal(full(shape, 0).iotaLike(2));
      return own.where(root.expandDims(2).expand(shape), 0).reshape([terms * count, terms, features]);
    }
    case "type2Together":
      return loss.hessianRoot(outputs).permute([1, 0, 2]);
    case "mc": {
      const count = drawn?.shape[0] ?? draws;
      const many = outputs.expand([count, terms, features]);
      const shape = loss.target === "scalar" ? [count, terms] : [count, terms, features];
      const chosen = drawn?.reshape(shape) ?? loss.drawTargets(many, needed(fisher, key));
      return loss.gradient(many, chosen).mul(1 / Math.sqrt(count));
    }
    case "propagation": {
      const root = loss.hessianRoot(outputs);
      const keys = splitKeys(needed(fisher, key), draws);
      const vectors = keys.map((own) => {
        const signs = uniform(own, root.shape.slice(0, 2))
          .less(0.5)
          .where(full(root.shape.slice(0, 2), -1), 1);
        return root.mul(signs.expandDims(-1)).sum({ axis: 1 });
      });
      return stack(vectors).mul(1 / Math.sqrt(draws));
    }
    case "forward":
      return full([0, terms, features], 0);
  }
}

/** @throws ArgumentError if vectors of this kind are random and there is nothing to make them from. */
export function requireRandomness(fisher: FisherKind, { key, targets }: Randomness): void {
  if (fisher === "mc" && targets !== undefined) return;
  if (fisher === "mc" || fisher === "propagation") needed(fisher, key);
}

function needed(fisher: FisherKind, key: Key | undefined): Key {
  if (key !== undefined) return key;
  throw new ArgumentError(`Fisher "${fisher}" draws random numbers: pass a key.`);
}
