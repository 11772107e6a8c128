/** Hessian-free optimization: each step minimises a quadratic model of the loss by conjugate gradients. */
import { grad } from "@thalweg/autograd";
import {
  adaptDamping,
  type Batch,
  type CurvatureProblem,
  flattenTree,
  ggnDiagonal,
  ggnOperator,
  hessianOperator,
  onVectors,
  problemLoss,
  type SavedIterate,
  type TruncatedResult,
  truncatedSolver,
  unflattenTree,
} from "@thalweg/curvature";
import { ArgumentError, compile, evaluate, full, NonFiniteError, scalar, sizeOf, type Tensor } from "@thalweg/tensor";

export interface HessianFreeOptions<P, X> {
  readonly problem: CurvatureProblem<P, X>;
  /** The matrix of the model: Gauss-Newton, or the Hessian, which may have directions of negative curvature. Default `"ggn"`. */
  readonly curvature?: "ggn" | "hessian";
  /** λ of the first step. Default 1. */
  readonly damping?: number;
  /** λ changes by this factor, down where the model is good and up where it is not. Default 2/3. */
  readonly omega?: number;
  /** Iterations of conjugate gradients in a step, at most. Default 250. */
  readonly maxIterations?: number;
  /** Share of the last solution with which the next one starts. Default 0.95; 0 starts from zero. */
  readonly warmStart?: number;
  /** Power of the diagonal that preconditions; 0 is none. Default 0.75. */
  readonly preconditionerPower?: number;
}

/** What a step hands to the next one: a tree of tensors, so that it can be saved and restored. */
export type HessianFreeState<P> = {
  readonly params: P;
  /** The last solution of conjugate gradients, `[n]`. */
  readonly previous: Tensor;
  /** λ: scalar. */
  readonly damping: Tensor;
};

export interface HessianFreeReport {
  /** L before and after the step, on its batch. */
  readonly loss: number;
  readonly newLoss: number;
  /** Iterations of conjugate gradients, and after which of them the direction was taken. */
  readonly iterations: number;
  readonly chosenIteration: number;
  readonly reason: TruncatedResult["reason"];
  /** Factor of the direction by the line search; 0 if no step made the loss smaller, and parameters stay. */
  readonly rate: number;
  /** Change of the loss over that of the quadratic model, before the line search. NaN if the model promised nothing. */
  readonly ratio: number;
  /** λ of this step. */
  readonly damping: number;
}

export interface HessianFree<P, X> {
  init(params: P): HessianFreeState<P>;
  /**
   * One step.
   *
   * @param batch For loss and gradient: large, or all data.
   * @param curvatureBatch For products with the curvature. Default: the same; a quarter of it mostly does.
   * @throws NonFiniteError if the loss or a product is not finite at the parameters.
   */
  step(
    state: HessianFreeState<P>,
    batch: Batch<X>,
    curvatureBatch?: Batch<X>,
  ): Promise<readonly [HessianFreeState<P>, HessianFreeReport]>;
  /** Frees the compiled programs. */
  dispose(): void;
}

/** Armijo's condition of the line search: a step has to gain this share of what the gradient promises. */
const sufficient = 1e-2;
/** 0.8^j, j up to this. */
const shrinks = 60;

/**
 * A step solves (C + λ I) u = -g by truncated conjugate gradients (started from the last solution, preconditioned by
 * (ρ Σ g_n² + λ)^0.75), goes back over the iterates that it kept as long as that makes the loss smaller, shortens the step by
 * 0.8^j until the loss falls enough, and adapts λ by how well the model predicted the loss.
 *
 * There is no learning rate. A step costs one gradient, two or three of them for each iteration, and some losses. Its programs
 * are compiled at the first step; batches of other shapes compile again.
 *
 * @throws ArgumentError for options outside of their ranges.
 * @see Martens, Deep learning via Hessian-free optimization (2010)
 * @see Martens and Sutskever, Training deep and recurrent networks with Hessian-free optimization (2012)
 */
export function hessianFree<P, X = Tensor>(options: HessianFreeOptions<P, X>): HessianFree<P, X> {
  const { problem, curvature = "ggn", damping = 1, omega = 2 / 3, maxIterations = 250 } = options;
  const { warmStart = 0.95, preconditionerPower = 0.75 } = options;
  if (
    !(damping > 0) ||
    !(omega > 0 && omega < 1) ||
    !(warmStart >= 0 && warmStart <= 1) ||
    !(preconditionerPower >= 0)
  ) {
    throw new ArgumentError(
      `hessianFree: damping ${damping}, omega ${omega}, warmStart ${warmStart}, preconditionerPower ${preconditionerPower}. Give a ` +
        "positive damping, an omega between 0 and 1, a warm start from 0 to 1 and a power of at least 0.",
    );
  }
  const operatorOf = (params: P, batch: Batch<X>) =>
    onVectors((curvature === "ggn" ? ggnOperator : hessianOperator)(problem, params, batch));
  const moved = (params: P, direction: Tensor, rate: Tensor): P =>
    unflattenTree(flattenTree(params).add(direction.mul(rate)), params);

  const look = compile((params: P, batch: Batch<X>) => {
    const loss = problemLoss(problem, params, batch);
    const gradient = flattenTree(grad((at: P) => problemLoss(problem, at, batch))(params));
    const squares = flattenTree(ggnDiagonal(problem, params, batch, { fisher: "empirical" }));
    const terms = sizeOf(problem.model(params, batch.inputs).shape.slice(0, -1));
    return { loss, gradient, squares: problem.reduction === "sum" ? squares : squares.div(terms) };
  });
  const solver = truncatedSolver(
    (params: P, batch: Batch<X>, lambda: Tensor, squares: Tensor) => {
      const { apply } = operatorOf(params, batch);
      const diagonal = squares.add(lambda).pow(preconditionerPower);
      return { apply: (v) => apply(v).add(v.mul(lambda)), smooth: (v) => v.div(diagonal) };
    },
    { maxIterations },
  );
  const lossAt = compile((params: P, batch: Batch<X>, direction: Tensor, rate: Tensor) =>
    problemLoss(problem, moved(params, direction, rate), batch),
  );
  const judge = compile((params: P, batch: Batch<X>, direction: Tensor, gradient: Tensor) => {
    const slope = direction.mul(gradient).sum();
    const curved = direction.mul(operatorOf(params, batch).apply(direction)).sum();
    return { slope, change: curved.mul(0.5).add(slope) };
  });
  const move = compile(moved);

  /** The iterate from which going back further makes the loss larger. */
  async function backtracked(
    iterates: readonly SavedIterate[],
    lossOf: (direction: Tensor) => Promise<number>,
  ): Promise<{ readonly chosen: SavedIterate; readonly loss: number }> {
    const [last, ...earlier] = [...iterates].reverse() as [SavedIterate, ...SavedIterate[]];
    let best = { chosen: last, loss: await lossOf(last.x) };
    for (const iterate of earlier) {
      const loss = await lossOf(iterate.x);
      if (loss >= best.loss) break;
      best = { chosen: iterate, loss };
    }
    return best;
  }

  return {
    init: (params) => ({
      params,
      previous: full([flattenTree(params).size], 0),
      damping: scalar(damping),
    }),
    async step(state, batch, curvatureBatch = batch) {
      const { params } = state;
      const { loss: lossTensor, gradient, squares } = look(params, batch);
      const [loss, lambda] = await Promise.all([lossTensor.item(), state.damping.item()]);
      if (!Number.isFinite(loss)) {
        throw new NonFiniteError(`hessianFree: the loss is ${loss} before the step. Check parameters and data.`);
      }
      const start = state.previous.mul(warmStart);
      const solution = await solver.solve(
        [params, curvatureBatch, state.damping, squares as Tensor],
        (gradient as Tensor).neg(),
        start,
      );
      const lossOf = async (direction: Tensor, rate = 1): Promise<number> => {
        const value = await lossAt(params, batch, direction, scalar(rate)).item();
        return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
      };
      const { chosen, loss: reached } = await backtracked(solution.iterates, lossOf);
      const judged = judge(params, curvatureBatch, chosen.x, gradient as Tensor);
      const [slope, change] = await Promise.all([judged.slope.item(), judged.change.item()]);
      const ratio = change < 0 ? (reached - loss) / change : Number.NaN;

      let rate = 1;
      let newLoss = reached;
      for (let count = 0; count < shrinks && !(newLoss <= loss + sufficient * rate * slope && slope < 0); count++) {
        rate *= 0.8;
        newLoss = slope < 0 ? await lossOf(chosen.x, rate) : Number.POSITIVE_INFINITY;
      }
      const isAccepted = newLoss < loss;
      const next: HessianFreeState<P> = {
        params: isAccepted ? (move(params, chosen.x, scalar(rate)) as P) : params,
        // What led nowhere is no place to start from.
        previous: isAccepted ? (solution.iterates.at(-1) as SavedIterate).x : state.previous.zerosLike(),
        damping: scalar(adaptDamping(lambda, ratio, { omega, interval: 1 })),
      };
      await evaluate([next.previous, next.damping]);
      return [
        next,
        {
          loss,
          newLoss: isAccepted ? newLoss : loss,
          iterations: solution.iterations,
          chosenIteration: chosen.iteration,
          reason: solution.reason,
          rate: isAccepted ? rate : 0,
          ratio,
          damping: lambda,
        },
      ];
    },
    dispose() {
      for (const program of [look, solver, lossAt, judge, move]) program.dispose();
    },
  };
}
