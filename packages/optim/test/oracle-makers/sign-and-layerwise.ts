import * as optim from "../../src/index";
import { type Maker, type OracleOptions, sharedOptions } from "./options";

/** Options that are numbers, by name. */
type Numbers<N extends string> = OracleOptions & Readonly<Record<N, number>>;

export const signAndLayerwiseMakers: Readonly<Record<string, Maker>> = {
  lion(options) {
    const { beta1, beta2 } = options as Numbers<"beta1" | "beta2">;
    return optim.lion({ ...sharedOptions(options), beta1, beta2 });
  },
  signum(options) {
    const { momentum } = options as Numbers<"momentum">;
    const shared = sharedOptions(options);
    return momentum === 0 ? optim.signSgd(shared) : optim.signum({ ...shared, momentum });
  },
  madgrad(options) {
    const { momentum, eps } = options as Numbers<"momentum" | "eps">;
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.madgrad({ ...shared, momentum, epsilon: eps });
  },
  novograd(options) {
    const { beta1, beta2, eps } = options as Numbers<"beta1" | "beta2" | "eps">;
    return optim.novograd({ ...sharedOptions(options), momentum: beta1, decay: beta2, epsilon: eps });
  },
  lars(options) {
    const { momentum, trust, eps, nesterov } = options as Numbers<"momentum" | "trust" | "eps"> & {
      readonly nesterov: boolean;
    };
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.lars({ ...shared, momentum, coefficient: trust, epsilon: eps, nesterov });
  },
  lamb(options) {
    const { beta1, beta2, eps, trustClip } = options as Numbers<"beta1" | "beta2" | "eps"> & {
      readonly trustClip: number | null;
    };
    return optim.lamb({ ...sharedOptions(options), beta1, beta2, epsilon: eps, trustClip: trustClip ?? 0 });
  },
  adafactor(options) {
    const { relativeStep, scaleByParameter, beta1, clip } = options as OracleOptions & {
      readonly relativeStep: boolean;
      readonly scaleByParameter: boolean;
      readonly beta1: number | null;
      readonly clip: number | null;
    };
    const { decayRate, minDimToFactor, eps1, eps2 } = options as Numbers<
      "decayRate" | "minDimToFactor" | "eps1" | "eps2"
    >;
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.adafactor({
      ...shared,
      relativeStep,
      decayRate,
      minDimToFactor,
      epsilon: eps1,
      minScale: eps2,
      clip: clip ?? 0,
      scaleByParameter,
      beta1: beta1 ?? 0,
    });
  },
  sm3(options) {
    const { beta1, beta2, eps } = options as Numbers<"beta1" | "beta2" | "eps">;
    return optim.sm3({ ...sharedOptions(options), momentum: beta1, beta2, epsilon: eps });
  },
  sophia(options) {
    const { beta1, beta2, gamma, eps, interval } = options as Numbers<"beta1" | "beta2" | "gamma" | "eps" | "interval">;
    return optim.sophia({ ...sharedOptions(options), beta1, beta2, gamma, epsilon: eps, interval });
  },
};
