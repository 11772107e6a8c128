import { named } from "../chain";
import type { Schedule } from "../schedules/schedule";
import type { GradientTransformation } from "../transform";
import { type DecayMask, decayLinks } from "../transforms/decay";
import { scaleByLearningRate } from "../transforms/scale";

/** What most methods share. */
export interface DescentOptions {
  readonly learningRate: number | Schedule;
  readonly weightDecay: number | Schedule;
  readonly decoupled: boolean;
  readonly decayMask: DecayMask;
}

/** A method that scales gradients, with weight decay where it belongs and the learning rate at the end. */
export function descent(
  name: string,
  { learningRate, weightDecay, decoupled, decayMask }: DescentOptions,
  ...scaling: readonly GradientTransformation[]
): GradientTransformation {
  const decay = decayLinks(weightDecay, decayMask);
  const links = decoupled ? [...scaling, ...decay] : [...decay, ...scaling];
  return named(name, ...links, scaleByLearningRate(learningRate));
}
