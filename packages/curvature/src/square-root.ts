/** Square roots of the Gauss-Newton matrix: gradients of vectors that stand for the Hessian of the loss. */
import { vjp, vmap } from "@thalweg/autograd";
import { split, type Tensor, treeMap } from "@thalweg/tensor";
import type { Draws } from "./kronecker/statistics";
import { type FisherKind, outputVectors } from "./kronecker/vectors";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs, exampleTargets } from "./problem";

export interface SquareRootOptions extends Draws {
  /** Default `"type2"`: exact. */
  readonly fisher?: Exclude<FisherKind, "forward">;
  /** Random vectors per example, for `"mc"` and `"propagation"`. Default 1. */
  readonly count?: number;
}

/**
 * V with Σ_n Σ_k v_nk v_nkᵀ the Gauss-Newton matrix of Σ_n Σ_m ℓ, without ρ: a tree of `[N, K, …parameter]`.
 *
 * For type 2, K is the number of outputs of an example. Write reductions of it directly: where one follows, the compiler
 * need not store the root itself.
 */
export function ggnSquareRoot<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  { fisher = "type2", count = 1, key, targets }: SquareRootOptions = {},
): P {
  const examples = batchSize("ggnSquareRoot", batch);
  const keys = key === undefined ? null : split(key, examples);
  const one = (example: X, target: Tensor, own: Tensor | null, drawn: Tensor | null): P => {
    const [outputs, pull] = vjp((at: P) => exampleOutputs(problem, at, example), params);
    const wanted = exampleTargets(problem.loss, outputs, target);
    const random = { key: own ?? undefined, targets: drawn ?? undefined };
    const vectors = outputVectors(problem.loss, outputs, wanted, { fisher, draws: count }, random);
    return vmap((vector: Tensor) => pull(vector)[0])(vectors);
  };
  return vmap(one, { in: [0, 0, keys === null ? null : 0, targets === undefined ? null : 1] })(
    batch.inputs,
    batch.targets,
    keys,
    targets ?? null,
  );
}

/** The diagonal of the Gauss-Newton matrix of each example's Σ_m ℓ: a tree of `[N, …parameter]`. */
export function perSampleGgnDiagonal<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: SquareRootOptions = {},
): P {
  return treeMap((v: Tensor) => v.square().sum({ axis: 1 }), ggnSquareRoot(problem, params, batch, options)) as P;
}

/** The diagonal of the Gauss-Newton matrix of Σ_n Σ_m ℓ, without ρ: a tree like the parameters. */
export function ggnDiagonal<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  options: SquareRootOptions = {},
): P {
  return treeMap((v: Tensor) => v.square().sum({ axis: [0, 1] }), ggnSquareRoot(problem, params, batch, options)) as P;
}
