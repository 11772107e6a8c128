/** Checks that a model and an operator are what curvature takes them for. */
import { vmap } from "@thalweg/autograd";
import { ArgumentError, evaluate, type Key, normal, splitKeys, type Tensor } from "@thalweg/tensor";
import { type Batch, batchSize, type CurvatureProblem, exampleOutputs } from "../problem";
import { dimension, type LinearOperator, onVectors } from "./linear-operator";

export interface CheckOptions {
  /** Largest difference, relative to what is compared. Default 1e-4. */
  readonly tolerance?: number;
}

const norm = (x: Tensor): Tensor => x.square().sum().sqrt();

/** Are two numbers the same up to rounding? Numbers that are none are not. */
const isClose = (difference: number, size: number, tolerance: number): boolean => difference <= tolerance * size;

/**
 * Multiplies the same vector twice, and for symmetric operators compares uᵀ A v with vᵀ A u.
 *
 * @throws ArgumentError if products differ: the model draws new random numbers (dropout) or changes a state on every call,
 *   so that there is no one matrix; or if they are not finite.
 */
export async function checkOperator<T>(
  operator: LinearOperator<T>,
  { key, tolerance = 1e-4 }: CheckOptions & { readonly key: Key },
): Promise<void> {
  const map = onVectors(operator);
  const n = dimension(operator.domain);
  const [u, v] = splitKeys(key).map((own) => normal(own, [n])) as [Tensor, Tensor];
  const [first, second, other] = [map.apply(v), map.apply(v), map.apply(u)];
  const parts = [
    norm(first.sub(second)),
    norm(first),
    u.mul(first).sum().sub(v.mul(other).sum()).abs(),
    norm(u)
      .mul(norm(first))
      .add(norm(v).mul(norm(other))),
  ];
  await evaluate(parts);
  const [difference, size, skew, scale] = (await Promise.all(parts.map((part) => part.item()))) as [
    number,
    number,
    number,
    number,
  ];
  if (!Number.isFinite(size)) {
    throw new ArgumentError(`checkOperator: products of ${operator.name} are not finite. Check parameters and data.`);
  }
  if (!isClose(difference, size, tolerance)) {
    throw new ArgumentError(
      `checkOperator: two products of ${operator.name} with one vector differ by ${difference} of ${size}. The model is not ` +
        "deterministic: hand dropout a fixed key, or switch it off.",
    );
  }
  if (!isClose(skew, scale, tolerance)) {
    throw new ArgumentError(
      `checkOperator: ${operator.name} is not symmetric: uᵀ A v and vᵀ A u differ by ${skew}, of at most ${scale}.`,
    );
  }
}

/**
 * Runs the model twice on a batch and once on every example of it.
 *
 * @throws ArgumentError if outputs differ: the model is not deterministic, or examples depend on each other, as by batch norm in
 *   training mode, so that per-sample quantities and Kronecker factors of it mean nothing.
 */
export async function checkProblem<P, X>(
  problem: CurvatureProblem<P, X>,
  params: P,
  batch: Batch<X>,
  { tolerance = 1e-4 }: CheckOptions = {},
): Promise<void> {
  batchSize("checkProblem", batch);
  const [first, second] = [problem.model(params, batch.inputs), problem.model(params, batch.inputs)];
  const single = vmap((example: X) => exampleOutputs(problem, params, example))(batch.inputs);
  const parts = [norm(first.sub(second)), norm(first.sub(single.reshape(first.shape))), norm(first)];
  await evaluate(parts);
  const [repeated, alone, size] = (await Promise.all(parts.map((part) => part.item()))) as [number, number, number];
  if (!Number.isFinite(size)) {
    throw new ArgumentError("checkProblem: outputs of the model are not finite. Check parameters and data.");
  }
  if (!isClose(repeated, size, tolerance)) {
    throw new ArgumentError(
      `checkProblem: two runs of the model differ by ${repeated} of ${size}. It is not deterministic: hand dropout a fixed key, or ` +
        "switch it off.",
    );
  }
  if (!isClose(alone, size, tolerance)) {
    throw new ArgumentError(
      `checkProblem: outputs of single examples differ from those of the batch by ${alone} of ${size}. Examples depend on each ` +
        "other: let batch norm use its running statistics.",
    );
  }
}
