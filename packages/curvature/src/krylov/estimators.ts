/** Traces, diagonals and norms of operators from random vectors. */
import { ArgumentError, evaluate, eye, type Key, linalg, splitKeys, type Tensor, uniform } from "@thalweg/tensor";
import {
  applyMany,
  dimension,
  type LinearOperator,
  onVectors,
  transposed,
  unflattenTree,
} from "../operators/linear-operator";

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

/**
 * - `"hutchinson"`: the mean of zᵀ A z over random signs. Good where the off-diagonal is small.
 * - `"hutch++"`: the trace on the range of a sketch exactly, the rest by Hutchinson. Better for spectra that decay.
 * - `"xtrace"`: as Hutch++, with every vector used for sketch and rest by leaving one out at a time. Mostly the best for
 *   few products.
 */
export type TraceMethod = "hutchinson" | "hutch++" | "xtrace";

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
 * The trace, from `probes` products. For XTrace the samples that the standard error is made of are not independent: it is
 * a guide.
 *
 * @throws ArgumentError for fewer probes than the method needs: 1, 3 or 4.
 * @see Hutchinson, A stochastic estimator of the trace of the influence matrix (1989)
 * @see Meyer, Musco, Musco and Woodruff, Hutch++: optimal stochastic trace estimation (2021)
 * @see Epperly, Tropp and Webber, XTrace: making the most of every sample in stochastic trace estimation (2024)
 */
export async function estimateTrace<T>(
  operator: LinearOperator<T>,
  { key, probes = 32, method = "hutch++" }: ProbeOptions & { readonly method?: TraceMethod },
): Promise<Estimate> {
  const map = onVectors(operator);
  const n = dimension(operator.domain);
  if (method === "hutchinson") {
    checked("estimateTrace", probes, 1);
    const z = signs(key, probes, n);
    return summarize(await z.mul(applyMany(map, z)).sum({ axis: 1 }).data());
  }
  if (method === "xtrace") {
    checked("estimateTrace", probes, 4);
    return summarize(await exchangeableTraces(map, signs(key, Math.min(Math.floor(probes / 2), n), n)).data());
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

/** A sketch of an operator from m vectors, and the directions that leave one of them out. */
interface Sketch {
  /** `[n, m]`: an orthonormal basis of the products. */
  readonly q: Tensor;
  /** `[m, m]`: A Ω = Q R. */
  readonly r: Tensor;
  /** `[m, m]`: without vector i the basis is Q (I - s_i s_iᵀ), s_i column i. */
  readonly s: Tensor;
}

function sketch(products: Tensor): Sketch {
  const { q, r } = linalg.qr(products.transpose());
  const m = r.shape[0] as number;
  const diagonal = r.mul(eye(m)).sum({ axis: 1 });
  // Where products depend on each other, any direction outside of their span may be left out instead.
  const ridge = diagonal.max().mul(1e-6);
  const inverse = linalg.triangularSolve(r.add(eye(m).mul(ridge)), eye(m), { lower: false, transpose: true });
  return { q, r, s: inverse.div(inverse.square().sum({ axis: 0, keepDims: true }).sqrt()) };
}

/** The estimates of XTrace, one for each vector that is left out: `[m]`. @param omega `[m, n]`. */
function exchangeableTraces(map: LinearOperator<Tensor>, omega: Tensor): Tensor {
  const products = applyMany(map, omega);
  const { q, s } = sketch(products);
  const z = applyMany(map, q.transpose()).transpose();
  const h = q.transpose().matmul(z);
  const onBasis = h
    .mul(eye(h.shape[0] as number))
    .sum()
    .sub(s.mul(h.matmul(s)).sum({ axis: 0 }));
  const w = q.transpose().matmul(omega.transpose());
  const kept = w.sub(s.mul(s.mul(w).sum({ axis: 0, keepDims: true })));
  const rest = omega.transpose().sub(q.matmul(kept));
  return onBasis.add(rest.mul(products.transpose().sub(z.matmul(kept))).sum({ axis: 0 }));
}

/**
 * - `"hutchinson"`: the mean of z ⊙ A z over random signs. Off by about the off-diagonal part of a row over √probes.
 * - `"xdiag"`: the diagonal of A on the range of a sketch exactly, the rest by random signs, leaving one out at a time.
 *   Better for spectra that decay; half of the products are with Aᵀ.
 */
export type DiagonalMethod = "hutchinson" | "xdiag";

/** Element by element. */
export interface DiagonalEstimate<T> {
  readonly value: T;
  readonly standardError: T;
}

/**
 * The diagonal, from `probes` products. Trees like the domain; lazy.
 *
 * @throws ArgumentError for fewer probes than 2, or 4 for XDiag.
 * @see Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a matrix (2007)
 * @see Epperly, Tropp and Webber, XTrace: making the most of every sample in stochastic trace estimation (2024), section 4
 */
export function estimateDiagonal<T>(
  operator: LinearOperator<T>,
  { key, probes = 32, method = "hutchinson" }: ProbeOptions & { readonly method?: DiagonalMethod },
): DiagonalEstimate<T> {
  const map = onVectors(operator);
  const n = dimension(operator.domain);
  checked("estimateDiagonal", probes, method === "xdiag" ? 4 : 2);
  const samples =
    method === "xdiag"
      ? exchangeableDiagonals(map, signs(key, Math.min(Math.floor(probes / 2), n), n))
      : ((z: Tensor) => z.mul(applyMany(map, z)))(signs(key, probes, n));
  const count = samples.shape[0] as number;
  const value = samples.mean({ axis: 0 });
  const spread = samples
    .sub(value)
    .square()
    .sum({ axis: 0 })
    .div(Math.max(1, count - 1) * count);
  return {
    value: unflattenTree(value, operator.domain),
    standardError: unflattenTree(spread.sqrt(), operator.domain),
  };
}

/** The estimates of XDiag, one for each vector that is left out: `[m, n]`. @param omega `[m, n]`. */
function exchangeableDiagonals(map: LinearOperator<Tensor>, omega: Tensor): Tensor {
  const { q, r, s } = sketch(applyMany(map, omega));
  const z = applyMany(transposed(map), q.transpose()).transpose();
  const whole = q.mul(z).sum({ axis: 1, keepDims: true });
  const left = q.matmul(s);
  const remains = s.mul(r).sum({ axis: 0, keepDims: true });
  const own = left.mul(omega.transpose().mul(remains).sub(z.matmul(s)));
  return whole.add(own).transpose();
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
