/** Least squares by products with an operator and its transpose. */
import { ArgumentError, arange, compile, full, NonFiniteError, scalar, scan, type Tensor } from "@thalweg/tensor";
import { flattenTree, type LinearOperator, onVectors, unflattenTree } from "../operators/linear-operator";
import { iterationsPerChunk } from "./conjugate-gradient";

export interface LsmrOptions {
  /** λ of λ² ‖x‖². Default 0. */
  readonly damping?: number;
  /** Stop where ‖Aᵀ (b - A x) - λ² x‖ is this small relative to ‖Aᵀ b‖. Default 1e-5. */
  readonly tolerance?: number;
  /** Default: four times the number of unknowns, at most 1000. */
  readonly maxIterations?: number;
}

export interface LsmrResult<T> {
  readonly solution: T;
  readonly iterations: number;
  readonly reason: "converged" | "maxIterations";
  /** ‖Aᵀ (b - A x) - λ² x‖ / ‖Aᵀ b‖ after each iteration, by recurrence. */
  readonly normalResiduals: readonly number[];
  /** ‖b - A x‖ / ‖b‖ at the end, computed. */
  readonly relativeResidual: number;
}

/** Scalars have the letters of the paper. (A type, so that it counts as a tree.) */
type State = {
  readonly u: Tensor;
  readonly v: Tensor;
  readonly h: Tensor;
  readonly hBar: Tensor;
  readonly x: Tensor;
  readonly alpha: Tensor;
  readonly alphaBar: Tensor;
  readonly zetaBar: Tensor;
  readonly rho: Tensor;
  readonly rhoBar: Tensor;
  readonly cBar: Tensor;
  readonly sBar: Tensor;
  /** Bool: no more iterations. */
  readonly isDone: Tensor;
};

const norm = (v: Tensor): Tensor => v.square().sum().sqrt();

/** v / length, or zeros of a length of 0. */
const unit = (v: Tensor, length: Tensor): Tensor => v.div(length.greater(0).where(length, 1));

const over = (a: Tensor, b: Tensor): Tensor => a.div(b.equal(0).where(1, b));

/**
 * The x that minimises ‖A x - b‖² + λ² ‖x‖², of several the shortest. For operators that are not square or, as Hessians,
 * not positive definite.
 *
 * @param b A tree like the range.
 * @throws NonFiniteError if products are not finite.
 * @see Fong and Saunders, LSMR: an iterative algorithm for sparse least-squares problems (2011)
 */
export async function lsmr<In, Out>(
  operator: LinearOperator<In, Out>,
  b: Out,
  { damping = 0, tolerance = 1e-5, ...options }: LsmrOptions = {},
): Promise<LsmrResult<In>> {
  if (!(tolerance > 0) || !(damping >= 0)) {
    throw new ArgumentError(
      `lsmr: tolerance ${tolerance} and damping ${damping}. Give a positive tolerance and a damping of at least 0.`,
    );
  }
  const map = onVectors(operator);
  const right = flattenTree(b);
  const { maxIterations = Math.min(1000, 4 * map.domain.size) } = options;

  const begin = compile((target: Tensor): State => {
    const beta = norm(target);
    const u = unit(target, beta);
    const first = map.applyTranspose(u);
    const alpha = norm(first);
    const v = unit(first, alpha);
    const one = full([], 1);
    return {
      u,
      v,
      h: v,
      hBar: v.zerosLike(),
      x: v.zerosLike(),
      alpha,
      alphaBar: alpha,
      zetaBar: alpha.mul(beta),
      rho: one,
      rhoBar: one,
      cBar: one,
      sBar: full([], 0),
      isDone: alpha.mul(beta).equal(0),
    };
  });
  const step = (s: State, least: Tensor, isAllowed: Tensor): State => {
    const nextU = map.apply(s.v).sub(s.u.mul(s.alpha));
    const beta = norm(nextU);
    const u = unit(nextU, beta);
    const nextV = map.applyTranspose(u).sub(s.v.mul(beta));
    const alpha = norm(nextV);
    const v = unit(nextV, alpha);
    const alphaHat = s.alphaBar
      .square()
      .add(damping ** 2)
      .sqrt();
    const rho = alphaHat.square().add(beta.square()).sqrt();
    const [c, sine] = [over(alphaHat, rho), over(beta, rho)];
    const theta = sine.mul(alpha);
    const thetaBar = s.sBar.mul(rho);
    const turned = s.cBar.mul(rho);
    const rhoBar = turned.square().add(theta.square()).sqrt();
    const [cBar, sBar] = [over(turned, rhoBar), over(theta, rhoBar)];
    const zeta = cBar.mul(s.zetaBar);
    const hBar = s.h.sub(s.hBar.mul(over(thetaBar.mul(rho), s.rho.mul(s.rhoBar))));
    const zetaBar = sBar.mul(s.zetaBar).neg();
    const next: State = {
      u,
      v,
      h: v.sub(s.h.mul(over(theta, rho))),
      hBar,
      x: s.x.add(hBar.mul(over(zeta, rho.mul(rhoBar)))),
      alpha,
      alphaBar: c.mul(alpha),
      zetaBar,
      rho,
      rhoBar,
      cBar,
      sBar,
      isDone: zetaBar.abs().lessEqual(least),
    };
    const waits = s.isDone.or(isAllowed.not());
    const names = Object.keys(next) as (keyof State)[];
    return Object.fromEntries(names.map((name) => [name, waits.where(s[name], next[name])])) as State;
  };
  const program = compile((state: State, least: Tensor, left: Tensor) =>
    scan(
      (own: State, index: Tensor) => {
        const isAllowed = left.greater(index);
        const next = step(own, least, isAllowed);
        return [next, { residual: next.zetaBar.abs(), moved: own.isDone.not().and(isAllowed).cast("f32") }];
      },
      state,
      arange(iterationsPerChunk),
    ),
  );

  let state = begin(right) as State;
  const size = await state.zetaBar.item();
  const finite = (value: number): number => {
    if (Number.isFinite(value)) return value;
    throw new NonFiniteError(`lsmr: a product of ${operator.name} is not finite. Check operator and b.`);
  };
  const least = scalar(finite(size) * tolerance);
  const normalResiduals: number[] = [];
  let isDone = size === 0;
  for (let done = 0; done < maxIterations && !isDone; done += iterationsPerChunk) {
    const [next, report] = program(state, least, scalar(maxIterations - done));
    state = next as State;
    const [residual, moved] = await Promise.all([report.residual.data(), report.moved.data()]);
    moved.forEach((has, index) => {
      if (has !== 0) normalResiduals.push(finite(residual[index] as number) / size);
    });
    isDone = Boolean(await state.isDone.item());
  }
  begin.dispose();
  program.dispose();
  const [left, whole] = await Promise.all([norm(right.sub(map.apply(state.x))).item(), norm(right).item()]);
  return {
    solution: unflattenTree(state.x, operator.domain),
    iterations: normalResiduals.length,
    reason: isDone ? "converged" : "maxIterations",
    normalResiduals,
    relativeResidual: whole === 0 ? 0 : left / whole,
  };
}
