import { checkRange, type Range } from "../constant";
import { checkSteps } from "./schedule";

export interface ReduceOnPlateauOptions {
  readonly learningRate: number;
  /** Factor on the rate at a plateau, in (0, 1). Default 0.1. */
  readonly factor?: number;
  /** Evaluations without improvement before the rate is reduced. Default 10. */
  readonly patience?: number;
  /** What counts as better. Default `"min"`, as for losses. */
  readonly mode?: "min" | "max";
  /** The part of the best value by which a better one has to differ. Default 1e-4. */
  readonly threshold?: number;
  /** The rate is not reduced below it. Default 0. */
  readonly minRate?: number;
}

/** A learning rate that depends on evaluations, and so lives on the host. */
export interface Plateau {
  /** Takes note of an evaluation, and gives the rate from now on. */
  observe(metric: number): number;
  /** The rate as it is. */
  readonly learningRate: number;
}

const factorRange: Range = { min: 0, max: 1, open: "both" };

/**
 * Reduces a learning rate whenever evaluations have not improved for a while.
 *
 * @example
 * const plateau = reduceOnPlateau({ learningRate: 0.1 });
 * state = setHyperparameters(optimizer, state, { learningRate: plateau.observe(validLoss) });
 */
export function reduceOnPlateau({
  learningRate,
  factor = 0.1,
  patience = 10,
  mode = "min",
  threshold = 1e-4,
  minRate = 0,
}: ReduceOnPlateauOptions): Plateau {
  checkRange("reduceOnPlateau: learningRate", learningRate, { min: 0 });
  checkRange("reduceOnPlateau: factor", factor, factorRange);
  checkRange("reduceOnPlateau: threshold", threshold, { min: 0 });
  checkRange("reduceOnPlateau: minRate", minRate, { min: 0 });
  checkSteps("reduceOnPlateau: patience", patience);
  let [rate, best, waited] = [learningRate, Number.NaN, 0];
  const isBetter = (metric: number): boolean => {
    if (Number.isNaN(best)) return !Number.isNaN(metric);
    const margin = threshold * Math.abs(best);
    return mode === "min" ? metric < best - margin : metric > best + margin;
  };
  return {
    get learningRate() {
      return rate;
    },
    observe(metric) {
      if (isBetter(metric)) [best, waited] = [metric, 0];
      else waited++;
      if (waited > patience) [rate, waited] = [Math.max(rate * factor, Math.min(rate, minRate)), 0];
      return rate;
    },
  };
}
