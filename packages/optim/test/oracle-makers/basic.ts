import { adam, adamw, momentum, nesterov, rmsprop, sgd } from "../../src/index";
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

interface AdamOptions extends OracleOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly epsRoot: number;
  readonly epsilonHat: boolean;
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
  adam(options) {
    const { beta1, beta2, eps, epsRoot, epsilonHat } = options as AdamOptions;
    const make = options.decoupled ? adamw : adam;
    return make({ ...sharedOptions(options), beta1, beta2, epsilon: eps, epsilonRoot: epsRoot, epsilonHat });
  },
};
