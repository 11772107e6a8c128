import { fraction, nonNegative } from "../constant";
import type { SearchSpace } from "../hyperparameter";

/** Rates over four decades. */
export const rateSpace: SearchSpace = { distribution: "logUniform", low: 1e-4, high: 1 };

/** Retained fractions near 1, by their complement. */
export const momentumSpace: SearchSpace = { distribution: "logUniform", low: 1e-4, high: 1, complement: true };

/** The learning rate of most methods. */
export const learningRate = <const D extends number>(value: D) =>
  ({
    type: "float",
    default: value,
    schedulable: true,
    tuning: rateSpace,
    description: "step size",
    ...nonNegative,
  }) as const;

/** A retained fraction. */
export const retained = <const D extends number>(value: D, description: string, tuning: SearchSpace) =>
  ({ type: "float", default: value, schedulable: true, tuning, description, ...fraction }) as const;

/** The number that keeps a divisor away from 0. */
export const epsilon = <const D extends number>(value: D, description: string) =>
  ({ type: "float", default: value, schedulable: true, description, ...nonNegative }) as const;

/** An option that is off by default. */
export const off = (description: string) => ({ type: "boolean", default: false, description }) as const;

/** The options of weight decay. */
export const weightDecay = <const D extends number, const C extends boolean>(value: D, decoupled: C) =>
  ({
    weightDecay: {
      type: "float",
      default: value,
      schedulable: true,
      description: "factor of the weight decay; 0 leaves it out",
      ...nonNegative,
    },
    decoupled: {
      type: "boolean",
      default: decoupled,
      description: "decay beside the preconditioner instead of through the gradient (L2)",
    },
    decayMask: {
      type: "choice",
      default: "matrices",
      choices: ["matrices", "all"],
      predicate: true,
      description: "which parameters decay: those of rank 2 and more, or all",
    },
  }) as const;
