import { full, type Tensor, treeLeaves } from "@thalweg/tensor";
import { type Constant, constant, nonNegative, positive } from "../constant";
import type { Schedule } from "../schedules/schedule";
import { copyOf, mapTensors, type TensorTree, treeNorm, treeSquaredNorm, treeSum, treeZeros } from "../tensors";
import type { GradientTransformation, UpdateContext } from "../transform";
import { wrap } from "../wrappers/wrap";

export interface DistanceEstimateOptions {
  /**
   * `"dog"`: the largest distance from the start over the root of the sum of squared norms; `"dowg"`: the same with sums
   * weighted by squared distances; `"prodigy"`: a lower bound of the distance to the solution from ⟨g, x0 - x⟩.
   */
  readonly estimate: "dog" | "dowg" | "prodigy";
  /** Factor of the estimated rate, at least 0. Default 1. */
  readonly learningRate?: number | Schedule;
  /** For `"dog"`: the first distance is this times 1 + the norm of the parameters. Default 1e-6; 1e-4 with batch norm. */
  readonly relativeStart?: number;
  /** For `"dowg"`: the square of the first distance. Default 1e-4. For `"prodigy"`: the first distance. Default 1e-6. */
  readonly initial?: number;
  /** Added to the sum of squares (`"dog"`, default 1e-8) or to its root (`"dowg"`, default 1e-4). */
  readonly epsilon?: number;
  /** For `"dog"`: every tensor has a distance of its own. Default false. */
  readonly layerwise?: boolean;
}

/** What an estimate keeps and finds. (A type, so that it counts as a tree.) */
type Estimate = { readonly start: TensorTree; readonly numbers: TensorTree };

/** How a distance is estimated: the rates of all tensors, in the order of the leaves. */
interface Estimator {
  readonly constants: readonly Constant[];
  init(params: TensorTree): TensorTree;
  rates(
    gradients: TensorTree,
    directions: TensorTree,
    state: Estimate,
    context: UpdateContext,
  ): readonly [rates: readonly Tensor[], numbers: TensorTree];
}

/**
 * Gives a direction the rate that an estimate of the distance to the solution suggests: x ← x - α η d. The direction brings
 * no rate of its own. The sign is that of an optimizer: nothing follows.
 *
 * @example scaleByDistanceEstimate(scaleByAdam({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }), { estimate: "dog" })
 * @see Ivgi, Hinder & Carmon, DoG is SGD's Best Friend, 2023
 * @see Khaled, Mishchenko & Jin, DoWG Unleashed, 2023
 * @see Mishchenko & Defazio, Prodigy, 2024
 */
export function scaleByDistanceEstimate(
  { rule }: GradientTransformation,
  options: DistanceEstimateOptions,
): GradientTransformation {
  const name = "scaleByDistanceEstimate";
  const estimator = { dog: distanceOverGradients, dowg: weightedGradients, prodigy: lowerBound }[options.estimate](
    name,
    options,
  );
  return wrap<Estimate>(rule, {
    name,
    constants: [constant(name, "learningRate", options.learningRate ?? 1, nonNegative), ...estimator.constants],
    init: (params) => ({ start: copyOf(params), numbers: estimator.init(params) }),
    update(gradients, { own, inner }, contexts) {
      const { constant: numbers } = contexts.own;
      const [factor] = numbers("learningRate") as [Tensor];
      const [directions, next] = rule.update(gradients, inner, contexts.inner);
      const [rates, found] = estimator.rates(gradients, directions, own, contexts.own);
      let index = 0;
      const updates = mapTensors((d) => d.mul((rates[index++] as Tensor).mul(factor).neg()), directions);
      return [updates, { own: { start: own.start, numbers: found }, inner: next }];
    },
    quantities: ({ numbers }) => {
      const found = numbers as { readonly eta?: Tensor; readonly distance?: Tensor };
      return { ...(found.eta && { eta: found.eta }), ...(found.distance && { d: found.distance }) };
    },
  });
}

/** The parameters' way from the start. */
const wayFrom = (start: TensorTree, { params }: UpdateContext): TensorTree =>
  mapTensors((x, origin) => x.sub(origin), params, start);

function distanceOverGradients(
  name: string,
  { relativeStart = 1e-6, epsilon = 1e-8, layerwise = false }: DistanceEstimateOptions,
): Estimator {
  const { value: relative } = constant(name, "relativeStart", relativeStart, positive);
  const { value: first } = constant(name, "epsilon", epsilon, nonNegative);
  /** The tensors that share a distance. */
  const groups = (tree: TensorTree): TensorTree[] => (layerwise ? treeLeaves<Tensor>(tree) : [tree]);
  return {
    constants: [],
    init: (params) => ({
      distances: groups(params).map((own) => treeNorm(own).add(1).mul(relative)),
      squares: groups(params).map(() => full([], first)),
      eta: full([], 0),
    }),
    rates(_, directions, { start, numbers }, context) {
      const before = numbers as { readonly distances: readonly Tensor[]; readonly squares: readonly Tensor[] };
      const ways = groups(wayFrom(start, context));
      const parts = groups(directions);
      const distances = before.distances.map((r, index) => r.maximum(treeNorm(ways[index])));
      const squares = before.squares.map((sum, index) => sum.add(treeSquaredNorm(parts[index])));
      const etas = distances.map((r, index) => {
        const sum = squares[index] as Tensor;
        const isEmpty = sum.equal(0);
        return isEmpty.where(0, r.div(isEmpty.where(1, sum).sqrt()));
      });
      const rates = treeLeaves<Tensor>(directions).map((_, index) => (layerwise ? etas[index] : etas[0]) as Tensor);
      const eta = etas.reduce((largest, own) => largest.maximum(own));
      return [rates, { distances, squares, eta }];
    },
  };
}

function weightedGradients(name: string, { initial = 1e-4, epsilon = 1e-4 }: DistanceEstimateOptions): Estimator {
  const { value: first } = constant(name, "initial", initial, positive);
  return {
    constants: [constant(name, "epsilon", epsilon, nonNegative)],
    init: () => ({ squaredDistance: full([], first), weighted: full([], 0), eta: full([], 0) }),
    rates(_, directions, { start, numbers }, context) {
      const before = numbers as { readonly squaredDistance: Tensor; readonly weighted: Tensor };
      const [eps] = context.constant("epsilon") as [Tensor];
      const squaredDistance = before.squaredDistance.maximum(treeSquaredNorm(wayFrom(start, context)));
      const weighted = before.weighted.add(squaredDistance.mul(treeSquaredNorm(directions)));
      const divisor = weighted.sqrt().add(eps);
      const isEmpty = divisor.equal(0);
      const eta = isEmpty.where(0, squaredDistance.div(isEmpty.where(1, divisor)));
      return [treeLeaves<Tensor>(directions).map(() => eta), { squaredDistance, weighted, eta }];
    },
  };
}

/** Prodigy's bound without its average: d ≥ Σ d g·(x0 - x) / ‖Σ d g‖₁, by the gradients and not by the directions. */
function lowerBound(name: string, { initial = 1e-6 }: DistanceEstimateOptions): Estimator {
  const { value: first } = constant(name, "initial", initial, positive);
  return {
    constants: [],
    init: (params) => ({ distance: full([], first), numerator: full([], 0), sum: treeZeros(params) }),
    rates(gradients, directions, { start, numbers }, context) {
      const before = numbers as { readonly distance: Tensor; readonly numerator: Tensor; readonly sum: TensorTree };
      const { distance } = before;
      // Relative to the first distance, so that the squares of small ones do not vanish.
      const weight = distance.div(first);
      const way = wayFrom(start, context);
      const along = treeSum(mapTensors((g, w) => g.mul(w), gradients, way)).neg();
      const numerator = before.numerator.add(along.mul(weight).mul(distance));
      const sum = mapTensors((s, g) => s.add(g.mul(weight.mul(distance))), before.sum, gradients);
      const norm = treeSum(mapTensors((s) => s.abs(), sum));
      const isEmpty = norm.equal(0);
      const bound = isEmpty.where(0, numerator.div(isEmpty.where(1, norm)));
      const next = distance.maximum(bound);
      return [treeLeaves<Tensor>(directions).map(() => distance), { distance: next, numerator, sum }];
    },
  };
}
