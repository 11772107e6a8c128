import { momentum, nesterov, rmsprop, sgd } from "../../src/index";
import { type Maker, type OracleOptions, sharedOptions } from "./options";

interface SgdOptions extends OracleOptions {
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
}

interface RmspropOptions extends OracleOptions {
  readonly decay: number;
  readonly eps: number;
  readonly epsInSqrt: boolean;
  readonly centered: boolean;
  readonly initialAccumulator: number;
  readonly momentum: number;
}

export const basicMakers: Readonly<Record<string, Maker>> = {
  sgd(options) {
    const own = options as SgdOptions;
    const shared = sharedOptions(options);
    if (own.momentum === 0) return sgd(shared);
    if (own.nesterov) return nesterov({ ...shared, momentum: own.momentum });
    return momentum({ ...shared, momentum: own.momentum, dampening: own.dampening });
  },
  rmsprop(options) {
    const { decay, eps, epsInSqrt, centered, initialAccumulator, momentum: mu } = options as RmspropOptions;
    const rest = { decay, epsilon: eps, epsilonInRoot: epsInSqrt, centered, initialAccumulator, momentum: mu };
    return rmsprop({ ...sharedOptions(options), ...rest });
  },
};
