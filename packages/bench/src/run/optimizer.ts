import { type GradientTransformation, type OptimizerRecord, optimizers, piecewiseConstant } from "@thalweg/optim";
import { nearestName } from "@thalweg/tensor";
import { UsageError } from "../errors";
import type { HyperparameterValue } from "../records/schema";

/** Hyperparameters by name. */
export type Hyperparameters = Readonly<Record<string, HyperparameterValue>>;

/** A learning rate that changes: from epoch `epochs[i]` on it is `factors[i]` times the base rate. */
export interface LearningRateSteps {
  readonly epochs: readonly number[];
  readonly factors: readonly number[];
}

/** The optimizer of a name. @throws UsageError with the nearest name. */
export function findOptimizer(name: string): OptimizerRecord {
  const record = Object.hasOwn(optimizers, name) ? optimizers[name] : undefined;
  if (record !== undefined) return record;
  throw unknownName("optimizer", name, Object.keys(optimizers), "`thalweg list optimizers` shows them all.");
}

/**
 * All hyperparameters of an optimizer: those given, and the defaults of the rest.
 *
 * @throws ArgumentError for an unknown name, another type, or a value outside of its range.
 */
export function completeHyperparameters(optimizer: OptimizerRecord, given: Hyperparameters): Hyperparameters {
  // Making it is what checks the values.
  optimizer.create(given);
  const specs = Object.entries(optimizer.hyperparameters);
  const defaults = Object.fromEntries(specs.map(([name, spec]) => [name, spec.default]));
  return { ...defaults, ...given };
}

/** Makes the optimizer. A schedule multiplies the learning rate; its steps are counted on the device. */
export function createOptimizer(
  optimizer: OptimizerRecord,
  hyperparameters: Hyperparameters,
  schedule: LearningRateSteps | undefined,
  stepsPerEpoch: number,
): GradientTransformation {
  if (schedule === undefined) return optimizer.create(hyperparameters);
  const { learningRate } = hyperparameters;
  if (typeof learningRate !== "number") {
    throw new UsageError(
      `${optimizer.name} has no learning rate that a schedule could change. Leave the schedule out.`,
    );
  }
  const boundaries = schedule.epochs.map((epoch) => epoch * stepsPerEpoch);
  const scheduled = piecewiseConstant({ initial: learningRate, boundaries, factors: schedule.factors });
  return optimizer.create({ ...hyperparameters, learningRate: scheduled });
}

/** A schedule as records name it. */
export function describeSchedule(schedule: LearningRateSteps | undefined): string {
  if (schedule === undefined) return "constant";
  return schedule.epochs.map((epoch, index) => `x${schedule.factors[index]} from epoch ${epoch}`).join(", ");
}

/** An error for a name that does not exist. */
export function unknownName(what: string, name: string, known: readonly string[], way: string): UsageError {
  const nearest = nearestName(name, known);
  return new UsageError(
    `unknown ${what} "${name}".${nearest === undefined ? "" : ` Did you mean "${nearest}"?`} ${way}`,
  );
}
