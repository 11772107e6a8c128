import { ArgumentError } from "@thalweg/tensor";
import { checkSteps, type Schedule } from "./schedule";
import { everyEpoch, tableSchedule } from "./table";

/** The schedules of the study. */
export const crowdedValleySchedules = ["constant", "cosine", "cosineRestarts", "trapezoidal"] as const;

export type CrowdedValleyScheduleName = (typeof crowdedValleySchedules)[number];

/**
 * The factors on the base rate in epochs 1, …, E of Crowded Valley's schedules; none of them is 0.
 *
 * - `cosine`: (1 + cos(π (t - 1) / E)) / 2.
 * - `cosineRestarts`: the same within cycles of T, 2T and 4T epochs, where T = E / 7, rounded.
 * - `trapezoidal`: up over the first tenth of the epochs (t / w), down over the last (1 - j / (d + 1)).
 *
 * @see Schmidt, Schneider & Hennig, Descending through a Crowded Valley, 2021, section 2
 */
export function crowdedValleyFactors(name: CrowdedValleyScheduleName, epochs: number): readonly number[] {
  checkSteps("crowdedValleyFactors: epochs", epochs, 1);
  const fall = (part: number) => 0.5 * (1 + Math.cos(Math.PI * part));
  const factors: Readonly<Record<CrowdedValleyScheduleName, (epoch: number) => number>> = {
    constant: () => 1,
    cosine: (epoch) => fall(epoch / epochs),
    cosineRestarts(epoch) {
      let [start, length] = [0, Math.max(1, Math.round(epochs / 7))];
      while (epoch >= start + length) [start, length] = [start + length, 2 * length];
      return fall((epoch - start) / length);
    },
    trapezoidal(epoch) {
      const tenth = Math.round(epochs / 10);
      if (epoch < tenth) return (epoch + 1) / tenth;
      const late = epoch - (epochs - tenth) + 1;
      return late > 0 ? 1 - late / (tenth + 1) : 1;
    },
  };
  const factor = Object.hasOwn(factors, name) ? factors[name] : undefined;
  if (factor === undefined) {
    throw new ArgumentError(`crowdedValleyFactors: there is no ${name}. Known: ${crowdedValleySchedules.join(", ")}.`);
  }
  return Array.from({ length: epochs }, (_, epoch) => factor(epoch));
}

export interface CrowdedValleyScheduleOptions {
  readonly name: CrowdedValleyScheduleName;
  readonly learningRate: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
}

/** A schedule of the study: {@link crowdedValleyFactors} times the base rate, changed once per epoch. */
export const crowdedValleySchedule = ({
  name,
  learningRate,
  epochs,
  stepsPerEpoch,
}: CrowdedValleyScheduleOptions): Schedule =>
  everyEpoch(tableSchedule(crowdedValleyFactors(name, epochs).map((factor) => factor * learningRate)), {
    stepsPerEpoch,
  });
