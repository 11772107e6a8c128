import { ArgumentError, type Tensor } from "@thalweg/tensor";
import { nonNegative } from "../constant";
import { checkSteps, type Schedule, schedule } from "./schedule";

export interface PiecewiseConstantOptions {
  /** Value before the first boundary. */
  readonly initial: number;
  /** Step indices, rising, at which the next factor begins to hold. */
  readonly boundaries: readonly number[];
  /** Factors on the initial value, one per boundary. */
  readonly factors: readonly number[];
}

/** `initial` before the first boundary, from `boundaries[k]` on `initial * factors[k]`. */
export function piecewiseConstant({ initial, boundaries, factors }: PiecewiseConstantOptions): Schedule {
  const owner = "piecewiseConstant";
  if (boundaries.length !== factors.length) {
    throw new ArgumentError(
      `${owner}: ${boundaries.length} boundaries and ${factors.length} factors. Give as many of both.`,
    );
  }
  boundaries.forEach((boundary, index) => {
    checkSteps(`${owner}: boundaries[${index}]`, boundary, index === 0 ? 0 : (boundaries[index - 1] as number));
  });
  const numbers = Object.fromEntries([
    ["initial", [initial, nonNegative] as const],
    ...factors.map((factor, index) => [`factor${index + 1}`, [factor, nonNegative] as const] as const),
  ]);
  return schedule(owner, numbers, (step, c) => {
    const factor = boundaries.reduce<Tensor | undefined>((before, boundary, index) => {
      const next = c[`factor${index + 1}`] as Tensor;
      return step.greaterEqual(boundary).where(next, before ?? 1);
    }, undefined);
    const base = c.initial as Tensor;
    return factor === undefined ? base : base.mul(factor);
  });
}
