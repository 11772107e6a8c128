import { ArgumentError, type Tensor } from "@thalweg/tensor";
import { fraction, nonNegative, positive } from "../constant";
import { cosineFall } from "./decay";
import { type Schedule, schedule } from "./schedule";
import { asFloat, stepCount, type WarmupOptions, warmedUp, warmupNumbers } from "./warmup";

export interface CosineRestartsOptions {
  readonly peak: number;
  /** Length of the first cycle in steps. */
  readonly firstCycle: number;
  /** Each cycle is this much longer than the one before, rounded to whole steps; at least 1. Default 1. */
  readonly cycleFactor?: number;
  /** Each cycle's peak is this part of the one before. Default 1. */
  readonly peakFactor?: number;
  /** Default 0. */
  readonly end?: number;
}

/** More cycles than this of growing length reach past the last u32 step, or grow so little that they are refused. */
const mostCycles = 256;

/**
 * Cosine decay in cycles; the first step of a cycle is at its peak.
 *
 * @see Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017
 */
export function cosineRestarts(options: CosineRestartsOptions): Schedule {
  const { peak, firstCycle, cycleFactor = 1, peakFactor = 1, end = 0 } = options;
  const owner = "cosineRestarts";
  const numbers = {
    peak: [peak, nonNegative],
    end: [end, nonNegative],
    peakFactor: [peakFactor, positive],
    firstCycle: stepCount(owner, "firstCycle", firstCycle, 1),
  } as const;
  const cycles = cycleFactor === 1 ? undefined : growingCycles(firstCycle, cycleFactor);
  return schedule(owner, numbers, (step, c) => {
    const { index, local, length } = cycles === undefined ? equalCycle(step, c.firstCycle) : cycleOf(step, cycles);
    const height = c.peak.mul(c.peakFactor.log().mul(index).exp());
    return c.end.add(height.sub(c.end).mul(cosineFall(local.div(length))));
  });
}

/** A cycle's number, the step within it, and its length: f32. */
interface Cycle {
  readonly index: Tensor;
  readonly local: Tensor;
  readonly length: Tensor;
}

function equalCycle(step: Tensor, length: Tensor): Cycle {
  const whole = length.cast("u32");
  return { index: asFloat(step.div(whole)), local: asFloat(step.rem(whole)), length };
}

/** First step and length of each cycle that a u32 step can be in. */
function growingCycles(first: number, factor: number): readonly { start: number; length: number }[] {
  if (!(factor > 1) || !Number.isFinite(factor)) {
    throw new ArgumentError(`cosineRestarts: cycleFactor is ${factor}, expected a number in [1, ∞).`);
  }
  const cycles: { start: number; length: number }[] = [];
  for (let start = 0, length = first; start < 2 ** 32; start += length, length = Math.round(length * factor)) {
    cycles.push({ start, length });
    if (cycles.length > mostCycles) {
      throw new ArgumentError(
        `cosineRestarts: with firstCycle ${first} and cycleFactor ${factor} there are more than ${mostCycles} cycles. ` +
          "Give a longer first cycle, or a larger factor or 1.",
      );
    }
  }
  return cycles;
}

function cycleOf(step: Tensor, cycles: readonly { start: number; length: number }[]): Cycle {
  const last = (value: (cycle: { start: number; length: number }, index: number) => number, one: Tensor): Tensor =>
    cycles.reduce((before, cycle, index) => step.greaterEqual(cycle.start).where(value(cycle, index), before), one);
  const zero = step.fullLike(0);
  const start = last((cycle) => cycle.start, zero);
  return {
    index: asFloat(last((_, index) => index, zero)),
    local: asFloat(step.sub(start)),
    length: asFloat(last((cycle) => cycle.length, zero)),
  };
}

export interface TrapezoidOptions extends WarmupOptions {
  readonly peak: number;
  /** Steps of decay at the end. */
  readonly decaySteps: number;
  readonly totalSteps: number;
  /** Default 0. */
  readonly end?: number;
  /** With u the part of the decay that is behind: 1 - u, (1 - u)², or 1 - √u of the height is left. Default linear. */
  readonly shape?: "linear" | "square" | "sqrt";
}

/**
 * Warm-up, constant, decay.
 *
 * @see Hägele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, 2024
 */
export function trapezoid({
  peak,
  decaySteps,
  totalSteps,
  end = 0,
  shape = "linear",
  ...warmup
}: TrapezoidOptions): Schedule {
  const owner = "trapezoid";
  const numbers = {
    peak: [peak, nonNegative] as const,
    end: [end, nonNegative] as const,
    totalSteps: stepCount(owner, "totalSteps", totalSteps, 1),
    decaySteps: stepCount(owner, "decaySteps", decaySteps, 1),
    ...warmupNumbers(owner, warmup),
  };
  if ((warmup.warmupSteps ?? 0) + decaySteps > totalSteps) {
    throw new ArgumentError(
      `${owner}: warm-up and decay take more than the ${totalSteps} totalSteps. Shorten one of them.`,
    );
  }
  return schedule(owner, numbers, (step, c) => {
    const u = asFloat(step).sub(c.totalSteps.sub(c.decaySteps)).div(c.decaySteps).maximum(0).minimum(1);
    return warmedUp(step, c, c.end.add(c.peak.sub(c.end).mul(trapezoidFalls[shape](u))));
  });
}

const trapezoidFalls: Readonly<Record<NonNullable<TrapezoidOptions["shape"]>, (u: Tensor) => Tensor>> = {
  linear: (u) => u.neg().add(1),
  square: (u) => u.neg().add(1).square(),
  sqrt: (u) => u.sqrt().neg().add(1),
};

export interface OneCycleOptions {
  readonly peak: number;
  readonly totalSteps: number;
  /** The part of the steps that goes up. Default 0.3. */
  readonly upFraction?: number;
}

/**
 * Cosine up from peak / 25, then cosine down to peak / 25e4.
 *
 * @see Smith, A disciplined approach to neural network hyper-parameters, 2018
 */
export function oneCycle({ peak, totalSteps, upFraction = 0.3 }: OneCycleOptions): Schedule {
  const owner = "oneCycle";
  const numbers = {
    peak: [peak, nonNegative],
    totalSteps: stepCount(owner, "totalSteps", totalSteps, 1),
    upFraction: [upFraction, { ...fraction, open: "both" }],
  } as const;
  return schedule(owner, numbers, (step, c) => {
    const turn = c.totalSteps.mul(c.upFraction);
    const i = asFloat(step);
    const up = cosineFall(i.div(turn).minimum(1).neg().add(1));
    const down = cosineFall(i.sub(turn).div(c.totalSteps.sub(turn)).maximum(0).minimum(1));
    const blend = (low: number, part: Tensor) => c.peak.mul(part.mul(1 - low).add(low));
    return i.less(turn).where(blend(1 / 25, up), blend(1 / 25e4, down));
  });
}

export interface CyclicOptions {
  readonly peak: number;
  readonly low: number;
  /** Steps from `low` to `peak`, and as many back. */
  readonly halfCycle: number;
  /** The peak stays, halves its height with each cycle, or shrinks by `gamma` with each step. Default triangular. */
  readonly mode?: "triangular" | "triangular2" | "expRange";
  /** For `expRange`. Default 1. */
  readonly gamma?: number;
}

/**
 * A triangle wave between two values.
 *
 * @see Smith, Cyclical Learning Rates for Training Neural Networks, 2017
 */
export function cyclic({ peak, low, halfCycle, mode = "triangular", gamma = 1 }: CyclicOptions): Schedule {
  const owner = "cyclic";
  const numbers = {
    peak: [peak, nonNegative],
    low: [low, nonNegative],
    gamma: [gamma, positive],
    halfCycle: stepCount(owner, "halfCycle", halfCycle, 1),
  } as const;
  return schedule(owner, numbers, (step, c) => {
    const period = c.halfCycle.cast("u32").mul(2);
    const local = asFloat(step.rem(period));
    const wave = local.div(c.halfCycle).sub(1).abs().neg().add(1);
    const heights = {
      triangular: () => wave,
      triangular2: () => wave.mul(asFloat(step.div(period)).mul(-Math.LN2).exp()),
      expRange: () => wave.mul(c.gamma.log().mul(asFloat(step)).exp()),
    } as const;
    return c.low.add(c.peak.sub(c.low).mul(heights[mode]()));
  });
}
