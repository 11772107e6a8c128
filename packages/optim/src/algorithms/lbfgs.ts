import { concat, full, iota, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { constant, nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import { checkSteps, type Schedule } from "../schedules/schedule";
import { mapTensors, type TensorTree } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { amount, learningRate, steps } from "./specs";

interface LbfgsOptions {
  readonly learningRate: number | Schedule;
  readonly history: number;
  readonly maxStep: number | Schedule;
}

/** All parameters in one vector of n. (A type, so that it counts as a tree.) */
type LbfgsBuffers = {
  /** Steps and differences of gradients, a ring: `[history, n]`. */
  readonly steps: Tensor;
  readonly differences: Tensor;
  /** 1 / sᵀy of each: `[history]`. */
  readonly inverses: Tensor;
  /** Pairs kept so far: u32 scalar. */
  readonly count: Tensor;
  /** Scale of the first guess of the inverse Hessian. */
  readonly scale: Tensor;
  readonly previousGradient: Tensor;
  readonly previousStep: Tensor;
};

/** Pairs with less curvature than this are dropped. */
const leastCurvature = 1e-10;

function limitedMemory({ learningRate: rate, history, maxStep }: LbfgsOptions): GradientTransformation {
  const owner = "lbfgs";
  checkSteps(`${owner}: history`, history, 1);
  const isBounded = maxStep !== 0;
  return transformation<LbfgsBuffers>({
    name: owner,
    constants: [
      constant(owner, "learningRate", rate, nonNegative),
      ...(isBounded ? [constant(owner, "maxStep", maxStep, nonNegative)] : []),
    ],
    init: (params) => {
      const n = treeLeaves<Tensor>(params).reduce((sum, { size }) => sum + size, 0);
      return {
        steps: full([history, n], 0),
        differences: full([history, n], 0),
        inverses: full([history], 0),
        count: tensor(Uint32Array.of(0), { shape: [] }),
        scale: full([], 1),
        previousGradient: full([n], 0),
        previousStep: full([n], 0),
      };
    },
    update(gradients, before, { step, constant: numbers }) {
      const [alpha] = numbers("learningRate") as [Tensor];
      const gradient = flat(gradients);
      const isFirst = step.equal(0);
      const y = gradient.sub(before.previousGradient);
      const curvature = dot(before.previousStep, y);
      const isKept = curvature.greater(leastCurvature);
      const safe = isKept.where(curvature, 1);
      const isPlace = isKept.and(iota([history], 0, "u32").equal(before.count.rem(history)));
      const rows = isPlace.reshape([history, 1]);
      const pairs = {
        steps: rows.where(before.previousStep, before.steps),
        differences: rows.where(y, before.differences),
        inverses: isPlace.where(safe.reciprocal(), before.inverses),
        count: isKept.where(before.count.add(1), before.count),
        scale: isKept.where(curvature.div(isKept.where(dot(y, y), 1)), before.scale),
      };
      const direction = twoLoops(gradient, pairs, history).neg();
      const size = gradient.abs().sum();
      const first = size.greater(1).where(size.maximum(1).reciprocal(), 1);
      const proposed = direction.mul(isFirst.where(first.mul(alpha), alpha));
      const moved = isBounded ? shortened(proposed, numbers("maxStep")[0] as Tensor) : proposed;
      return [unflat(moved, gradients), { ...pairs, previousGradient: gradient, previousStep: moved }];
    },
  });
}

/** H g by the two-loop recursion, the newest pair first. @see Nocedal & Wright, Numerical Optimization, algorithm 7.4 */
function twoLoops(
  gradient: Tensor,
  {
    steps: s,
    differences: y,
    inverses,
    count,
    scale,
  }: Pick<LbfgsBuffers, "steps" | "differences" | "inverses" | "count" | "scale">,
  history: number,
): Tensor {
  const pairs = Array.from({ length: history }, (_, age) => {
    // The pair of this age, if there are so many; else some other one, whose part is 0.
    const isThere = count.greater(age);
    const place = isThere
      .where(count.sub(age + 1), 0)
      .rem(history)
      .reshape([1]);
    const row = (ring: Tensor) => ring.gather(place, { axis: 0 }).reshape([gradient.size]);
    return { s: row(s), y: row(y), inverse: isThere.where(inverses.gather(place, { axis: 0 }).reshape([]), 0) };
  });
  let q = gradient;
  const shares = pairs.map((pair) => {
    const share = dot(pair.s, q).mul(pair.inverse);
    q = q.sub(pair.y.mul(share));
    return share;
  });
  let result = q.mul(scale);
  for (const [age, pair] of [...pairs.entries()].reverse()) {
    const correction = dot(pair.y, result).mul(pair.inverse);
    result = result.add(pair.s.mul((shares[age] as Tensor).sub(correction)));
  }
  return result;
}

/** The vector, scaled to this length if it is longer. */
function shortened(vector: Tensor, longest: Tensor): Tensor {
  const length = dot(vector, vector).sqrt();
  const isLong = length.greater(longest);
  return isLong.where(vector.mul(longest.div(isLong.where(length, 1))), vector);
}

const dot = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum();

function flat(tree: TensorTree): Tensor {
  const parts = treeLeaves<Tensor>(tree).map((x) => x.flatten());
  return parts.length === 1 ? (parts[0] as Tensor) : concat(parts, { axis: 0 });
}

function unflat(vector: Tensor, like: TensorTree): TensorTree {
  let start = 0;
  return mapTensors((x) => {
    start += x.size;
    return vector.slice([start - x.size], [start]).reshape(x.shape);
  }, like);
}

/** The record of {@link lbfgs}. */
export const lbfgsRecord = defineOptimizer({
  name: "lbfgs",
  title: "L-BFGS",
  source: "Liu & Nocedal, On the limited memory BFGS method for large scale optimization",
  year: 1989,
  family: "nonDiagonal",
  tier: 2,
  cost: "four inner products per pair of the history",
  factors: "two vectors of all parameters for each pair of the history",
  hyperparameters: {
    learningRate: learningRate(1),
    history: steps(10, 1, "pairs of steps and differences of gradients"),
    maxStep: amount(1, "largest Euclidean length of a step; 0 is no limit"),
  },
  buffers: () => 2,
  create: limitedMemory,
});

/**
 * L-BFGS without a line search, for full batches: x ← x - α H g, where H is the inverse Hessian that the last steps suggest.
 * Pairs with sᵀy ≤ 1e-10 are dropped, and the first step is scaled by min(1, 1 / ‖g‖₁). No step is longer than `maxStep`:
 * differences of gradients of two mini-batches are mostly noise, and what they suggest may be any length.
 */
export const lbfgs = lbfgsRecord.create;
