import type { Budget } from "../records/schema";
import type { TargetRequest } from "../run/configuration";
import type { Hyperparameters } from "../run/optimizer";

/** A comparison that is worth running as it is: `thalweg bench WORKLOAD` without further words. */
export interface StandardRace {
  readonly target: TargetRequest;
  readonly budget: Budget;
  /** Steps between evaluations; default one epoch. */
  readonly evaluationInterval?: number;
  /** Settings by optimizer, in the order of the table. */
  readonly algorithms: Readonly<Record<string, Hyperparameters>>;
}

/** The optimizers that are compared where nothing else is said. */
export const standardOptimizers = ["sgd", "momentum", "adam", "adamw"] as const;

/**
 * Standard races by workload.
 *
 * - `digits`: of the rates 0.05 … 0.8 (SGD), 0.01 … 0.16 (momentum) and 0.0025 … 0.04 (Adam), five each in factors of two,
 *   those with which seeds 1 and 2 took the fewest steps to the target, the smaller one of two equals. AdamW has Adam's
 *   rate. The raced seeds took no part.
 * - `fmnist_2c2d`: rates and target of the DeepOBS 1.1 baselines (published with their split 1.1; test accuracy 0.919809).
 *
 * @see Schneider, Balles, Hennig: DeepOBS, a deep learning optimizer benchmark suite. ICLR 2019.
 */
export const standardRaces: Readonly<Record<string, StandardRace>> = {
  digits: {
    target: { value: 0.95 },
    budget: { epochs: 5 },
    evaluationInterval: 25,
    algorithms: {
      sgd: { learningRate: 0.4 },
      momentum: { learningRate: 0.04 },
      adam: { learningRate: 0.01 },
      adamw: { learningRate: 0.01 },
    },
  },
  fmnist_2c2d: {
    target: { value: 0.919809 },
    budget: { epochs: 100 },
    algorithms: {
      sgd: { learningRate: 10 ** -0.8 },
      momentum: { learningRate: 10 ** -2.6, momentum: 0.99 },
      adam: { learningRate: 10 ** -3.6 },
    },
  },
};
