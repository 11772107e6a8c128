/**
 * Quantities of the gradients of single examples. They are written as what they are, reductions of `vmap(grad(…))`; the
 * compiler finds the cheap forms for whatever model, and all of them share one forward and one backward pass.
 */
import { grad, vmap } from "@thalweg/autograd";
import { ArgumentError, ShapeError, type Tensor, treeLeaves, treeMap } from "@thalweg/tensor";
import { nonNegative } from "../clipping";

/** The loss of one example: scalar. */
export type ExampleLoss<P, E> = (params: P, example: E) => Tensor;

/** The gradients of the examples: a tree like the parameters of `[N, …parameter]`. */
export type PerSampleGradients<P> = P;

/**
 * The gradient of every example's loss, `[N, …parameter]`. What reduces it need not store it: sums of squares, means and
 * inner products of examples have cheap forms for weights of dense layers, convolutions and attention projections.
 *
 * Losses count as they are: without the 1/N of a mean.
 *
 * @param examples a tree of tensors with the examples on axis 0.
 */
export function perSampleGradients<P, E>(loss: ExampleLoss<P, E>, params: P, examples: E): PerSampleGradients<P> {
  return vmap((own: P, example: E) => grad((at: P) => loss(at, example))(own), { in: [null, 0] })(params, examples);
}

/** Statistics of gradients over the examples of a batch, all lazy: what is not used costs nothing. */
export interface PerSampleStatistics<P> {
  /** g = (1/N) Σ g_n. */
  readonly mean: P;
  /** ‖g_n‖² for each parameter tensor: a tree of `[N]`. */
  readonly squaredNorms: P;
  /** ‖g_n‖² over all parameters: `[N]`. */
  readonly squaredNorm: Tensor;
  /** g_n · g_m over all parameters: `[N, N]`. */
  readonly dots: Tensor;
  /** (1/N) Σ g_n², element by element. */
  readonly secondMoment: P;
  /**
   * (1/N) Σ (g_n - g)², element by element, as the second moment less g². Off by some units of roundoff times the second
   * moment: where the noise is much smaller than the mean, {@link exactVariance} has more digits.
   */
  readonly variance: P;
  /** The same from deviations, which must be stored for it: `[N, …parameter]` of memory. */
  exactVariance(): P;
}

/** @throws ShapeError unless gradients have the examples in front. */
export function perSampleStatistics<P>(gradients: PerSampleGradients<P>): PerSampleStatistics<P> {
  const leaves = treeLeaves<Tensor>(gradients);
  const [first] = leaves;
  if (first === undefined) throw new ArgumentError("perSampleStatistics: there are no gradients.");
  const [count] = first.shape;
  for (const leaf of leaves) {
    if (leaf.shape[0] !== count || leaf.rank === 0) {
      throw new ShapeError(
        `perSampleStatistics: gradients [${leaf.shape}] and [${first.shape}] differ in their examples (axis 0).`,
      );
    }
  }
  const map = (f: (g: Tensor) => Tensor): P => treeMap(f, gradients) as P;
  const rest = (g: Tensor): number[] => g.shape.slice(1).map((_, axis) => axis + 1);
  const normsOf = (g: Tensor): Tensor => (g.rank === 1 ? g.square() : g.square().sum({ axis: rest(g) }));
  const momentOf = (g: Tensor): Tensor =>
    g
      .square()
      .sum({ axis: 0 })
      .div(count as number);
  const total = (parts: readonly Tensor[]): Tensor => parts.reduce((sum, own) => sum.add(own));
  return {
    mean: map((g) => g.mean({ axis: 0 })),
    squaredNorms: map(normsOf),
    squaredNorm: total(leaves.map(normsOf)),
    dots: total(leaves.map((g) => g.dot(g, { contract: [rest(g), rest(g)] }))),
    secondMoment: map(momentOf),
    variance: map((g) => nonNegative(momentOf(g).sub(g.mean({ axis: 0 }).square()))),
    exactVariance: () => map((g) => g.variance({ axis: 0 })),
  };
}
