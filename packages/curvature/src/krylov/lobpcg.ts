/** Outermost eigenpairs of symmetric operators by LOBPCG: a block of vectors that share their search directions. */
import { vmap } from "@thalweg/autograd";
import {
  ArgumentError,
  compile,
  concat,
  type Key,
  linalg,
  NonFiniteError,
  normal,
  scalar,
  type Tensor,
  tensor,
} from "@thalweg/tensor";
import {
  applyMany,
  dimension,
  flattenTree,
  type LinearOperator,
  onVectors,
  unflattenTree,
} from "../operators/linear-operator";
import { iterationsPerChunk } from "./conjugate-gradient";
import type { Eigenpair } from "./lanczos";

export interface LobpcgOptions<T> {
  /** How many eigenpairs are wanted. */
  readonly count: number;
  /** Which end of the spectrum, by sign and not by magnitude. Default `"largest"`. */
  readonly which?: "largest" | "smallest";
  /** Draws where the block begins, and what stands in for directions that are zero. */
  readonly key: Key;
  /** Vectors to begin with, trees with one more axis in front, of any number up to the block: those of a matrix nearby. */
  readonly start?: T;
  /** A pair has converged where ‖A v - λ v‖ is this small relative to the largest |λ| seen. Default 1e-4; some 1e-5 is what f32 can do. */
  readonly tolerance?: number;
  /** Default 200. */
  readonly maxIterations?: number;
  /**
   * Vectors that iterate together: those beyond `count` speed up the last ones wanted. Default: a quarter of `count` more, at
   * least two, as far as three blocks fit into the dimension.
   */
  readonly blockSize?: number;
  /** Approximates the inverse of A (or, for the largest ones, of a shift minus A); symmetric and positive definite. Default: nothing. */
  readonly preconditioner?: (v: T) => T;
}

export interface LobpcgResult<T> {
  /** The wanted ones, the outermost first. Residuals are those of products with the vectors as they are. */
  readonly pairs: readonly (Eigenpair<T> & { readonly isConverged: boolean })[];
  readonly reason: "converged" | "maxIterations";
  readonly iterations: number;
  /** Products of the operator with one vector. */
  readonly products: number;
  /** Residuals of the wanted pairs relative to the largest |λ| seen: at the start, and after every eight iterations. */
  readonly relativeResiduals: readonly (readonly number[])[];
}

/** Rows are orthonormal, all together. (A type, so that it counts as a tree.) */
type BlockState = {
  /** Approximate eigenvectors `[k, n]`, the outermost first. */
  readonly x: Tensor;
  /** The directions in which those that have not converged moved last, `[a, n]`. */
  readonly p: Tensor;
  readonly ax: Tensor;
  readonly ap: Tensor;
  /** The largest magnitude of a Ritz value so far: what ‖A‖ is at least. */
  readonly extent: Tensor;
};

const column = (x: Tensor): Tensor => x.expandDims(1);
const dots = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum({ axis: 1 });
const orthonormal = (rows: Tensor): Tensor => linalg.qr(rows.transpose()).q.transpose();

/** Rows of length 1; those of length 0 are replaced. */
function unitRows(rows: Tensor, spare: Tensor): Tensor {
  const length = dots(rows, rows).sqrt();
  const isThere = column(length.greater(0));
  return isThere.where(rows.div(column(length.greater(0).where(length, 1))), spare);
}

const residualsOf = ({ x, ax }: Pick<BlockState, "x" | "ax">): Tensor => ax.sub(x.mul(column(dots(x, ax))));

/** The first k rows are the vectors, the others the directions. */
function blockOf(rows: Tensor, products: Tensor, k: number, extent: Tensor): BlockState {
  const [count, n] = rows.shape as [number, number];
  const vectors = (all: Tensor): Tensor => all.slice([0, 0], [k, n]);
  const directions = (all: Tensor): Tensor => all.slice([k, 0], [count, n]);
  return { x: vectors(rows), p: directions(rows), ax: vectors(products), ap: directions(products), extent };
}

/** The state at rows that are made orthonormal and multiplied anew: what rounding left of the iterations before is gone. */
function beginBlock(map: LinearOperator<Tensor>, rows: Tensor, k: number, extent: Tensor): BlockState {
  const basis = orthonormal(rows);
  return blockOf(basis, applyMany(map, basis), k, extent);
}

/**
 * One iteration: the Ritz vectors of the span of x, p and the residuals of the active rows, with directions that are
 * orthogonal to them (Hetmaniuk and Lehoucq's basis, without which the method is not stable).
 *
 * @param active rows of x: i32 `[a]`.
 * @param spare random rows `[a, n]`.
 */
function continueBlock(
  map: LinearOperator<Tensor>,
  smooth: (w: Tensor) => Tensor,
  which: "largest" | "smallest",
  state: BlockState,
  active: Tensor,
  spare: Tensor,
): BlockState {
  const { x, p, ax, ap, extent } = state;
  const [k, a] = [x.shape[0] as number, active.size];
  const known = concat([x, p], { axis: 0 });
  const outside = (w: Tensor): Tensor => w.sub(w.matmul(known.transpose()).matmul(known));
  const searched = unitRows(smooth(residualsOf(state).gather(active, { axis: 0 })), spare);
  // Twice, since the first projection may leave little but rounding.
  const w = orthonormal(outside(orthonormal(outside(searched))));
  const s = concat([known, w], { axis: 0 });
  const as = concat([ax, ap, applyMany(map, w)], { axis: 0 });
  const gram = s.matmul(as.transpose());
  const { values, vectors } = linalg.eigh(gram.add(gram.transpose()).mul(0.5));
  const m = s.shape[0] as number;
  const ritz = (which === "largest" ? vectors.flip(1) : vectors).slice([0, 0], [m, k]);
  // What of the new vectors is not in the old ones. A vector that has not moved searches along its residual.
  const moved = ritz.iotaLike(0).less(k).where(0, ritz).gather(active, { axis: 1 });
  const own = moved.iotaLike(0).equal(moved.iotaLike(1).add(m - a));
  const directions = unitRows(moved.transpose(), own.cast("f32").transpose());
  const coefficients = orthonormal(concat([ritz.transpose(), directions], { axis: 0 }));
  return blockOf(coefficients.matmul(s), coefficients.matmul(as), k, extent.maximum(values.abs().max()));
}

/**
 * The outermost eigenpairs of a symmetric operator by the locally optimal block preconditioned conjugate gradient method.
 *
 * Beside {@link topEigenpairs}: it finds eigenvalues as often as they occur, iterates until each wanted pair has converged and
 * says which has, begins at known vectors, takes a preconditioner, and keeps three blocks of vectors where Lanczos' method keeps
 * all of its steps. For a few well-separated pairs Lanczos' method needs fewer products.
 *
 * Pairs that have converged stay in the block and no longer search (soft locking), so that the others cost less. Vectors stay on
 * the device; every eight iterations they are made orthonormal and multiplied anew, and their residuals are read.
 *
 * @throws ArgumentError for a count or a block that does not fit; NonFiniteError if products are not finite.
 * @see Knyazev, Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate gradient
 *   method (2001)
 * @see Hetmaniuk and Lehoucq, Basis selection in LOBPCG (2006)
 */
export async function lobpcg<T>(operator: LinearOperator<T>, options: LobpcgOptions<T>): Promise<LobpcgResult<T>> {
  const { count, which = "largest", key, start, tolerance = 1e-4, maxIterations = 200, preconditioner } = options;
  const n = dimension(operator.domain);
  const k = checkedBlock(options, n);
  const map = onVectors(operator);
  const smooth =
    preconditioner === undefined
      ? (w: Tensor) => w
      : vmap((w: Tensor) => flattenTree(preconditioner(unflattenTree(w, operator.domain))));
  const begin = compile((rows: Tensor, extent: Tensor) => {
    const state = beginBlock(map, rows, k, extent);
    const residual = residualsOf(state);
    return { state, values: dots(state.x, state.ax), residuals: dots(residual, residual).sqrt() };
  });
  const step = compile((state: BlockState, active: Tensor, spare: Tensor) =>
    continueBlock(map, smooth, which, state, active, spare),
  );

  const drawn = normal(key, [2 * k, n]);
  const given = start === undefined ? [] : [flattenTree(start, 1)];
  const seen = given[0]?.shape[0] ?? 0;
  let found = begin(concat([...given, drawn.slice([seen, 0], [2 * k, n])], { axis: 0 }), scalar(0));
  let active: readonly number[] = Array.from({ length: k }, (_, index) => index);
  let [products, iterations] = [2 * k, 0];
  const relativeResiduals: number[][] = [];
  for (;;) {
    const [values, residuals, extent] = await Promise.all([
      found.values.data(),
      found.residuals.data(),
      found.state.extent.item(),
    ]);
    const all = Array.from(values, (value, index) => ({ index, value, residual: residuals[index] as number }));
    if (!all.every(({ value, residual }) => Number.isFinite(value + residual))) {
      throw new NonFiniteError(`lobpcg: products of ${operator.name} are not finite. Check parameters and data.`);
    }
    const largest = Math.max(extent, ...all.map(({ value }) => Math.abs(value)));
    const judged = all
      .map((own) => ({ ...own, isConverged: own.residual <= tolerance * largest }))
      .sort((one, other) => (which === "largest" ? other.value - one.value : one.value - other.value));
    const wanted = judged.slice(0, count);
    relativeResiduals.push(wanted.map(({ residual }) => (largest === 0 ? 0 : residual / largest)));
    const isDone = wanted.every(({ isConverged }) => isConverged);
    if (isDone || iterations >= maxIterations) {
      begin.dispose();
      step.dispose();
      const { x } = found.state as BlockState;
      const vectorAt = (index: number): T =>
        unflattenTree(x.slice([index, 0], [index + 1, n]).flatten(), operator.domain);
      return {
        pairs: wanted.map(({ index, ...own }) => ({ ...own, vector: vectorAt(index) })),
        reason: isDone ? "converged" : "maxIterations",
        iterations,
        products,
        relativeResiduals,
      };
    }
    const next = searchingRows(judged, k);
    let state = found.state as BlockState;
    if (next.length < active.length) state = withDirections(state, placesOf(next, active));
    active = next;
    const rows = tensor(Int32Array.from(active));
    const spare = drawn.slice([0, 0], [active.length, n]);
    for (let index = 0; index < iterationsPerChunk && iterations < maxIterations; index++, iterations++) {
      state = step(state, rows, spare) as BlockState;
      products += active.length;
    }
    found = begin(concat([state.x, state.p], { axis: 0 }), state.extent);
    products += k + active.length;
  }
}

/** The rows that have not converged, and some others: sizes are halves of the block, so that few programs are compiled. */
function searchingRows(
  judged: readonly { readonly index: number; readonly isConverged: boolean }[],
  k: number,
): readonly number[] {
  const rows = [...judged].sort((one, other) => Number(one.isConverged) - Number(other.isConverged));
  const searching = rows.filter(({ isConverged }) => !isConverged).length;
  let size = k;
  while (Math.ceil(size / 2) >= Math.max(searching, leastSearching)) size = Math.ceil(size / 2);
  return rows.slice(0, size).map(({ index }) => index);
}

/** Fewer directions are not worth a program of their own. */
const leastSearching = 4;

/** Where the rows were among those before; whatever is left for rows that are new. */
function placesOf(rows: readonly number[], before: readonly number[]): readonly number[] {
  const known = rows.map((row) => before.indexOf(row)).filter((place) => place >= 0);
  const others = before.map((_, place) => place).filter((place) => !known.includes(place));
  return [...known, ...others].slice(0, rows.length);
}

/** The state with some of its directions. */
function withDirections(state: BlockState, places: readonly number[]): BlockState {
  const at = tensor(Int32Array.from(places));
  return { ...state, p: state.p.gather(at, { axis: 0 }), ap: state.ap.gather(at, { axis: 0 }) };
}

/** Vectors in the block. @throws ArgumentError unless three blocks, and what the block begins with, fit. */
function checkedBlock<T>({ count, start, tolerance = 1e-4, ...options }: LobpcgOptions<T>, n: number): number {
  const most = Math.floor(n / 3);
  const { blockSize = Math.min(most, count + Math.max(2, Math.ceil(count / 4))) } = options;
  if (!Number.isInteger(count) || count < 1 || count > most) {
    throw new ArgumentError(
      `lobpcg: ${count} eigenpairs in ${n} dimensions. Give an integer from 1 to a third of them, ${most}; toDense, or ` +
        "topEigenpairs, is for more.",
    );
  }
  if (!Number.isInteger(blockSize) || blockSize < count || blockSize > most) {
    throw new ArgumentError(`lobpcg: blockSize ${blockSize}. Give an integer from count, ${count}, to ${most}.`);
  }
  if (!(tolerance > 0)) throw new ArgumentError(`lobpcg: tolerance ${tolerance}. Give a positive number.`);
  const given = start === undefined ? 0 : (flattenTree(start, 1).shape[0] as number);
  if (given > blockSize) {
    throw new ArgumentError(
      `lobpcg: ${given} vectors to start with, the block has ${blockSize}. Give as many at most.`,
    );
  }
  return blockSize;
}
