/** Inverses as power series. */
import { ArgumentError, type Key, NonFiniteError, scan, type Tensor, treeMap } from "@thalweg/tensor";
import { flattenTree, type LinearOperator, onVectors, unflattenTree } from "../operators/linear-operator";
import { lanczos } from "./lanczos";

export interface NeumannOptions {
  /** α, below 2 / the largest eigenvalue. */
  readonly scale: number;
  /** The highest power k. Default 50. */
  readonly terms?: number;
}

/**
 * α Σ_k (I - α A)ᵏ b, k from 0, which tends to A⁻¹ b for symmetric positive definite A. Lazy: terms are products one after
 * another, and nothing is checked; see {@link neumannSolve}.
 *
 * @throws ArgumentError for a scale that is not positive.
 */
export function neumannInverse<T>(operator: LinearOperator<T>, b: T, { scale, terms = 50 }: NeumannOptions): T {
  if (!(scale > 0) || !Number.isInteger(terms) || terms < 1) {
    throw new ArgumentError(
      `neumannInverse: scale ${scale} and ${terms} terms. Give a positive scale and at least 1 term.`,
    );
  }
  const map = onVectors(operator);
  const first = flattenTree(b);
  const [last] = scan(
    ({ term, sum }: { readonly term: Tensor; readonly sum: Tensor }) => {
      const next = term.sub(map.apply(term).mul(scale));
      return [{ term: next, sum: sum.add(next) }, null];
    },
    { term: first, sum: first },
    null,
    { length: terms },
  );
  return unflattenTree(last.sum.mul(scale), operator.domain);
}

export interface NeumannSolveOptions {
  /** Default: 1 / the largest eigenvalue, by ten steps of Lanczos' method from `key`. */
  readonly scale?: number;
  readonly key?: Key;
  /** Default 50. */
  readonly terms?: number;
}

export interface NeumannResult<T> {
  readonly solution: T;
  readonly scale: number;
  /** ‖b - A x‖ / ‖b‖: what the terms left out. */
  readonly relativeResidual: number;
}

/**
 * {@link neumannInverse} with a scale found where none is given, and checked.
 *
 * @throws ArgumentError without scale and key; NonFiniteError if the series is not finite or has grown: α is above
 *   2 / the largest eigenvalue, or the operator has negative eigenvalues.
 */
export async function neumannSolve<T>(
  operator: LinearOperator<T>,
  b: T,
  { scale: given, key, terms = 50 }: NeumannSolveOptions,
): Promise<NeumannResult<T>> {
  if (given === undefined && key === undefined) {
    throw new ArgumentError("neumannSolve: give a scale, or a key with which to find one.");
  }
  const scale = given ?? 1 / (await largestMagnitude(operator, key as Key));
  const solution = neumannInverse(operator, b, { scale, terms });
  const residual = flattenTree(treeMap((x: Tensor, y: Tensor) => x.sub(y), b, operator.apply(solution)));
  const right = flattenTree(b);
  const [left, size] = await Promise.all([residual, right].map((v) => v.square().sum().sqrt().item()));
  const relativeResidual = size === 0 ? 0 : (left as number) / (size as number);
  if (!Number.isFinite(relativeResidual) || relativeResidual > 1) {
    throw new NonFiniteError(
      `neumannSolve of ${operator.name}: after ${terms} terms the residual is ${relativeResidual} of the right side. Take a ` +
        `scale below ${scale}, or shift the operator so that it is positive definite.`,
    );
  }
  return { solution, scale, relativeResidual };
}

async function largestMagnitude<T>(operator: LinearOperator<T>, key: Key): Promise<number> {
  const { ritzValues } = await lanczos(operator, { steps: 10, key });
  return Math.max(...ritzValues.map(Math.abs));
}
