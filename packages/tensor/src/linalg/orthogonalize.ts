import { formatShape, ShapeError } from "../errors";
import { scan } from "../loops/scan";
import type { Tensor } from "../tensor";

type Coefficients = readonly [number, number, number];

/** Drives singular values quickly into [0.68, 1.13], and not to 1. */
const muon: Coefficients = [3.4445, -4.775, 2.0315];
/** Converges to 1 from (0, √(7/3)), in the end cubically. */
const convergent: Coefficients = [15 / 8, -10 / 8, 3 / 8];

/** a X + (b A + c A²) X with A = X Xᵀ. */
function step(x: Tensor, [a, b, c]: Coefficients): Tensor {
  const gram = x.matmul(x.transpose());
  return x.mul(a).add(gram.mul(b).add(gram.matmul(gram).mul(c)).matmul(x));
}

/** Coefficients, and how many steps are made with them. */
type Phase = readonly [Coefficients, number];

function iterate(operation: string, x: Tensor, epsilon: number, plan: readonly Phase[]): Tensor {
  if (x.rank < 2) throw new ShapeError(`${operation}: ${formatShape(x.shape)} is no matrix.`);
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const wide = rows > columns ? x.transpose() : x;
  // Of two divisions the first one keeps the squares from over- and underflowing.
  const largest = wide.abs().max({ axis: [-2, -1], keepDims: true });
  const scaled = wide.div(largest.greater(0).where(largest, 1));
  const length = scaled
    .square()
    .sum({ axis: [-2, -1], keepDims: true })
    .sqrt();
  const result = plan.reduce(
    (start, [coefficients, steps]) => {
      const [last] = scan((own: Tensor) => [step(own, coefficients), null] as const, start, null, { length: steps });
      return last;
    },
    scaled.div(length.add(epsilon)),
  );
  return rows > columns ? result.transpose() : result;
}

export interface NewtonSchulzOptions {
  /** Default 5, as in Muon: singular values above 0.01 of the Frobenius norm land in [0.68, 1.13]. */
  readonly steps?: number;
  /** Added to the norm of the matrix after its largest element was scaled to 1. Default 1e-7. */
  readonly epsilon?: number;
}

/**
 * U Vᵀ of the singular value decomposition of `[…, m, n]`, roughly: the orthogonalisation of Muon, whose singular values
 * are near 1 but by design not at 1. A matrix of zeros gives zeros.
 *
 * @see Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024)
 */
export const newtonSchulz = (x: Tensor, { steps = 5, epsilon = 1e-7 }: NewtonSchulzOptions = {}): Tensor =>
  iterate("newtonSchulz", x, epsilon, [[muon, steps]]);

export interface OrthogonalizeOptions {
  /** Quick steps before the last four. Each multiplies small singular values by 3.4. Default 9: from 1e-5 on. */
  readonly steps?: number;
}

/**
 * The orthogonal polar factor U Vᵀ of `[…, m, n]`: rows or columns, whichever are fewer, become orthonormal.
 *
 * By products only: quick steps of {@link newtonSchulz}, then four that converge. |QᵀQ - I| is at most about n · 2^-22 for
 * condition up to 1e4. Singular values below 1e-5 of the Frobenius norm do not reach 1, and zero stays zero; a polar
 * factor of such a matrix has no digits in f32.
 *
 * @see Björck and Bowie, An iterative algorithm for computing the best estimate of an orthogonal matrix (1971)
 */
export const orthogonalize = (x: Tensor, { steps = 9 }: OrthogonalizeOptions = {}): Tensor =>
  iterate("orthogonalize", x, 2 ** -100, [
    [muon, steps],
    [convergent, 4],
  ]);
