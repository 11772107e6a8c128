import { ArgumentError, type Tensor } from "@thalweg/tensor";
import type { Constant } from "../constant";
import { checkSteps, type Schedule } from "./schedule";

/**
 * One schedule after the other. Each counts its own steps from 0.
 *
 * @param boundaries Step indices, rising, at which the next schedule begins: one less than there are schedules.
 * @example join([warmupConstant({ peak: 0.1, warmupSteps: 100 }), cosine({ peak: 0.1, totalSteps: 900 })], [100])
 */
export function join(schedules: readonly Schedule[], boundaries: readonly number[]): Schedule {
  if (schedules.length === 0 || boundaries.length !== schedules.length - 1) {
    throw new ArgumentError(
      `join: ${schedules.length} schedules and ${boundaries.length} boundaries. Give one boundary between any two schedules.`,
    );
  }
  boundaries.forEach((boundary, index) => {
    checkSteps(`join: boundaries[${index}]`, boundary, index === 0 ? 0 : (boundaries[index - 1] as number));
  });
  const constants = schedules.flatMap(({ constants: own = [] }, index) =>
    own.map((number): Constant<number> => ({ ...number, name: `${index}.${number.name}` })),
  );
  const combine = (step: Tensor, value: (own: Schedule, index: number, step: Tensor) => Tensor): Tensor =>
    schedules.slice(1).reduce(
      (before, own, index) => {
        const boundary = boundaries[index] as number;
        // Before its turn a schedule sees step 0 and not the wrapped difference.
        const local = step.maximum(boundary).sub(boundary);
        return step.greaterEqual(boundary).where(value(own, index + 1, local), before);
      },
      value(schedules[0] as Schedule, 0, step),
    );
  const evaluate = (step: Tensor, numbers: (name: string) => Tensor) =>
    combine(step, (own, index, local) => own.evaluate?.(local, (name) => numbers(`${index}.${name}`)) ?? own(local));
  return Object.assign((step: Tensor) => combine(step, (own, _, local) => own(local)), { constants, evaluate });
}
