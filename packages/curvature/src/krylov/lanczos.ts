/** Spectra of symmetric operators by Lanczos' method. */
import {
  ArgumentError,
  compile,
  full,
  type Key,
  NonFiniteError,
  normal,
  scalar,
  splitKeys,
  type Tensor,
} from "@thalweg/tensor";
import {
  dimension,
  flattenTree,
  type LinearOperator,
  onVectors,
  symmetricOperator,
  unflattenTree,
} from "../operators/linear-operator";
import { symmetricEigen } from "./symmetric-eigen";

export interface LanczosOptions<T> {
  /** Number of products. At most the dimension is used. */
  readonly steps: number;
  /** Where to begin; its length does not matter. */
  readonly start?: T;
  /** Draws the start, where none is given. */
  readonly key?: Key;
}

export interface LanczosResult<T> {
  /** Diagonal and side diagonal of the tridiagonal matrix. */
  readonly alpha: readonly number[];
  readonly beta: readonly number[];
  /** Its eigenvalues, ascending: approximations of the operator's, the outermost ones first. */
  readonly ritzValues: readonly number[];
  /** Squares of the first components of its eigenvectors: weights of the quadrature rule of the start. They add up to 1. */
  readonly weights: readonly number[];
  /** ‖A v - θ v‖ for each Ritz value θ with its vector v: some eigenvalue is this close to θ. */
  readonly residuals: readonly number[];
  /** An approximate eigenvector of length 1. @param index of a Ritz value. */
  ritzVector(index: number): T;
}

/** What a step starts from. (A type, so that it counts as a tree.) */
export type LanczosState = {
  /** The directions so far, `[steps, n]`; rows that are still to come are 0. */
  readonly basis: Tensor;
  readonly current: Tensor;
  readonly previous: Tensor;
  readonly beta: Tensor;
};

const dot = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum();

/** The state at a start, a vector `[n]` of any length but 0. */
export function beginLanczos(v: Tensor, steps: number): LanczosState {
  const shape = [steps, v.size];
  const current = v.div(dot(v, v).sqrt());
  const rows = full(shape, 0);
  return {
    basis: rows.iotaLike(0).equal(0).where(current.expand(shape), 0),
    current,
    previous: current.zerosLike(),
    beta: full([], 0),
  };
}

/** One step: the next state, and α and β of this one. @param index of the step: a scalar. */
export function continueLanczos(
  apply: (v: Tensor) => Tensor,
  { basis, current, previous, beta }: LanczosState,
  index: Tensor,
): readonly [state: LanczosState, alpha: Tensor, beta: Tensor] {
  const product = apply(current);
  const alpha = dot(product, current);
  let w = product.sub(current.mul(alpha)).sub(previous.mul(beta));
  for (let pass = 0; pass < 2; pass++) {
    w = w.sub(basis.dot(w, { contract: [[1], [0]] }).dot(basis, { contract: [[0], [0]] }));
  }
  const length = dot(w, w).sqrt();
  const next = w.div(length.greater(0).where(length, 1));
  const isOwn = basis.iotaLike(0).equal(index.cast("i32").add(1).expand(basis.shape));
  const state: LanczosState = {
    basis: isOwn.where(next.expand(basis.shape), basis),
    current: next,
    previous: current,
    beta: length,
  };
  return [state, alpha, length];
}

/**
 * Lanczos' method with full reorthogonalisation, twice: without it, f32 finds eigenvalues again and again. The basis
 * `[steps, n]` stays on the device, two numbers of each step are read at the end.
 *
 * It stops early where the start has no part in further directions.
 *
 * @throws ArgumentError without start and key; NonFiniteError if products are not finite.
 * @see Golub and Van Loan, Matrix computations (2013), section 10.1
 */
export async function lanczos<T>(operator: LinearOperator<T>, options: LanczosOptions<T>): Promise<LanczosResult<T>> {
  const { start, key } = options;
  const n = dimension(operator.domain);
  if (!Number.isInteger(options.steps) || options.steps < 1) {
    throw new ArgumentError(`lanczos: ${options.steps} steps. Give an integer of at least 1.`);
  }
  if (start === undefined && key === undefined) throw new ArgumentError("lanczos: give a start, or a key to draw one.");
  const steps = Math.min(options.steps, n);
  const map = onVectors(operator);
  const first = start === undefined ? normal(key as Key, [n]) : flattenTree(start);

  const begin = compile((v: Tensor) => beginLanczos(v, steps));
  const program = compile((state: LanczosState, index: Tensor) => continueLanczos(map.apply, state, index));
  let state = begin(first) as LanczosState;
  const numbers: (readonly [Tensor, Tensor])[] = [];
  for (let index = 0; index < steps; index++) {
    const [next, alpha, length] = program(state, scalar(index));
    state = next as LanczosState;
    numbers.push([alpha, length]);
  }
  const pairs = await Promise.all(numbers.map(([alpha, length]) => Promise.all([alpha.item(), length.item()])));
  if (!pairs.flat().every(Number.isFinite)) {
    throw new NonFiniteError(`lanczos: products of ${operator.name} are not finite. Check parameters and data.`);
  }
  const size = Math.max(...pairs.map(([alpha, length]) => Math.abs(alpha) + length));
  // What remains of a direction that is not there is rounding.
  const end = pairs.findIndex(([, length]) => length <= 1e-5 * size);
  const used = pairs.slice(0, end < 0 ? steps : end + 1);
  const alpha = used.map(([own]) => own);
  const beta = used.slice(0, -1).map(([, length]) => length);
  const { values, vectors } = symmetricEigen(tridiagonal(alpha, beta));
  const { basis } = state;
  const left = used.at(-1)?.[1] as number;
  return {
    alpha,
    beta,
    ritzValues: values,
    weights: vectors.map(([own]) => (own as number) ** 2),
    residuals: vectors.map((own) => left * Math.abs(own.at(-1) as number)),
    ritzVector(index) {
      const own = vectors[index];
      if (own === undefined) throw new ArgumentError(`lanczos: there is no Ritz value ${index} of ${values.length}.`);
      const vector = own
        .map((weight, row) =>
          basis
            .slice([row], [row + 1])
            .flatten()
            .mul(weight),
        )
        .reduce((sum, part) => sum.add(part));
      return unflattenTree(vector, operator.domain);
    },
  };
}

const tridiagonal = (alpha: readonly number[], beta: readonly number[]): number[][] =>
  alpha.map((own, row) =>
    alpha.map((_, column) => {
      if (row === column) return own;
      return Math.abs(row - column) === 1 ? (beta[Math.min(row, column)] as number) : 0;
    }),
  );

/** An eigenvalue with its vector of length 1. */
export interface Eigenpair<T> {
  readonly value: number;
  readonly vector: T;
  /** ‖A v - λ v‖: some eigenvalue of A is this close to λ. */
  readonly residual: number;
}

/** The k eigenpairs of largest magnitude, by Lanczos' method with some more steps; see their residuals. */
export async function topEigenpairs<T>(
  operator: LinearOperator<T>,
  { count, steps = 2 * count + 20, key }: { readonly count: number; readonly steps?: number; readonly key: Key },
): Promise<readonly Eigenpair<T>[]> {
  const { ritzValues, ritzVector, residuals } = await lanczos(operator, { steps, key });
  return ritzValues
    .map((value, index) => ({ value, index }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, count)
    .map(({ value, index }) => ({ value, vector: ritzVector(index), residual: residuals[index] as number }));
}

/**
 * A - Σ λ v vᵀ: the operator without some of its eigenpairs, whose eigenvalues become 0. Takes the outliers out of a
 * spectrum before its density is estimated.
 *
 * @param pairs Eigenpairs with vectors of length 1, as {@link topEigenpairs} finds them.
 */
export function deflated<T>(operator: LinearOperator<T>, pairs: readonly Eigenpair<T>[]): LinearOperator<T> {
  const vectors = pairs.map(({ value, vector }) => ({ value, vector: flattenTree(vector) }));
  return symmetricOperator(`${operator.name} without ${pairs.length} eigenpairs`, operator.domain, (v) => {
    const own = flattenTree(v);
    const product = flattenTree(operator.apply(v));
    const rest = vectors.reduce(
      (left, { value, vector }) => left.sub(vector.mul(dot(vector, own).mul(value))),
      product,
    );
    return unflattenTree(rest, operator.domain);
  });
}

export interface DensityOptions {
  /** Random starts. Default 4. */
  readonly probes?: number;
  /** Products for each. Default 40. */
  readonly steps?: number;
  readonly key: Key;
  /** Points of the result. Default 256. */
  readonly points?: number;
  /** Width of the kernel as a share of the range of the spectrum. Default 0.03. */
  readonly width?: number;
  /** Added to the range on both sides, as a share of it. Default 0.05. */
  readonly margin?: number;
  /**
   * `"logarithm"`: the density of log(|λ| + ε), which shows a bulk that spans many orders of magnitude; grid and kernel are on
   * that scale. Default `"linear"`.
   */
  readonly scale?: "linear" | "logarithm";
  /** ε, for the logarithm. Default 1e-6: f32 knows no smaller eigenvalues of an operator of norm 1. */
  readonly epsilon?: number;
}

export interface SpectralDensity {
  /** Eigenvalues, or log(|λ| + ε). */
  readonly grid: readonly number[];
  /** Integrates to 1, so far as the grid reaches. */
  readonly density: readonly number[];
}

/**
 * The density of eigenvalues by stochastic Lanczos quadrature: Gaussian kernels at Ritz values, averaged over random starts.
 *
 * @throws ArgumentError for a number of probes or points below 1 or 2.
 * @see Ghorbani, Krishnan and Xiao, An investigation into neural net optimization via Hessian eigenvalue density (2019)
 * @see Papyan, Traces of class/cross-class structure pervade deep learning spectra (2020), for the logarithm
 */
export async function spectralDensity<T>(
  operator: LinearOperator<T>,
  options: DensityOptions,
): Promise<SpectralDensity> {
  const { probes = 4, steps = 40, key, points = 256, width = 0.03, margin = 0.05 } = options;
  const { scale = "linear", epsilon = 1e-6 } = options;
  if (!Number.isInteger(probes) || probes < 1 || !Number.isInteger(points) || points < 2) {
    throw new ArgumentError(
      `spectralDensity: ${probes} probes and ${points} points. Give integers of at least 1 and 2.`,
    );
  }
  const place = (value: number): number => (scale === "linear" ? value : Math.log(Math.abs(value) + epsilon));
  const runs = [];
  for (const own of splitKeys(key, probes)) runs.push(await lanczos(operator, { steps, key: own }));
  const nodes = runs.flatMap(({ ritzValues, weights }) =>
    ritzValues.map((value, index) => ({ value: place(value), weight: (weights[index] as number) / probes })),
  );
  const [low, high] = [Math.min(...nodes.map(({ value }) => value)), Math.max(...nodes.map(({ value }) => value))];
  const range = high - low || Math.abs(high) || 1;
  const grid = Array.from(
    { length: points },
    (_, index) => low - margin * range + ((1 + 2 * margin) * range * index) / (points - 1),
  );
  return { grid, density: gaussianMixture(nodes, width * range, grid) };
}

/** Σ weight · N(x; value, σ²) at the points of a grid. */
export function gaussianMixture(
  nodes: readonly { readonly value: number; readonly weight: number }[],
  sigma: number,
  grid: readonly number[],
): number[] {
  const scale = 1 / (sigma * Math.sqrt(2 * Math.PI));
  return grid.map((x) =>
    nodes.reduce((sum, { value, weight }) => sum + weight * scale * Math.exp(-0.5 * ((x - value) / sigma) ** 2), 0),
  );
}
