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

/** The retained fractions of Adam's moments, with the spaces in which Crowded Valley draws them. */
export const adamBetas = <const A extends number, const B extends number>(beta1: A, beta2: B) =>
  ({
    beta1: retained(beta1, "retained fraction of the first moment", {
      distribution: "logUniform",
      low: 0.5,
      high: 0.999,
    }),
    beta2: retained(beta2, "retained fraction of the second moment", {
      distribution: "logUniform",
      low: 0.8,
      high: 0.999,
    }),
  }) as const;

/** A number from 0 on that may follow a schedule. */
export const amount = <const D extends number>(value: D, description: string, tuning?: SearchSpace) =>
  ({
    type: "float",
    default: value,
    schedulable: true,
    description,
    ...(tuning && { tuning }),
    ...nonNegative,
  }) as const;

/** A number from 0 on that only the initial state depends on. */
export const start = <const D extends number>(value: D, description: string) =>
  ({ type: "float", default: value, description, ...nonNegative }) as const;

/** The factor on a rate that the method finds itself. */
export const rateFactor = <const D extends number>(value: D) =>
  ({
    type: "float",
    default: value,
    schedulable: true,
    description: "factor of the estimated rate",
    ...nonNegative,
  }) as const;

/** How fast an estimated distance may grow. */
export const growthRate = () =>
  ({
    type: "float",
    default: 0,
    schedulable: true,
    description: "largest factor by which the distance grows in a step; 0 is no limit",
    ...nonNegative,
  }) as const;

/** A whole number of steps. */
export const steps = <const D extends number>(value: D, min: number, description: string) =>
  ({ type: "integer", default: value, min, description }) as const;

/** An option that is off by default. */
export const off = (description: string) => ({ type: "boolean", default: false, description }) as const;

/** An option that is on by default. */
export const on = (description: string) => ({ type: "boolean", default: true, description }) as const;

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

/** The options of weight decay that passes through the gradient only. */
export const coupledDecay = <const D extends number>(value: D) => {
  const { decoupled: _, ...coupled } = weightDecay(value, false);
  return coupled;
};
