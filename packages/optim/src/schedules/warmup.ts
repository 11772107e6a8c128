import type { Tensor } from "@thalweg/tensor";
import { nonNegative, type Range } from "../constant";
import { checkSteps, type Schedule, schedule } from "./schedule";

/** How a schedule begins. */
export interface WarmupOptions {
  /** Steps of linear warm-up. Default 0. */
  readonly warmupSteps?: number;
  /** Value at step 0 if there is a warm-up. Default 0, which makes the first step an empty one. */
  readonly start?: number;
}

export interface WarmupConstantOptions extends WarmupOptions {
  /** Value after the warm-up. */
  readonly peak: number;
  readonly warmupSteps: number;
}

/** The step as f32. Exact up to 2^24, and to 6e-8 beyond. */
export const asFloat = (step: Tensor): Tensor => step.cast("f32");

/** A number of steps as a number of a schedule. */
export const stepCount = (owner: string, name: string, value: number, min = 0): readonly [number, Range] => [
  checkSteps(`${owner}: ${name}`, value, min),
  { min },
];

/** The numbers of a warm-up. */
export const warmupNumbers = (owner: string, { warmupSteps = 0, start = 0 }: WarmupOptions) => ({
  warmupSteps: stepCount(owner, "warmupSteps", warmupSteps),
  start: [start, nonNegative] as const,
});

/** The numbers that a warm-up reads. */
interface WarmupTensors {
  readonly peak: Tensor;
  readonly start: Tensor;
  readonly warmupSteps: Tensor;
}

/** Linear from `start` to `peak`, then `after`. */
export function warmedUp(step: Tensor, { peak, start, warmupSteps }: WarmupTensors, after: Tensor): Tensor {
  const i = asFloat(step);
  // Without a warm-up the quotient is not used; its divisor is kept away from 0 all the same.
  const risen = start.add(peak.sub(start).mul(i.div(warmupSteps.maximum(1))));
  return i.less(warmupSteps).where(risen, after);
}

/** The part of the way from the end of the warm-up to the last step that is behind, in [0, 1]. */
export function progress(step: Tensor, warmupSteps: Tensor, totalSteps: Tensor): Tensor {
  return asFloat(step).sub(warmupSteps).div(totalSteps.sub(warmupSteps).maximum(1)).maximum(0).minimum(1);
}

/** Linear warm-up, then `peak` for ever. */
export function warmupConstant({ peak, ...options }: WarmupConstantOptions): Schedule {
  const owner = "warmupConstant";
  return schedule(owner, { peak: [peak, nonNegative], ...warmupNumbers(owner, options) }, (step, c) =>
    warmedUp(step, c, c.peak),
  );
}

/** One value for ever. */
export function constantSchedule({ peak }: { readonly peak: number }): Schedule {
  return schedule("constantSchedule", { peak: [peak, nonNegative] }, (_, c) => c.peak);
}
