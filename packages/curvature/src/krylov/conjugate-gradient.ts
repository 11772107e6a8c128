/** Linear systems by products alone. Vectors stay on the device; what is read are a few scalars for each chunk of steps. */
import { ArgumentError, compile, NonFiniteError, scalar, scan, type Tensor, where } from "@thalweg/tensor";
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

export interface ConjugateGradientResult<T> {
  readonly solution: T;
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

/** Iterations in one submit. */
const chunk = 8;

type State = {
  readonly x: Tensor;
  readonly r: Tensor;
  readonly p: Tensor;
  /** rᵀ M⁻¹ r. */
  readonly rho: Tensor;
  /** 0 running, 1 converged, 2 negative curvature, 3 not finite. */
  readonly status: Tensor;
};

const dot = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum();

/**
 * Solves A x = b for a symmetric positive definite operator.
 *
 * @throws NonFiniteError if products are not finite.
 * @see Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems (1952)
 */
export async function conjugateGradient<T>(
  operator: LinearOperator<T>,
  b: T,
  options: ConjugateGradientOptions<T> = {},
): Promise<ConjugateGradientResult<T>> {
  const { tolerance = 1e-4, preconditioner, start } = options;
  if (!(tolerance > 0)) throw new ArgumentError(`conjugateGradient: tolerance ${tolerance}. Give a positive number.`);
  const map = onVectors(operator);
  const right = flattenTree(b);
  const { maxIterations = Math.min(1000, 10 * right.size) } = options;
  const smooth = (v: Tensor): Tensor =>
    preconditioner === undefined ? v : flattenTree(preconditioner(unflattenTree(v, operator.domain)));

  const begin = (target: Tensor, x: Tensor): State => {
    const r = target.sub(map.apply(x));
    const z = smooth(r);
    return {
      x,
      r,
      p: z,
      rho: dot(r, z),
      status: dot(r, r)
        .lessEqual(dot(target, target).mul(tolerance ** 2))
        .cast("i32"),
    };
  };
  const step = ({ x, r, p, rho, status }: State, target: Tensor, isAllowed: Tensor): readonly [State, Tensor] => {
    const product = map.apply(p);
    const curvature = dot(p, product);
    const isRunning = status.equal(0).and(isAllowed);
    const isPositive = curvature.greater(0);
    const moves = isRunning.and(isPositive);
    const alpha = moves.where(rho.div(isPositive.where(curvature, 1)), 0);
    const nextX = x.add(p.mul(alpha));
    const nextR = r.sub(product.mul(alpha));
    const z = smooth(nextR);
    const nextRho = moves.where(dot(nextR, z), rho);
    const beta = moves.where(nextRho.div(rho.equal(0).where(1, rho)), 0);
    const isDone = dot(nextR, nextR).lessEqual(dot(target, target).mul(tolerance ** 2));
    const next = where(isRunning, where(curvature.isFinite(), where(isPositive, isDone.cast("i32"), 2), 3), status);
    const report = [
      dot(nextR, nextR).sqrt(),
      dot(target, target).sqrt(),
      dot(nextX, nextR.add(target)).mul(-0.5),
      moves.cast("f32"),
    ];
    return [{ x: nextX, r: nextR, p: moves.where(z.add(p.mul(beta)), p), rho: nextRho, status: next }, joined(report)];
  };
  const first = compile(begin);
  const program = compile((state: State, target: Tensor, left: Tensor) => {
    const reports: Tensor[] = [];
    let own = state;
    for (let index = 0; index < chunk; index++) {
      const [next, report] = step(own, target, left.greater(index));
      own = next;
      reports.push(report);
    }
    return [own, rows(reports)] as const;
  });

  const startVector = start === undefined ? right.zerosLike() : flattenTree(start);
  let state = first(right, startVector);
  const relativeResiduals: number[] = [];
  const quadraticModel: number[] = [];
  let status = await state.status.item();
  while (status === 0 && relativeResiduals.length < maxIterations) {
    const [next, reports] = program(state, right, scalar(maxIterations - relativeResiduals.length));
    state = next as State;
    status = await state.status.item();
    if (status === 3) {
      throw new NonFiniteError(`conjugateGradient: a product of ${operator.name} is not finite. Check operator and b.`);
    }
    const values = await reports.data();
    for (let index = 0; index < chunk; index++) {
      const [residual, size, model, moved] = values.subarray(4 * index, 4 * index + 4) as unknown as [
        number,
        number,
        number,
        number,
      ];
      if (moved === 0) break;
      relativeResiduals.push(residual / size);
      quadraticModel.push(model);
    }
  }
  const reason = status === 1 ? "converged" : status === 2 ? "negativeCurvature" : "maxIterations";
  return {
    solution: unflattenTree(state.x, operator.domain),
    iterations: relativeResiduals.length,
    reason,
    relativeResiduals,
    quadraticModel,
  };
}

const joined = (scalars: readonly Tensor[]): Tensor => rows(scalars.map((own) => own.reshape([1]))).flatten();

function rows(parts: readonly Tensor[]): Tensor {
  const [first] = parts as [Tensor];
  const count = first.shape.at(-1) as number;
  return parts
    .map((part, index) =>
      part.reshape([1, count]).pad([
        [index, parts.length - 1 - index],
        [0, 0],
      ]),
    )
    .reduce((sum, own) => sum.add(own));
}

export interface NeumannOptions {
  /** α, below 2 / the largest eigenvalue. */
  readonly scale: number;
  /** The highest power k. Default 50. */
  readonly terms?: number;
}

/**
 * α Σ_k (I - α A)ᵏ b, k from 0, which tends to A⁻¹ b for symmetric positive definite A. Lazy: terms are products one after another.
 *
 * @throws ArgumentError for a scale that is not positive.
 */
export function neumannInverse<T>(operator: LinearOperator<T>, b: T, { scale, terms = 50 }: NeumannOptions): T {
  if (!(scale > 0) || !Number.isInteger(terms) || terms < 1) {
    throw new ArgumentError(
      `neumannInverse: scale ${scale} and ${terms} terms. Give a positive scale and at least 1 term.`,
    );
  }
  const map = onVectors(operator);
  const first = flattenTree(b);
  const [last] = scan(
    ({ term, sum }: { readonly term: Tensor; readonly sum: Tensor }) => {
      const next = term.sub(map.apply(term).mul(scale));
      return [{ term: next, sum: sum.add(next) }, null];
    },
    { term: first, sum: first },
    null,
    { length: terms },
  );
  return unflattenTree(last.sum.mul(scale), operator.domain);
}
