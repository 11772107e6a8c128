/** Conjugate gradients that stop when the quadratic model hardly falls, as Hessian-free optimization wants them. */
import { ArgumentError, compile, evaluate, scalar, type Tensor } from "@thalweg/tensor";
import {
  beginConjugateGradient,
  type ConjugateGradientReport,
  type ConjugateGradientState,
  checkStatus,
  continueConjugateGradient,
  iterationsPerChunk,
  type VectorSystem,
} from "./conjugate-gradient";

/** A on vectors `[n]`, and M⁻¹. */
export interface TruncatedSystem {
  readonly apply: (v: Tensor) => Tensor;
  readonly smooth: (v: Tensor) => Tensor;
}

export interface TruncationOptions {
  /** Iterations at most. Default 250. */
  readonly maxIterations?: number;
  /** ε: see {@link isTruncated}. Default 5e-4. */
  readonly progress?: number;
  /** Iterates are kept at about these powers. Default 1.3. */
  readonly growth?: number;
}

/** A solution on the way. */
export interface SavedIterate {
  readonly iteration: number;
  /** `[n]`. */
  readonly x: Tensor;
  /** ½ xᵀ A x - bᵀ x. */
  readonly model: number;
}

export interface TruncatedResult {
  /** In their order; the last one is where it stopped. Of no iteration the start, if the first direction is already bad. */
  readonly iterates: readonly SavedIterate[];
  readonly iterations: number;
  readonly reason: "truncated" | "maxIterations" | "negativeCurvature";
}

/**
 * Has the model fallen by less than k ε of its value over the last k = max(10, 0.1 i) of i iterations, while below 0?
 *
 * @see Martens, Deep learning via Hessian-free optimization (2010), section 4.4
 */
export function isTruncated(models: readonly number[], progress: number): boolean {
  const count = models.length;
  const window = Math.max(10, Math.floor(0.1 * count));
  if (count <= window) return false;
  const [before, now] = [models[count - 1 - window], models[count - 1]] as [number, number];
  return now < 0 && (now - before) / now < window * progress;
}

/** Systems of one form, compiled once. */
export interface TruncatedSolver<A extends readonly unknown[]> {
  /**
   * Approximates A⁻¹ b, from `start`, both `[n]`.
   *
   * @throws NonFiniteError if products are not finite.
   */
  solve(args: A, b: Tensor, start: Tensor): Promise<TruncatedResult>;
  dispose(): void;
}

/**
 * Truncated conjugate gradients for a system that depends on arguments, such as parameters, batch and damping. Its programs are
 * compiled at the first call and serve all later ones of the same shapes; what each chunk of eight iterations reports is read
 * once.
 *
 * @param build makes the system of tensors; it is traced.
 */
export function truncatedSolver<A extends readonly unknown[]>(
  build: (...args: A) => TruncatedSystem,
  { maxIterations = 250, progress = 5e-4, growth = 1.3 }: TruncationOptions = {},
): TruncatedSolver<A> {
  if (!Number.isInteger(maxIterations) || maxIterations < 1 || !(progress > 0) || !(growth > 1)) {
    throw new ArgumentError(
      `truncatedSolver: ${maxIterations} iterations, progress ${progress}, growth ${growth}. Give at least 1 iteration, a ` +
        "positive progress and a growth above 1.",
    );
  }
  const systemOf = (args: A, target: Tensor): VectorSystem => {
    const { apply, smooth } = build(...args);
    const onRow = (f: (v: Tensor) => Tensor) => (v: Tensor) => f(v.reshape([-1])).expandDims(0);
    // The rule looks at the model, not at residuals; these end it only where there is nothing left to solve.
    return { apply: onRow(apply), smooth: onRow(smooth), target, tolerance: 1e-6 };
  };
  const begin = compile((args: A, b: Tensor, start: Tensor) =>
    beginConjugateGradient(systemOf(args, b.expandDims(0)), start.expandDims(0)),
  );
  const advance = compile((args: A, b: Tensor, state: ConjugateGradientState, left: Tensor) => {
    const [next, report] = continueConjugateGradient(systemOf(args, b.expandDims(0)), state, left);
    const { quadraticModel, moved, iterates } = report;
    return [next, { quadraticModel, moved, iterates }] as const;
  });
  const isKept = (iteration: number): boolean => {
    const power = Math.round(Math.log(iteration) / Math.log(growth));
    return [power - 1, power, power + 1].some((j) => j >= 0 && Math.ceil(growth ** j) === iteration);
  };

  return {
    async solve(args, b, start) {
      let state = begin(args, b, start) as ConjugateGradientState;
      const models: number[] = [];
      const iterates: SavedIterate[] = [];
      let [status] = await state.status.data();
      checkStatus("truncatedSolver", "the system", [status as number]);
      let isEnough = false;
      while (status === 0 && models.length < maxIterations && !isEnough) {
        const done = models.length;
        const [next, report] = advance(args, b, state, scalar(maxIterations - done));
        state = next as ConjugateGradientState;
        [status] = await state.status.data();
        checkStatus("truncatedSolver", "the system", [status as number]);
        const { quadraticModel, moved, iterates: own } = report as Omit<ConjugateGradientReport, "relativeResidual">;
        const [values, hasMoved] = await Promise.all([quadraticModel.data(), moved.data()]);
        const fresh: SavedIterate[] = [];
        for (let index = 0; index < iterationsPerChunk && hasMoved[index] !== 0 && !isEnough; index++) {
          models.push(values[index] as number);
          isEnough = isTruncated(models, progress);
          const iteration = models.length;
          const isLast =
            isEnough || iteration === maxIterations || hasMoved[index + 1] === 0 || index + 1 === iterationsPerChunk;
          if (!isLast && !isKept(iteration)) continue;
          const x = own.slice([index, 0, 0], [index + 1, 1, b.size]).reshape([b.size]);
          fresh.push({ iteration, x, model: values[index] as number });
        }
        await evaluate(fresh.map(({ x }) => x));
        own.dispose();
        // The last one of the chunk before was kept in case that it was the end.
        const last = iterates.at(-1);
        if (last !== undefined && fresh.length > 0 && !isKept(last.iteration)) iterates.pop()?.x.dispose();
        iterates.push(...fresh);
      }
      if (iterates.length === 0) iterates.push({ iteration: 0, x: start, model: 0 });
      const isStopped = isEnough || status === 1;
      return {
        iterates,
        iterations: models.length,
        reason: isStopped ? "truncated" : status === 2 ? "negativeCurvature" : "maxIterations",
      };
    },
    dispose() {
      begin.dispose();
      advance.dispose();
    },
  };
}
