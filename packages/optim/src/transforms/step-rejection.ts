/** Steps that are taken back because the loss of their batch rose, on the device. */
import { full, type Tensor, tensor } from "@thalweg/tensor";

/** (A type, so that it counts as a tree.) */
export type RejectionState = {
  /** Steps that were not taken: u32. */
  readonly count: Tensor;
  /** The step of the last one that raised λ; -1 before the first: f32. */
  readonly raisedAt: Tensor;
};

export interface RejectionOptions {
  /** λ rises by this factor. */
  readonly factor: number;
  /** λ does not rise above. */
  readonly largest: number;
}

export interface Verdict {
  /** Bool scalar. */
  readonly isRejected: Tensor;
  readonly damping: Tensor | null;
  readonly state: RejectionState;
}

export const startRejection = (): RejectionState => ({
  count: tensor(Uint32Array.of(0), { shape: [] }),
  raisedAt: full([], -1),
});

/**
 * A step is rejected where the loss rises or is not a number. λ rises with it, once for each λ that was tried: where
 * inverses have λ inside, the next rise waits until all of them know of the last one.
 *
 * @param change of the loss.
 * @param damping λ as it would be; null where it does not adapt.
 * @param knownSince The step since which all inverses have their λ: f32; undefined where every step has the newest.
 */
export function judged(
  before: RejectionState,
  change: Tensor,
  damping: Tensor | null,
  step: Tensor,
  knownSince: Tensor | undefined,
  { factor, largest }: RejectionOptions,
): Verdict {
  const isRejected = change.isFinite().not().or(change.greater(0));
  const isRaised = knownSince === undefined ? isRejected : isRejected.and(knownSince.greater(before.raisedAt));
  return {
    isRejected,
    damping: damping && isRaised.where(damping.mul(factor).minimum(largest), damping),
    state: {
      count: isRejected.where(before.count.add(1), before.count),
      raisedAt: isRaised.where(step.cast("f32"), before.raisedAt),
    },
  };
}
