import { ArgumentError, full, type Tensor } from "@thalweg/tensor";
import { type Constant, constant, type Range } from "../constant";

/** The numbers of a schedule by name, f32 scalars on the device. */
export type ScheduleNumbers<N extends string = string> = Readonly<Record<N, Tensor>>;

/**
 * A value for every step: a function of the step's index 0, 1, … (u32 scalar) that computes on the device. Any such
 * function will do. Those of this package also tell their numbers, so that these stay hyperparameters in the
 * optimizer's state instead of becoming constants of a kernel.
 */
export interface Schedule {
  (step: Tensor): Tensor;
  readonly constants?: readonly Constant<number>[];
  readonly evaluate?: (step: Tensor, numbers: (name: string) => Tensor) => Tensor;
}

/** Name, value and range of each number of a schedule. */
type Numbers<N extends string> = Readonly<Record<N, readonly [value: number, range: Range]>>;

/** Makes a schedule of a formula over its numbers. @throws ArgumentError for a number outside of its range. */
export function schedule<N extends string>(
  name: string,
  numbers: Numbers<N>,
  formula: (step: Tensor, numbers: ScheduleNumbers<N>) => Tensor,
): Schedule {
  const entries = Object.entries(numbers) as [N, readonly [number, Range]][];
  const constants = entries.map(([key, [value, range]]) => constant(name, key, value, range));
  const evaluate = (step: Tensor, lookUp: (key: string) => Tensor) =>
    formula(step, Object.fromEntries(entries.map(([key]) => [key, lookUp(key)])) as ScheduleNumbers<N>);
  const values: Readonly<Record<string, readonly [number, Range]>> = numbers;
  const apply = (step: Tensor) => evaluate(step, (key) => full([], (values[key] as readonly [number, Range])[0]));
  return Object.assign(apply, { constants, evaluate });
}

/** @throws ArgumentError unless the value is a whole number from `min` on. */
export function checkSteps(what: string, value: number, min = 0): number {
  if (Number.isInteger(value) && value >= min) return value;
  throw new ArgumentError(`${what} is ${value}, expected a whole number of steps from ${min} on.`);
}
