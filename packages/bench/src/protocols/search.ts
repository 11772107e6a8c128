import type { OptimizerRecord, SearchSpace } from "@thalweg/optim";
import { foldIn, key, uniform } from "@thalweg/tensor";
import type { Hyperparameters } from "../run/optimizer";

/** Which draw of a random search. */
export interface Draw {
  readonly seed: number;
  /** 0, 1, … */
  readonly index: number;
}

/**
 * One draw of the hyperparameters that an optimizer's record gives a search space to; the others keep their defaults.
 *
 * The random numbers depend on the seed, the draw's index and the position of the hyperparameter, not on the optimizer:
 * draws of one index are paired, as they are in Schmidt, Schneider & Hennig, Descending through a Crowded Valley, 2021.
 */
export async function drawHyperparameters(
  { hyperparameters }: Pick<OptimizerRecord, "hyperparameters">,
  { seed, index }: Draw,
): Promise<Hyperparameters> {
  const from = foldIn(key(seed), index);
  const tuned = Object.entries(hyperparameters).filter(([, { tuning }]) => tuning !== undefined);
  const values = tuned.map(async ([name, { type, tuning }], position) => {
    const share = await uniform(foldIn(from, position), []).item();
    const value = valueAt(tuning as SearchSpace, share);
    return [name, type === "integer" ? Math.round(value) : value] as const;
  });
  return Object.fromEntries(await Promise.all(values));
}

/** The value at a share from 0 to 1 of a search space. */
export function valueAt({ distribution, low, high, complement }: SearchSpace, share: number): number {
  const value =
    distribution === "uniform" ? low + (high - low) * share : Math.exp(Math.log(low) + Math.log(high / low) * share);
  // Rounding must not leave the space, where a retained fraction of 1 would be refused.
  const inside = Math.min(Math.max(value, low), high);
  return complement ? 1 - inside : inside;
}
