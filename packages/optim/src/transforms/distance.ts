import { full, type Tensor, treeLeaves } from "@thalweg/tensor";
import { type Constant, constant, nonNegative, positive } from "../constant";
import type { Schedule } from "../schedules/schedule";
import {
  copyOf,
  mapTensors,
  type TensorTree,
  treeDot,
  treeNorm,
  treeSquaredNorm,
  treeSum,
  treeZeros,
} from "../tensors";
import { type GradientTransformation, type UpdateContext, unknownName } from "../transform";
import { checkDirection, wrap } from "../wrappers/wrap";

export interface DistanceEstimateOptions {
  /**
   * `"dog"`: the largest distance from the start over the root of the sum of squared norms; `"dowg"`: the same with sums
   * weighted by squared distances; `"prodigy"`: a lower bound of the distance to the solution from ⟨g, x0 - x⟩;
   * `"dAdaptation"`: another one from ⟨d, Σ d⟩, which is spread over the norm of the first direction.
   */
  readonly estimate: "dog" | "dowg" | "prodigy" | "dAdaptation";
  /** Factor of the estimated rate, at least 0. Default 1. */
  readonly learningRate?: number | Schedule;
  /** For `"dog"`: the first distance is this times 1 + the norm of the parameters. Default 1e-6; 1e-4 with batch norm. */
  readonly relativeStart?: number;
  /** For `"dowg"`: the square of the first distance. Default 1e-4. For the bounds: the first distance. Default 1e-6. */
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
  /** Whether it compares the parameters with those of the start. */
  readonly looksBack: boolean;
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
 * @throws ArgumentError for a direction with a learning rate, and for an unknown estimate.
 * @example scaleByDistanceEstimate(scaleByAdam({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }), { estimate: "dog" })
 * @see Ivgi, Hinder & Carmon, DoG is SGD's Best Friend, 2023
 * @see Khaled, Mishchenko & Jin, DoWG Unleashed, 2023
 * @see Mishchenko & Defazio, Prodigy, 2024
 * @see Defazio & Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023
 */
export function scaleByDistanceEstimate(
  { rule }: GradientTransformation,
  options: DistanceEstimateOptions,
): GradientTransformation {
  const name = "scaleByDistanceEstimate";
  checkDirection(name, rule);
  const make = Object.hasOwn(estimators, options.estimate) ? estimators[options.estimate] : undefined;
  if (make === undefined) throw unknownName(`estimate of ${name}`, String(options.estimate), Object.keys(estimators));
  const estimator = make(name, options);
  return wrap<Estimate>(rule, {
    name,
    constants: [constant(name, "learningRate", options.learningRate ?? 1, nonNegative), ...estimator.constants],
    init: (params) => ({ start: estimator.looksBack ? copyOf(params) : null, numbers: estimator.init(params) }),
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
    looksBack: true,
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
      const etas = distances.map((r, index) => quotient(r, (squares[index] as Tensor).sqrt()));
      const rates = treeLeaves<Tensor>(directions).map((_, index) => (layerwise ? etas[index] : etas[0]) as Tensor);
      const eta = etas.reduce((largest, own) => largest.maximum(own));
      return [rates, { distances, squares, eta }];
    },
  };
}

function weightedGradients(name: string, { initial = 1e-4, epsilon = 1e-4 }: DistanceEstimateOptions): Estimator {
  const { value: first } = constant(name, "initial", initial, positive);
  return {
    looksBack: true,
    constants: [constant(name, "epsilon", epsilon, nonNegative)],
    init: () => ({ squaredDistance: full([], first), weighted: full([], 0), eta: full([], 0) }),
    rates(_, directions, { start, numbers }, context) {
      const before = numbers as { readonly squaredDistance: Tensor; readonly weighted: Tensor };
      const [eps] = context.constant("epsilon") as [Tensor];
      const squaredDistance = before.squaredDistance.maximum(treeSquaredNorm(wayFrom(start, context)));
      const weighted = before.weighted.add(squaredDistance.mul(treeSquaredNorm(directions)));
      const eta = quotient(squaredDistance, weighted.sqrt().add(eps));
      return [treeLeaves<Tensor>(directions).map(() => eta), { squaredDistance, weighted, eta }];
    },
  };
}

/** Prodigy's bound without its average: d ≥ Σ d g·(x0 - x) / ‖Σ d g‖₁, by the gradients and not by the directions. */
function lowerBound(name: string, { initial = 1e-6 }: DistanceEstimateOptions): Estimator {
  const { value: first } = constant(name, "initial", initial, positive);
  return {
    looksBack: true,
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
      const next = distance.maximum(quotient(numerator, norm));
      return [treeLeaves<Tensor>(directions).map(() => distance), { distance: next, numerator, sum }];
    },
  };
}

/**
 * D-Adaptation's bound: with s = Σ q d and q = distance / ‖d1‖ it is 2 Σ q ⟨d, s⟩ / ‖s‖, where each product takes the sum
 * before it. Over the gradient itself this is D-Adapted SGD without momentum.
 */
function spreadBound(name: string, { initial = 1e-6 }: DistanceEstimateOptions): Estimator {
  const { value: first } = constant(name, "initial", initial, positive);
  return {
    looksBack: false,
    constants: [],
    init: (params) => ({
      distance: full([], first),
      numerator: full([], 0),
      firstNorm: full([], 0),
      sum: treeZeros(params),
    }),
    rates(_, directions, { numbers }, context) {
      const before = numbers as Readonly<Record<"distance" | "numerator" | "firstNorm", Tensor>> & {
        readonly sum: TensorTree;
      };
      const [factor] = context.constant("learningRate") as [Tensor];
      const { distance } = before;
      // Of the first direction that is not 0.
      const firstNorm = before.firstNorm.equal(0).where(treeNorm(directions), before.firstNorm);
      const rate = distance.div(firstNorm.equal(0).where(1, firstNorm));
      const step = rate.mul(factor);
      const numerator = before.numerator.add(treeDot(directions, before.sum).mul(step));
      const sum = mapTensors((s, d) => s.add(d.mul(step)), before.sum, directions);
      const next = distance.maximum(quotient(numerator.mul(2), treeNorm(sum)));
      return [treeLeaves<Tensor>(directions).map(() => rate), { distance: next, numerator, firstNorm, sum }];
    },
  };
}

const estimators = {
  dog: distanceOverGradients,
  dowg: weightedGradients,
  prodigy: lowerBound,
  dAdaptation: spreadBound,
} as const;

/** Their quotient; 0 where nothing is divided. */
function quotient(numerator: Tensor, divisor: Tensor): Tensor {
  const isEmpty = divisor.equal(0);
  return isEmpty.where(0, numerator.div(isEmpty.where(1, divisor)));
}
