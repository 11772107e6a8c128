import { ArgumentError, type Key, normal, splitKeys, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { checkSteps } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeZeros } from "../tensors";
import { type GradientTransformation, type OptimizerState, transformation } from "../transform";
import { enqueue, isPoint, type SwaOptions } from "./snapshots";

export interface SwagOptions extends SwaOptions {
  /** Points of which the deviations are kept, at least 2: the rank of the covariance beyond its diagonal. Default 20. */
  readonly rank?: number;
}

/** A type and no interface, so that it counts as a tree. */
type Moments = {
  readonly mean: TensorTree;
  /** Sums of squared deviations from the mean, kept so that nothing cancels (Welford). */
  readonly squares: TensorTree;
  readonly deviations: readonly TensorTree[];
  /** u32 scalar. */
  readonly count: Tensor;
};

/**
 * Keeps mean, variances and the last deviations of points of training: a normal distribution over parameters, which
 * {@link swagPosterior} reads from the state. Training goes on as without it; the model is to be evaluated at the mean. It
 * stands last in a chain. The learning rate should be high and constant while it collects, a point an epoch.
 *
 * @see Maddox et al., A simple baseline for Bayesian uncertainty in deep learning, 2019
 */
export function swag({ start = 0, every = 1, rank = 20 }: SwagOptions = {}): GradientTransformation {
  checkSteps("swag: start", start);
  checkSteps("swag: every", every, 1);
  checkSteps("swag: rank", rank, 2);
  return transformation<Moments>({
    name: "swag",
    init: (params) => ({
      mean: copyOf(params),
      squares: treeZeros(params),
      deviations: Array.from({ length: rank }, () => treeZeros(params)),
      count: tensor(Uint32Array.of(0), { shape: [] }),
    }),
    update(updates, { mean, squares, deviations, count }, { params, step }) {
      const isDue = isPoint(step.add(1), { start, every });
      const next = isDue.where(count.add(1), count);
      const share = isDue.where(next.maximum(1).cast("f32").reciprocal(), 0);
      const weight = isDue.cast("f32");
      const point = mapTensors((x, u) => x.add(u), params, updates);
      // The mean of no points is any; the first one takes its place, without rounding and without a spread.
      const isFirst = isDue.and(count.equal(0));
      const middle = mapTensors((a, x) => isFirst.where(x, a.add(x.sub(a).mul(share))), mean, point);
      const sums = mapTensors((s, a, b, x) => s.add(x.sub(a).mul(x.sub(b)).mul(weight)), squares, mean, middle, point);
      const kept = enqueue(
        deviations,
        { isDue, count },
        mapTensors((x, b) => x.sub(b), point, middle),
      );
      return [updates, { mean: middle, squares: sums, deviations: kept, count: next }];
    },
    evalParams: ({ mean, count }, { params }) => {
      const isEmpty = count.equal(0);
      return mapTensors((a, x) => isEmpty.where(x, a), mean, params);
    },
  });
}

/** N(mean, ½ diag(variances) + D Dᵀ / (2 (k - 1))), of k deviations D. All lazy. */
export interface SwagPosterior<P> {
  /** Points collected so far: u32 scalar. With none the mean is that of the start, with one there is no spread. */
  readonly points: Tensor;
  readonly mean: P;
  /** The diagonal of the covariance. */
  readonly variances: P;
  /** Parameters drawn from it. @param scale By which the covariance is multiplied. Default 1. */
  sample(key: Key, options?: { readonly scale?: number }): P;
}

/**
 * The distribution that {@link swag} has collected.
 *
 * @typeParam P The tree of parameters.
 * @param state of an optimizer with `swag` in it.
 * @throws ArgumentError if it has none.
 * @example
 * const { sample } = swagPosterior<Params>(state.optimizer);
 * const outputs = vmap((own: Key) => model(sample(own), inputs))(split(key(0), 30));
 */
export function swagPosterior<P>({ buffers }: OptimizerState): SwagPosterior<P> {
  const found = momentsIn(buffers);
  if (found === undefined) {
    throw new ArgumentError("swagPosterior: the state has no moments. Put swag last into the chain of the optimizer.");
  }
  const { mean, squares, deviations, count } = found;
  const total = count.maximum(1).cast("f32");
  const columns = count.minimum(deviations.length).cast("f32");
  const perColumn = columns.sub(1).maximum(1).mul(2).reciprocal();
  const diagonal = mapTensors((s) => s.div(total).mul(0.5), squares);
  const spread = mapTensors(
    (own, ...all) =>
      all
        .map((d) => d.square())
        .reduce((sum, d) => sum.add(d))
        .mul(perColumn)
        .add(own),
    diagonal,
    ...deviations,
  );
  return {
    points: count,
    mean: mean as P,
    variances: spread as P,
    sample(key, { scale = 1 } = {}) {
      if (!(scale >= 0)) throw new ArgumentError(`swagPosterior: scale ${scale}. Give a number that is not negative.`);
      const [first, second] = splitKeys(key, 2) as [Key, Key];
      const keys = splitKeys(first, treeLeaves<Tensor>(mean).length);
      const shared = normal(second, [deviations.length]).mul(perColumn.sqrt()).mul(Math.sqrt(scale));
      let index = 0;
      return mapTensors(
        (a, own, ...all) => {
          const z = normal(keys[index++] as Key, a.shape).mul(own.mul(scale).sqrt());
          const low = all.map((d, column) => d.mul(shared.slice([column], [column + 1]).reshape([])));
          return low.reduce((sum, d) => sum.add(d), a.add(z));
        },
        mean,
        diagonal,
        ...deviations,
      ) as P;
    },
  };
}

/** The moments of the first `swag` in the buffers of rules inside rules. */
function momentsIn(buffers: unknown): Moments | undefined {
  if (buffers === null || typeof buffers !== "object" || "dtype" in buffers) return undefined;
  if ("deviations" in buffers && "squares" in buffers && "mean" in buffers && "count" in buffers) {
    return buffers as Moments;
  }
  for (const inner of Object.values(buffers)) {
    const found = momentsIn(inner);
    if (found !== undefined) return found;
  }
  return undefined;
}
