/** Linear systems by products alone. Vectors stay on the device; what is read are a few scalars for each chunk of steps. */
import { vmap } from "@thalweg/autograd";
import { ArgumentError, arange, compile, NonFiniteError, scalar, scan, type Tensor, where } from "@thalweg/tensor";
import { flattenTree, type LinearOperator, onVectors, unflattenTree } from "../operators/linear-operator";

export interface ConjugateGradientOptions<T> {
  /** Stop where ‖b - A x‖ is this small relative to ‖b‖. Default 1e-4. */
  readonly tolerance?: number;
  /** Default: ten times the number of unknowns, at most 1000. */
  readonly maxIterations?: number;
  /** Approximates A⁻¹ v; symmetric and positive definite. Default: nothing. */
  readonly preconditioner?: (v: T) => T;
  /** Where to begin. Default: zero. */
  readonly start?: T;
}

/** How one system ended. */
export interface ConjugateGradientHistory {
  readonly iterations: number;
  /**
   * - `"converged"`: the tolerance is met.
   * - `"maxIterations"`: it is not.
   * - `"negativeCurvature"`: a direction with vᵀ A v ≤ 0 was met, the operator is not positive definite; the solution is
   *   what was reached before it.
   */
  readonly reason: "converged" | "maxIterations" | "negativeCurvature";
  /** ‖b - A x‖ / ‖b‖ after each iteration. */
  readonly relativeResiduals: readonly number[];
  /** ½ xᵀ A x - bᵀ x after each iteration. */
  readonly quadraticModel: readonly number[];
}

export interface ConjugateGradientResult<T> extends ConjugateGradientHistory {
  readonly solution: T;
}

export interface ConjugateGradientsResult<T> {
  /** Like the right sides: one more axis in front. */
  readonly solutions: T;
  /** One for each right side. */
  readonly histories: readonly ConjugateGradientHistory[];
}

/** Iterations in one submit. */
export const iterationsPerChunk = 8;

/** k systems at once. (A type, so that it counts as a tree.) */
export type ConjugateGradientState = {
  /** `[k, n]`. */
  readonly x: Tensor;
  readonly r: Tensor;
  readonly p: Tensor;
  /** rᵀ M⁻¹ r: `[k]`. */
  readonly rho: Tensor;
  /** `[k]`, see {@link statuses}. */
  readonly status: Tensor;
};

/** What a state says of a system. */
const statuses = { running: 0, converged: 1, negativeCurvature: 2, notFinite: 3 } as const;

/** A system on vectors `[k, n]`. */
export interface VectorSystem {
  readonly apply: (v: Tensor) => Tensor;
  /** M⁻¹ v. */
  readonly smooth: (v: Tensor) => Tensor;
  readonly target: Tensor;
  /** On ‖b - A x‖ / ‖b‖. */
  readonly tolerance: number;
}

/** What an iteration reports, each `[iterations, k]`. */
export type ConjugateGradientReport = {
  readonly relativeResidual: Tensor;
  readonly quadraticModel: Tensor;
  /** 1 where the iteration was made. */
  readonly moved: Tensor;
  /** The solutions so far, `[iterations, k, n]`. */
  readonly iterates: Tensor;
};

/** Products of the rows: `[k]`. */
const dots = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum({ axis: 1 });

const column = (a: Tensor): Tensor => a.expandDims(1);

const isSmall = (r: Tensor, { target, tolerance }: VectorSystem): Tensor =>
  dots(r, r).lessEqual(dots(target, target).mul(tolerance ** 2));

/** The state at `x`, `[k, n]`. */
export function beginConjugateGradient(system: VectorSystem, x: Tensor): ConjugateGradientState {
  const r = system.target.sub(system.apply(x));
  const z = system.smooth(r);
  const rho = dots(r, z);
  const status = rho.isFinite().where(isSmall(r, system).cast("i32"), statuses.notFinite);
  return { x, r, p: z, rho, status };
}

/**
 * Some iterations, of which those from `left` on do nothing. What is not used of the report costs nothing.
 *
 * @param left scalar.
 */
export function continueConjugateGradient(
  system: VectorSystem,
  state: ConjugateGradientState,
  left: Tensor,
  iterations: number = iterationsPerChunk,
): [ConjugateGradientState, ConjugateGradientReport] {
  const { apply, smooth, target } = system;
  return scan(
    ({ x, r, p, rho, status }: ConjugateGradientState, index: Tensor) => {
      const product = apply(p);
      const curvature = dots(p, product);
      const isRunning = status.equal(statuses.running).and(left.greater(index));
      const isPositive = curvature.greater(0);
      const moves = isRunning.and(isPositive);
      const alpha = moves.where(rho.div(isPositive.where(curvature, 1)), 0);
      const nextX = x.add(p.mul(column(alpha)));
      const nextR = r.sub(column(moves).where(product.mul(column(alpha)), 0));
      const z = smooth(nextR);
      const nextRho = moves.where(dots(nextR, z), rho);
      const beta = moves.where(nextRho.div(rho.equal(0).where(1, rho)), 0);
      const after = where(isPositive, isSmall(nextR, system).cast("i32"), statuses.negativeCurvature);
      const next = isRunning.where(curvature.isFinite().where(after, statuses.notFinite), status);
      const size = dots(target, target).sqrt();
      const report: ConjugateGradientReport = {
        relativeResidual: dots(nextR, nextR).sqrt().div(size.equal(0).where(1, size)),
        quadraticModel: dots(nextX, nextR.add(target)).mul(-0.5),
        moved: moves.cast("f32"),
        iterates: nextX,
      };
      const own = {
        x: nextX,
        r: nextR,
        p: column(moves).where(z.add(p.mul(column(beta))), p),
        rho: nextRho,
        status: next,
      };
      return [own, report];
    },
    state,
    arange(iterations),
  );
}

/** @throws NonFiniteError if the status of a system says so. */
export function checkStatus(operation: string, operator: string, status: ArrayLike<number>): void {
  if (!Array.from(status).includes(statuses.notFinite)) return;
  throw new NonFiniteError(`${operation}: a product of ${operator} is not finite. Check operator and b.`);
}

const reasonOf = (status: number | undefined): ConjugateGradientHistory["reason"] => {
  if (status === statuses.converged) return "converged";
  return status === statuses.negativeCurvature ? "negativeCurvature" : "maxIterations";
};

/**
 * Solves A x = b for a symmetric positive definite operator.
 *
 * @throws NonFiniteError if products are not finite.
 * @see Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems (1952)
 */
export async function conjugateGradient<T>(
  operator: LinearOperator<T>,
  b: T,
  { preconditioner, start, ...options }: ConjugateGradientOptions<T> = {},
): Promise<ConjugateGradientResult<T>> {
  const row = (tree: T): Tensor => flattenTree(tree).expandDims(0);
  const { x, histories } = await solveSystems("conjugateGradient", operator, row(b), {
    ...options,
    ...(start !== undefined && { start: row(start) }),
    apply: (v) => row(operator.apply(unflattenTree(v.reshape([-1]), operator.domain))),
    smooth: (v) =>
      preconditioner === undefined ? v : row(preconditioner(unflattenTree(v.reshape([-1]), operator.domain))),
  });
  return { solution: unflattenTree(x.reshape([-1]), operator.domain), ...(histories[0] as ConjugateGradientHistory) };
}

/**
 * {@link conjugateGradient} for k right sides: every iteration multiplies all of them in one pass. Systems that are done
 * wait for the others.
 *
 * @param b Trees with one more axis in front, of k. So has `start`; the preconditioner takes one vector.
 */
export async function conjugateGradients<T>(
  operator: LinearOperator<T>,
  b: T,
  { preconditioner, start, ...options }: ConjugateGradientOptions<T> = {},
): Promise<ConjugateGradientsResult<T>> {
  const map = onVectors(operator);
  const smooth = (v: Tensor): Tensor => flattenTree((preconditioner as (v: T) => T)(unflattenTree(v, operator.domain)));
  const { x, histories } = await solveSystems("conjugateGradients", operator, flattenTree(b, 1), {
    ...options,
    ...(start !== undefined && { start: flattenTree(start, 1) }),
    apply: vmap(map.apply),
    smooth: preconditioner === undefined ? (v) => v : vmap(smooth),
  });
  return { solutions: unflattenTree(x, operator.domain), histories };
}

interface SystemsOptions extends Pick<VectorSystem, "apply" | "smooth"> {
  readonly tolerance?: number;
  readonly maxIterations?: number;
  readonly start?: Tensor;
}

async function solveSystems(
  operation: string,
  { name }: Pick<LinearOperator, "name">,
  right: Tensor,
  { apply, smooth, tolerance = 1e-4, start, ...options }: SystemsOptions,
): Promise<{ readonly x: Tensor; readonly histories: readonly ConjugateGradientHistory[] }> {
  const [count, n] = right.shape as [number, number];
  const { maxIterations = Math.min(1000, 10 * n) } = options;
  if (!(tolerance > 0)) throw new ArgumentError(`${operation}: tolerance ${tolerance}. Give a positive number.`);
  const systemOf = (target: Tensor): VectorSystem => ({ apply, smooth, target, tolerance });
  const begin = compile((target: Tensor, x: Tensor) => beginConjugateGradient(systemOf(target), x));
  const program = compile((state: ConjugateGradientState, target: Tensor, left: Tensor) => {
    const [next, { relativeResidual, quadraticModel, moved }] = continueConjugateGradient(
      systemOf(target),
      state,
      left,
    );
    return [next, { relativeResidual, quadraticModel, moved }] as const;
  });

  let state = begin(right, start ?? right.zerosLike()) as ConjugateGradientState;
  const residuals = Array.from({ length: count }, (): number[] => []);
  const models = Array.from({ length: count }, (): number[] => []);
  let status = await state.status.data();
  checkStatus(operation, name, status);
  for (let done = 0; done < maxIterations && status.includes(statuses.running); done += iterationsPerChunk) {
    const [next, report] = program(state, right, scalar(maxIterations - done));
    state = next as ConjugateGradientState;
    status = await state.status.data();
    checkStatus(operation, name, status);
    const [residual, model, moved] = (await Promise.all(
      [report.relativeResidual, report.quadraticModel, report.moved].map((each) => each.data()),
    )) as [Float32Array, Float32Array, Float32Array];
    moved.forEach((has, at) => {
      if (has === 0) return;
      residuals[at % count]?.push(residual[at] as number);
      models[at % count]?.push(model[at] as number);
    });
  }
  const histories = residuals.map((relativeResiduals, index) => ({
    iterations: relativeResiduals.length,
    reason: reasonOf(status[index]),
    relativeResiduals,
    quadraticModel: models[index] as number[],
  }));
  begin.dispose();
  program.dispose();
  return { x: state.x, histories };
}
