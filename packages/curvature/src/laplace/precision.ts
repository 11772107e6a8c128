/** Precisions of Laplace posteriors in the structures that they come in: what evidence and prediction ask of them. */
import { vmap } from "@thalweg/autograd";
import { concat, eye, type Key, linalg, normal, type Shape, sizeOf, splitKeys, type Tensor } from "@thalweg/tensor";
import { atLeast } from "../clipping";
import type { HeadLayer } from "./head";

/** A normal prior for the uncertain parameters, and how much the curvature counts. */
export interface Prior {
  /** log δ: for every uncertain tensor a scalar, or a tensor of its shape. */
  readonly log: readonly Tensor[];
  /** δ. */
  readonly delta: readonly Tensor[];
  /** log s, scalar. */
  readonly logFactor: Tensor;
  /** s, by which the curvature is multiplied. */
  readonly factor: Tensor;
}

/** P = s H + diag(δ). Vectors are lists of leaves, one for each uncertain tensor. */
export interface Precision {
  /** log det P - Σ log δ: what rounds to the same as their difference where the data say little is not formed as one. */
  logDeterminantRatio(prior: Prior): Tensor;
  /** P⁻¹ v for k vectors at once: `[k, …shape]`. */
  solve(vectors: readonly Tensor[], prior: Prior): Tensor[];
  /** Something of mean 0 and covariance P⁻¹. */
  sample(key: Key, prior: Prior): Tensor[];
  /** The diagonal of P⁻¹. */
  variances(prior: Prior): Tensor[];
  /** The diagonal of ∂ log P / ∂ log s, which is P⁻¹ s H: how much of each parameter the data determine, from 0 to 1. */
  determined(prior: Prior): Tensor[];
  /** About the ratio of the largest eigenvalue of P to the smallest, relative to the prior: scalar. */
  condition(prior: Prior): Tensor;
  /** Everything that does not depend on prior and noise. */
  readonly tensors: readonly Tensor[];
  /** Covariances of the outputs of a last layer, without Jacobians; undefined where only Jacobians will do. */
  head(layer: HeadLayer): HeadCovariance | undefined;
}

/** For inputs of a linear layer, n and m of them: `[n, in]` and `[m, in]`. */
export interface HeadCovariance {
  /** `[n, out]`. */
  variance(x: Tensor, prior: Prior): Tensor;
  /** `[n, out, m, out]`. */
  covariance(x: Tensor, y: Tensor, prior: Prior): Tensor;
}

/** The least positive number that logarithms are taken of. */
const tiny = 1e-37;

/** The logarithm of what is not negative; of 0 that of the least positive number. */
export const logOf = (x: Tensor): Tensor => atLeast(x, tiny).log();

/** log(1 + s h / δ), exact to rounding for small ratios too. @param h not negative. */
export const logRatio = (h: Tensor, logFactor: Tensor, logDelta: Tensor): Tensor =>
  logOf(h).add(logFactor).sub(logDelta).softplus();

export const total = (terms: readonly Tensor[]): Tensor => terms.reduce((sum, term) => sum.add(term));

export const normals = (key: Key, shapes: readonly Shape[]): Tensor[] => {
  const keys = splitKeys(key, shapes.length);
  return shapes.map((shape, index) => normal(keys[index] as Key, shape));
};

/** Leaves, or k of each, as one vector, or as rows. */
const flat = (leaves: readonly Tensor[], leading: number): Tensor =>
  concat(
    leaves.map((leaf) => leaf.reshape([...leaf.shape.slice(0, leading), -1])),
    { axis: leading },
  );

function unflat(vectors: Tensor, shapes: readonly Shape[]): Tensor[] {
  const leading = vectors.shape.slice(0, -1);
  const zeros = leading.map(() => 0);
  let start = 0;
  return shapes.map((shape) => {
    start += sizeOf(shape);
    return vectors.slice([...zeros, start - sizeOf(shape)], [...leading, start]).reshape([...leading, ...shape]);
  });
}

const spread = (leaves: readonly Tensor[], shapes: readonly Shape[]): Tensor =>
  flat(
    leaves.map((leaf, index) => leaf.expand(shapes[index] as Shape)),
    0,
  );

/** The diagonal of a matrix. */
const diagonalOf = (matrix: Tensor): Tensor => matrix.mul(eye(matrix.shape[0] as number)).sum({ axis: 1 });

/**
 * H as one matrix `[n, n]` over the uncertain tensors, each flattened. All is done with I + s D^-½ H D^-½, D = diag(δ),
 * which leaves a parameter that the data do not know of exactly as its prior has it.
 */
export function densePrecision(h: Tensor, shapes: readonly Shape[]): Precision {
  const size = h.shape[0] as number;
  const deviations = ({ log }: Prior): Tensor => spread(log, shapes).mul(-0.5).exp();
  const excess = (prior: Prior): Tensor => {
    const d = deviations(prior);
    return h.mul(d.expandDims(1)).mul(d).mul(prior.factor);
  };
  const matrix = (prior: Prior): Tensor => excess(prior).add(eye(size));
  const covariance = (prior: Prior): Tensor => {
    const d = deviations(prior);
    return linalg.inversePositiveDefinite(matrix(prior)).mul(d.expandDims(1)).mul(d);
  };
  return {
    tensors: [h],
    logDeterminantRatio: (prior) => linalg.logDeterminant(matrix(prior)),
    solve(vectors, prior) {
      const d = deviations(prior);
      const solved = linalg.solvePositiveDefinite(matrix(prior), flat(vectors, 1).mul(d).transpose());
      return unflat(solved.transpose().mul(d), shapes);
    },
    sample(key, prior) {
      const z = flat(normals(key, shapes), 0).expandDims(1);
      const turned = linalg.triangularSolve(linalg.cholesky(matrix(prior)), z, { transpose: true });
      return unflat(turned.flatten().mul(deviations(prior)), shapes);
    },
    variances: (prior) => unflat(diagonalOf(covariance(prior)), shapes),
    determined: (prior) => unflat(diagonalOf(linalg.solvePositiveDefinite(matrix(prior), excess(prior))), shapes),
    condition: (prior) => diagonalOf(matrix(prior)).max(),
    head({ weight, bias, toMatrix, toRows, ins, outs }) {
      const inputs = ins + (bias === undefined ? 0 : 1);
      // A row of the covariance is a tree like the uncertain tensors: as a matrix of the layer, its bias the last input.
      const layer = (row: Tensor): Tensor => {
        const leaves = unflat(row, shapes);
        const matrix = toMatrix(leaves[weight] as Tensor);
        return bias === undefined
          ? matrix
          : concat([matrix, toRows(leaves[bias] as Tensor).expandDims(1)], { axis: 1 });
      };
      const blocks = (prior: Prior): Tensor => {
        const rows = vmap(layer)(covariance(prior)).reshape([size, outs * inputs]);
        return vmap(layer)(rows.transpose()).reshape([outs, inputs, outs, inputs]).permute([2, 3, 0, 1]);
      };
      const extended = (x: Tensor): Tensor => (bias === undefined ? x : withOne(x));
      return {
        variance(x, prior) {
          const own = extended(x);
          // c, j, k: the blocks of one output with itself.
          const all = blocks(prior)
            .permute([0, 2, 1, 3])
            .reshape([outs * outs, inputs, inputs]);
          const same = all.slice([0], [outs * outs], [outs + 1]);
          const turned = own.dot(same, { contract: [[1], [1]] });
          return turned.mul(own.expandDims(1)).sum({ axis: 2 });
        },
        covariance: (x, y, prior) =>
          extended(x)
            .dot(blocks(prior), { contract: [[1], [1]] })
            .dot(extended(y), { contract: [[3], [1]] })
            .permute([0, 1, 3, 2]),
      };
    },
  };
}

/** x with an input that is always 1. */
export const withOne = (x: Tensor): Tensor => {
  const [rows] = x.shape as [number, number];
  return concat([x, x.slice([0, 0], [rows, 1]).onesLike()], { axis: 1 });
};

/** H as its diagonal: one leaf for each uncertain tensor. */
export function diagonalPrecision(h: readonly Tensor[]): Precision {
  const shapes = h.map(({ shape }) => shape);
  const at = ({ delta, factor }: Prior): Tensor[] => h.map((own, index) => own.mul(factor).add(delta[index] as Tensor));
  const variances = (prior: Prior): Tensor[] => at(prior).map((own) => own.reciprocal());
  return {
    tensors: h,
    logDeterminantRatio: ({ log, logFactor }) =>
      total(h.map((own, index) => logRatio(own, logFactor, log[index] as Tensor).sum())),
    solve: (vectors, prior) => at(prior).map((own, index) => (vectors[index] as Tensor).div(own)),
    sample(key, prior) {
      const z = normals(key, shapes);
      return at(prior).map((own, index) => (z[index] as Tensor).mul(own.rsqrt()));
    },
    variances,
    determined: (prior) => at(prior).map((own, index) => (h[index] as Tensor).mul(prior.factor).div(own)),
    condition: ({ factor }) => factor.onesLike(),
    head({ weight, bias, toMatrix, toRows, outs }) {
      const variance = (x: Tensor, y: Tensor, prior: Prior): Tensor => {
        const own = variances(prior);
        const turned = x.mul(y).dot(toMatrix(own[weight] as Tensor), { contract: [[1], [1]] });
        return bias === undefined ? turned : turned.add(toRows(own[bias] as Tensor));
      };
      return {
        variance: (x, prior) => variance(x, x, prior),
        covariance(x, y, prior) {
          const [n, m] = [x.shape[0] as number, y.shape[0] as number];
          const features = x.shape[1] as number;
          const pairs = (own: Tensor) => own.expand([n, m, features]).reshape([n * m, features]);
          const each = variance(pairs(x.expandDims(1)), pairs(y), prior).reshape([n, m, outs, 1]);
          return each.mul(eye(outs)).permute([0, 2, 1, 3]);
        },
      };
    },
  };
}

/**
 * H = Vᵀ V by its root, rows of leaves `[r, …shape]`: everything by the r × r matrix I + s V D⁻¹ Vᵀ, the kernel of a Gaussian
 * process over the training outputs. For few data and many parameters.
 *
 * @see Khan et al., Approximate inference turns deep networks into Gaussian processes (2019)
 */
export function functionalPrecision(root: readonly Tensor[]): Precision {
  const rows = (root[0] as Tensor).shape[0] as number;
  const shapes = root.map(({ shape }) => shape.slice(1));
  const matrices = root.map((own) => own.reshape([rows, -1]));
  // Where all elements of a tensor share δ, other priors only scale its part of the kernel.
  const parts = matrices.map((own) => own.matmul(own.transpose()));
  const kernel = ({ log, factor }: Prior): Tensor => {
    const weighted = parts.map((part, index) => {
      const own = log[index] as Tensor;
      if (own.rank === 0) return part.mul(own.neg().exp());
      const matrix = matrices[index] as Tensor;
      return matrix.mul(own.neg().exp().flatten()).matmul(matrix.transpose());
    });
    return total(weighted).mul(factor);
  };
  const gram = (prior: Prior): Tensor => kernel(prior).add(eye(rows));
  const overDelta = (leaves: readonly Tensor[], { delta }: Prior): Tensor[] =>
    leaves.map((leaf, index) => leaf.div(delta[index] as Tensor));
  /** V v for k vectors: `[rows, k]`. */
  const along = (vectors: readonly Tensor[]): Tensor =>
    total(matrices.map((own, index) => own.matmul(flat([vectors[index] as Tensor], 1).transpose())));
  /** Vᵀ y for `[rows, k]`: `[k, …shape]`. */
  const back = (y: Tensor): Tensor[] =>
    matrices.map((own, index) =>
      y
        .transpose()
        .matmul(own)
        .reshape([y.shape[1] as number, ...(shapes[index] as Shape)]),
    );
  const determined = (prior: Prior): Tensor[] => {
    const lower = linalg.cholesky(gram(prior));
    return matrices.map((own, index) => {
      const squares = linalg.triangularSolve(lower, own).square().sum({ axis: 0 });
      return squares
        .reshape(shapes[index] as Shape)
        .div(prior.delta[index] as Tensor)
        .mul(prior.factor);
    });
  };
  return {
    tensors: [...root, ...parts],
    logDeterminantRatio: (prior) => linalg.logDeterminant(gram(prior)),
    solve(vectors, prior) {
      const alone = overDelta(vectors, prior);
      const y = linalg.solvePositiveDefinite(gram(prior), along(alone)).mul(prior.factor);
      const known = overDelta(back(y), prior);
      return alone.map((own, index) => own.sub(known[index] as Tensor));
    },
    sample(key, prior) {
      // A draw of the prior, corrected by what it predicts for observations of 0 with unit noise (Matheron's rule).
      const [first, second] = splitKeys(key, 2) as [Key, Key];
      const drawn = normals(first, shapes).map((z, index) => z.mul((prior.log[index] as Tensor).mul(-0.5).exp()));
      const predicted = along(drawn.map((own) => own.expandDims(0))).mul(prior.factor.sqrt());
      const difference = normal(second, [rows, 1]).sub(predicted);
      const y = linalg.solvePositiveDefinite(gram(prior), difference).mul(prior.factor.sqrt());
      const moves = overDelta(back(y), prior);
      return drawn.map((own, index) => own.add((moves[index] as Tensor).reshape(own.shape)));
    },
    variances: (prior) =>
      determined(prior).map((own, index) =>
        own
          .neg()
          .add(1)
          .div(prior.delta[index] as Tensor),
      ),
    determined,
    condition: (prior) => diagonalOf(gram(prior)).max(),
    head: () => undefined,
  };
}
