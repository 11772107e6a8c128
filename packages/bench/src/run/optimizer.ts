import {
  type GradientTransformation,
  type HyperparameterSpec,
  type OptimizerRecord,
  optimizers,
  piecewiseConstant,
} from "@thalweg/optim";
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
 * @throws UsageError for an unknown name, and for a value of another type or outside of its range.
 */
export function completeHyperparameters(optimizer: OptimizerRecord, given: Hyperparameters): Hyperparameters {
  const known = optimizer.hyperparameters;
  for (const [name, value] of Object.entries(given)) {
    const spec = Object.hasOwn(known, name) ? known[name] : undefined;
    if (spec === undefined) {
      const way = `${optimizer.name} has ${Object.keys(known).join(", ")}.`;
      throw unknownName(`hyperparameter of ${optimizer.name}`, name, Object.keys(known), way);
    }
    checkValue(`${optimizer.name}: ${name}`, value, spec);
  }
  const defaults = Object.fromEntries(Object.entries(known).map(([name, spec]) => [name, spec.default]));
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

function checkValue(what: string, value: HyperparameterValue, spec: HyperparameterSpec): void {
  const fail = (expected: string): never => {
    throw new UsageError(`${what} is ${JSON.stringify(value)}, expected ${expected}.`);
  };
  switch (spec.type) {
    case "boolean":
      if (typeof value !== "boolean") fail("true or false");
      return;
    case "choice":
      if (!spec.choices.some((choice) => choice === value)) fail(`one of ${spec.choices.join(", ")}`);
      return;
    case "integer":
    case "float": {
      const range = `${spec.type === "integer" ? "an integer" : "a number"} from ${spec.min ?? "-∞"} to ${spec.max ?? "∞"}`;
      if (typeof value !== "number" || !Number.isFinite(value)) {
        fail(range);
        return;
      }
      if (spec.type === "integer" && !Number.isInteger(value)) fail(range);
      if (value < (spec.min ?? Number.NEGATIVE_INFINITY) || value > (spec.max ?? Number.POSITIVE_INFINITY)) fail(range);
    }
  }
}
