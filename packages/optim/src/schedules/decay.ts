import { ArgumentError, type Tensor } from "@thalweg/tensor";
import { nonNegative, positive } from "../constant";
import { checkSteps, type Schedule, schedule } from "./schedule";
import { asFloat, progress, stepCount, type WarmupOptions, warmedUp, warmupNumbers } from "./warmup";

/** A schedule from a peak to an end within a number of steps; past it the end holds. */
export interface DecayToEndOptions extends WarmupOptions {
  readonly peak: number;
  /** Index of the first step that has the value `end`. */
  readonly totalSteps: number;
  /** Default 0. */
  readonly end?: number;
}

/**
 * Linear warm-up, then half a period of a cosine: end + (peak - end) (1 + cos πf) / 2.
 *
 * @see Loshchilov & Hutter, SGDR, 2017
 */
export const cosine = (options: DecayToEndOptions): Schedule => toEnd("cosine", options, (f) => cosineFall(f));

/** Linear warm-up, then linear to the end. */
export const linear = (options: DecayToEndOptions): Schedule => toEnd("linear", options, (f) => f.neg().add(1));

export interface PolynomialOptions extends DecayToEndOptions {
  /** Greater than 0. Default 1. */
  readonly power?: number;
}

/** Linear warm-up, then end + (peak - end) (1 - f)^power. */
export function polynomial({ power = 1, ...options }: PolynomialOptions): Schedule {
  return toEnd("polynomial", options, (f, c) => powerOf(f.neg().add(1), c.power), { power: [power, positive] });
}

/** (1 + cos πf) / 2, from 1 to 0, as a square, which loses no digits where it is small. */
export const cosineFall = (f: Tensor): Tensor =>
  f
    .mul(Math.PI / 2)
    .cos()
    .square();

/** x^y for x ≥ 0 and y > 0; 0 at x = 0, where the logarithm is not finite. */
const powerOf = (x: Tensor, y: Tensor): Tensor => x.greater(0).where(x.maximum(1e-30).log().mul(y).exp(), 0);

/** @param fall The part of the height that is left at progress f. */
function toEnd<N extends string = never>(
  owner: string,
  { peak, totalSteps, end = 0, ...warmup }: DecayToEndOptions,
  fall: (f: Tensor, numbers: Readonly<Record<N, Tensor>>) => Tensor,
  more: Readonly<Record<N, readonly [number, typeof positive]>> = {} as never,
): Schedule {
  const { warmupSteps = 0 } = warmup;
  const numbers = {
    peak: [peak, nonNegative] as const,
    end: [end, nonNegative] as const,
    totalSteps: stepCount(owner, "totalSteps", totalSteps, 1),
    ...warmupNumbers(owner, warmup),
    ...more,
  };
  if (warmupSteps > totalSteps) {
    throw new ArgumentError(`${owner}: ${warmupSteps} warmupSteps are more than ${totalSteps} totalSteps. Give fewer.`);
  }
  return schedule(owner, numbers, (step, c) => {
    const left = fall(progress(step, c.warmupSteps, c.totalSteps), c as never);
    return warmedUp(step, c, c.end.add(c.peak.sub(c.end).mul(left)));
  });
}

export interface StepDecayOptions {
  readonly peak: number;
  readonly factor: number;
  /** Steps from one factor to the next. */
  readonly every: number;
}

/** peak · factor^⌊i / every⌋. */
export function stepDecay({ peak, factor, every }: StepDecayOptions): Schedule {
  const owner = "stepDecay";
  const numbers = {
    peak: [peak, nonNegative],
    factor: [factor, positive],
    every: stepCount(owner, "every", every, 1),
  } as const;
  // Integers divide exactly where a quotient of floats may fall short of the next whole number.
  return schedule(owner, numbers, (step, c) => c.peak.mul(powerOf(c.factor, asFloat(step.div(c.every.cast("u32"))))));
}

/** peak · factor^(i / every). */
export function exponential({ peak, factor, every }: StepDecayOptions): Schedule {
  const numbers = { peak: [peak, nonNegative], factor: [factor, positive], every: [every, positive] } as const;
  return schedule("exponential", numbers, (step, c) => c.peak.mul(powerOf(c.factor, asFloat(step).div(c.every))));
}

export interface MultiStepOptions {
  readonly peak: number;
  readonly factor: number;
  /** Step indices from which one more factor holds. */
  readonly at: readonly number[];
}

/** peak · factor^(number of milestones that are reached). */
export function multiStep({ peak, factor, at }: MultiStepOptions): Schedule {
  for (const [index, milestone] of at.entries()) checkSteps(`multiStep: at[${index}]`, milestone);
  return schedule("multiStep", { peak: [peak, nonNegative], factor: [factor, positive] }, (step, c) =>
    at.reduce((value, milestone) => value.mul(step.greaterEqual(milestone).where(c.factor, 1)), c.peak),
  );
}

export interface InverseTimeOptions {
  readonly peak: number;
  readonly decay: number;
}

/** peak / (1 + decay · i). */
export function inverseTime({ peak, decay }: InverseTimeOptions): Schedule {
  return schedule("inverseTime", { peak: [peak, nonNegative], decay: [decay, nonNegative] }, (step, c) =>
    c.peak.div(asFloat(step).mul(c.decay).add(1)),
  );
}

export interface InverseSqrtOptions {
  readonly peak: number;
  /** Steps until the peak; at least 1. */
  readonly warmupSteps: number;
}

/** peak · min(t / W, √(W / t)) with t = i + 1. */
export function inverseSqrt({ peak, warmupSteps }: InverseSqrtOptions): Schedule {
  const owner = "inverseSqrt";
  const numbers = { peak: [peak, nonNegative], warmupSteps: stepCount(owner, "warmupSteps", warmupSteps, 1) } as const;
  return schedule(owner, numbers, (step, c) => {
    const t = asFloat(step.add(1));
    return c.peak.mul(t.div(c.warmupSteps).minimum(c.warmupSteps.div(t).sqrt()));
  });
}

export interface NoamOptions extends InverseSqrtOptions {
  /** Width of the model. */
  readonly dim: number;
}

/**
 * peak · dim^-½ · min(t^-½, t W^-3/2) with t = i + 1.
 *
 * @see Vaswani et al., Attention Is All You Need, 2017, eq. 3
 */
export function noam({ peak, dim, warmupSteps }: NoamOptions): Schedule {
  const owner = "noam";
  const numbers = {
    peak: [peak, nonNegative],
    dim: [dim, positive],
    warmupSteps: stepCount(owner, "warmupSteps", warmupSteps, 1),
  } as const;
  return schedule(owner, numbers, (step, c) => {
    const t = asFloat(step.add(1));
    const rise = t.div(c.warmupSteps.mul(c.warmupSteps.sqrt()));
    return c.peak.div(c.dim.sqrt()).mul(t.sqrt().reciprocal().minimum(rise));
  });
}
