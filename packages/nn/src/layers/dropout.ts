import { ArgumentError, bernoulli } from "@thalweg/tensor";
import { defineStateless, describe, type Layer, type Nothing } from "../module";

export interface DropoutOptions {
  /** Probability that an element is set to 0, in [0, 1). */
  readonly rate: number;
}

/**
 * In training sets elements to 0 with probability `rate` and divides the others by `1 - rate`; else the identity.
 *
 * The mask is a function of the key that reaches the layer: the same key gives the same mask on every adapter.
 *
 * @throws ArgumentError in training without a key.
 * @see Srivastava et al., Dropout (JMLR 2014)
 */
export function dropout({ rate }: DropoutOptions): Layer<Nothing, Nothing> {
  if (!(rate >= 0 && rate < 1)) throw new ArgumentError(`dropout: rate ${rate} is outside of [0, 1).`);
  return defineStateless<Nothing>({
    kind: "dropout",
    init: () => ({}),
    roles: () => ({}),
    forward(_params, x, { train, key, path }) {
      if (!train || rate === 0) return x;
      if (key === undefined) {
        throw new ArgumentError(
          `${describe("dropout", path)}: training needs random numbers. Pass key: to apply, a new one for every step.`,
        );
      }
      return bernoulli(key, 1 - rate, x.shape).where(x.mul(1 / (1 - rate)), 0);
    },
  });
}
