import { ArgumentError, type Tensor, tensor } from "@thalweg/tensor";
import { checkRange, nonNegative } from "../constant";
import type { Schedule } from "./schedule";

/**
 * The value of step i is `values[i]`; past the end the last one holds. The table is uploaded once.
 *
 * @throws ArgumentError for an empty table and for values below 0.
 */
export function tableSchedule(values: readonly number[]): Schedule {
  if (values.length === 0) throw new ArgumentError("tableSchedule: the table is empty. Give at least one value.");
  values.forEach((value, index) => {
    checkRange(`tableSchedule: values[${index}]`, value, nonNegative);
  });
  const table = tensor(Float32Array.from(values));
  return (step: Tensor) => {
    const index = step.minimum(values.length - 1);
    return table.gather(index.reshape([index.size]), { axis: 0 }).reshape(step.shape);
  };
}

/** The same value in all steps of an epoch: a schedule of epochs 0, 1, … as one of steps. */
export function everyEpoch(schedule: Schedule, { stepsPerEpoch }: { readonly stepsPerEpoch: number }): Schedule {
  if (!Number.isInteger(stepsPerEpoch) || stepsPerEpoch < 1) {
    throw new ArgumentError(`everyEpoch: stepsPerEpoch is ${stepsPerEpoch}, expected a whole number from 1 on.`);
  }
  const apply = (step: Tensor) => schedule(step.div(stepsPerEpoch));
  const { constants, evaluate } = schedule;
  if (constants === undefined || evaluate === undefined) return apply;
  return Object.assign(apply, {
    constants,
    evaluate: (step: Tensor, numbers: (name: string) => Tensor) => evaluate(step.div(stepsPerEpoch), numbers),
  });
}
