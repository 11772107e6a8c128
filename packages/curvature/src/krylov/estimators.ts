/** Traces, diagonals and norms of operators from random vectors. */
import { ArgumentError, evaluate, type Key, linalg, splitKeys, type Tensor, uniform } from "@thalweg/tensor";
import { applyMany, dimension, type LinearOperator, onVectors, unflattenTree } from "../operators/linear-operator";

/** A number with its standard error. */
export interface Estimate {
  readonly value: number;
  readonly standardError: number;
}

export interface ProbeOptions {
  readonly key: Key;
  /** Products with the operator. Default 32. */
  readonly probes?: number;
}

/** Random signs `[count, n]`. */
const signs = (key: Key, count: number, n: number): Tensor =>
  uniform(key, [count, n]).less(0.5).cast("f32").mul(2).sub(1);

function checked(operation: string, probes: number, least: number): void {
  if (Number.isInteger(probes) && probes >= least) return;
  throw new ArgumentError(`${operation}: ${probes} probes. Give an integer of at least ${least}.`);
}

/** Mean and standard error of independent samples. */
function summarize(samples: ArrayLike<number>): Estimate {
  const list = Array.from(samples);
  const value = list.reduce((sum, own) => sum + own, 0) / list.length;
  const variance = list.reduce((sum, own) => sum + (own - value) ** 2, 0) / Math.max(1, list.length - 1);
  return { value, standardError: Math.sqrt(variance / list.length) };
}

/**
 * The trace: Hutchinson's mean of zᵀ A z over random signs, or Hutch++, which takes the trace on the range of a sketch
 * exactly and estimates the rest: better for spectra that decay.
 *
 * @see Hutchinson, A stochastic estimator of the trace of the influence matrix (1989)
 * @see Meyer, Musco, Musco and Woodruff, Hutch++: optimal stochastic trace estimation (2021)
 */
export async function estimateTrace<T>(
  operator: LinearOperator<T>,
  { key, probes = 32, method = "hutch++" }: ProbeOptions & { readonly method?: "hutchinson" | "hutch++" },
): Promise<Estimate> {
  const map = onVectors(operator);
  const n = dimension(operator.domain);
  if (method === "hutchinson") {
    checked("estimateTrace", probes, 1);
    const z = signs(key, probes, n);
    return summarize(await z.mul(applyMany(map, z)).sum({ axis: 1 }).data());
  }
  checked("estimateTrace", probes, 3);
  const third = Math.min(Math.floor(probes / 3), n);
  const [first, second] = splitKeys(key) as [Key, Key];
  const { q } = linalg.qr(applyMany(map, signs(first, third, n)).transpose());
  const basis = q.transpose();
  const exact = basis.mul(applyMany(map, basis)).sum();
  const z = signs(second, third, n);
  const rest = z.sub(z.matmul(q).matmul(basis));
  const samples = rest.mul(applyMany(map, rest)).sum({ axis: 1 });
  await evaluate([exact, samples]);
  const { value, standardError } = summarize(await samples.data());
  return { value: value + (await exact.item()), standardError };
}

/** The diagonal: the mean of z ⊙ A z over random signs. A tree like the domain; lazy. */
export function estimateDiagonal<T>(operator: LinearOperator<T>, { key, probes = 32 }: ProbeOptions): T {
  checked("estimateDiagonal", probes, 1);
  const z = signs(key, probes, dimension(operator.domain));
  return unflattenTree(z.mul(applyMany(onVectors(operator), z)).mean({ axis: 0 }), operator.domain);
}

/** The Frobenius norm, from the mean of ‖A z‖² over random signs. */
export async function estimateFrobenius<In, Out>(
  operator: LinearOperator<In, Out>,
  { key, probes = 32 }: ProbeOptions,
): Promise<Estimate> {
  checked("estimateFrobenius", probes, 1);
  const products = applyMany(onVectors(operator), signs(key, probes, dimension(operator.domain)));
  const { value, standardError } = summarize(await products.square().sum({ axis: 1 }).data());
  const norm = Math.sqrt(value);
  return { value: norm, standardError: norm === 0 ? 0 : standardError / (2 * norm) };
}
