import * as optim from "../../src/index";
import { type Maker, type OracleOptions, sharedOptions } from "./options";

/** The options of Adam and its relatives. */
interface AdamOptions extends OracleOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly epsRoot: number;
  readonly epsilonHat: boolean;
  readonly amsgrad: false | "raw" | "corrected";
}

const moments = (options: OracleOptions) => {
  const { beta1, beta2, eps } = options as AdamOptions;
  return { ...sharedOptions(options), beta1, beta2, epsilon: eps };
};

export const adaptiveMakers: Readonly<Record<string, Maker>> = {
  adagrad(options) {
    const { lrDecay, eps, epsInSqrt, initialAccumulator } = options as OracleOptions & {
      readonly lrDecay: number;
      readonly eps: number;
      readonly epsInSqrt: boolean;
      readonly initialAccumulator: number;
    };
    const rest = { rateDecay: lrDecay, epsilon: eps, epsilonInRoot: epsInSqrt, initialAccumulator };
    return optim.adagrad({ ...sharedOptions(options), ...rest });
  },
  adadelta(options) {
    const { rho, eps } = options as OracleOptions & { readonly rho: number; readonly eps: number };
    return optim.adadelta({ ...sharedOptions(options), decay: rho, epsilon: eps });
  },
  rprop({ lr = 0, ...options }) {
    const { shrink, grow, min, max } = options as Record<"shrink" | "grow" | "min" | "max", number>;
    return optim.rprop({ learningRate: lr, shrink, grow, minStep: min, maxStep: max });
  },
  adam(options) {
    const { epsRoot, epsilonHat, amsgrad } = options as AdamOptions;
    const own = { ...moments(options), epsilonRoot: epsRoot, epsilonHat };
    if (amsgrad) return optim.amsgrad({ ...own, maximum: amsgrad });
    return options.decoupled ? optim.adamw(own) : optim.adam(own);
  },
  adamax: (options) => optim.adamax(moments(options)),
  nadam(options) {
    const { form, momentumDecay } = options as OracleOptions & {
      readonly form: "schedule" | "plain" | "next";
      readonly momentumDecay: number;
    };
    const make = options.decoupled ? optim.nadamw : optim.nadam;
    return make({ ...moments(options), form, momentumDecay });
  },
  radam(options) {
    const { epsPlacement, threshold } = options as OracleOptions & {
      readonly epsPlacement: "uncorrected" | "corrected";
      readonly threshold: number;
    };
    return optim.radam({ ...moments(options), epsilonPlacement: epsPlacement, threshold });
  },
  adabelief(options) {
    const { rectify, epsInside, eps } = options as OracleOptions & {
      readonly rectify: boolean;
      readonly epsInside: number | null;
      readonly eps: number;
    };
    return optim.adabelief({ ...moments(options), rectify, epsilonInside: epsInside ?? eps });
  },
  adabound(options) {
    const { finalLr, gamma, amsbound } = options as OracleOptions & {
      readonly finalLr: number;
      readonly gamma: number;
      readonly amsbound: boolean;
    };
    const make = amsbound ? optim.amsbound : optim.adabound;
    return make({ ...moments(options), finalLearningRate: finalLr, gamma });
  },
  yogi(options) {
    const { initialAccumulator } = options as OracleOptions & { readonly initialAccumulator: number };
    return optim.yogi({ ...moments(options), initialAccumulator });
  },
  adan(options) {
    const { beta3, proximal } = options as OracleOptions & { readonly beta3: number; readonly proximal: boolean };
    return optim.adan({ ...moments(options), beta3, proximal });
  },
  ademamix(options) {
    const own = options as OracleOptions & Record<"beta3" | "alpha" | "alphaWarmup" | "beta3Warmup", number>;
    const { beta3, alpha, alphaWarmup, beta3Warmup } = own;
    return optim.ademamix({ ...moments(options), beta3, alpha, alphaWarmup, beta3Warmup });
  },
  adopt(options) {
    const { clip } = options as OracleOptions & { readonly clip: boolean };
    return optim.adopt({ ...moments(options), clip });
  },
};
