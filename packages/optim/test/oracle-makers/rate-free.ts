import * as optim from "../../src/index";
import { type Maker, type OracleOptions, sharedOptions } from "./options";

type Numbers<N extends string> = OracleOptions & Readonly<Record<N, number>>;

const moments = (options: OracleOptions) => {
  const { beta1, beta2, eps } = options as Numbers<"beta1" | "beta2" | "eps">;
  return { ...sharedOptions(options), beta1, beta2, epsilon: eps };
};

/** Of a distance's estimate: `null` is without limit. */
const distance = (options: OracleOptions) => {
  const { d0, growthRate } = options as OracleOptions & { readonly d0: number; readonly growthRate: number | null };
  return { initialDistance: d0, growthRate: growthRate ?? 0 };
};

export const rateFreeMakers: Readonly<Record<string, Maker>> = {
  scheduleFree(options) {
    const own = options as Numbers<"warmupSteps" | "r" | "weightLrPower"> & { readonly base: "sgd" | "adamw" };
    const { beta2, epsilon, decoupled: _, ...shared } = { decoupled: true, ...moments(options) };
    const rest = {
      ...shared,
      warmupSteps: own.warmupSteps,
      weightPower: own.r,
      weightRatePower: own.weightLrPower,
    };
    return own.base === "sgd" ? optim.scheduleFreeSgd(rest) : optim.scheduleFreeAdamw({ ...rest, beta2, epsilon });
  },
  prodigy(options) {
    const { beta3, biasCorrection, safeguardWarmup, dCoef } = options as OracleOptions & {
      readonly beta3: number | null;
      readonly biasCorrection: boolean;
      readonly safeguardWarmup: boolean;
      readonly dCoef: number;
    };
    const rest = { biasCorrection, safeguardWarmup, coefficient: dCoef, beta3: beta3 ?? 0 };
    return optim.prodigy({ ...moments(options), ...distance(options), ...rest });
  },
  dAdaptAdam(options) {
    const { biasCorrection } = options as OracleOptions & { readonly biasCorrection: boolean };
    return optim.dAdaptAdam({ ...moments(options), ...distance(options), biasCorrection });
  },
  dAdaptSgd(options) {
    const { momentum } = options as Numbers<"momentum">;
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.dAdaptSgd({ ...shared, ...distance(options), momentum });
  },
  dog(options) {
    const { relativeStart, eps, gamma, layerwise } = options as Numbers<"relativeStart" | "eps" | "gamma"> & {
      readonly layerwise: boolean;
    };
    const { decoupled: _, ...shared } = sharedOptions(options);
    return (layerwise ? optim.ldog : optim.dog)({ ...shared, relativeStart, epsilon: eps, gamma });
  },
  dowg(options) {
    const { initialSquaredDistance, eps } = options as Numbers<"initialSquaredDistance" | "eps">;
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.dowg({ ...shared, initialSquaredDistance, epsilon: eps });
  },
  polyak(options) {
    const { decoupled: _, ...shared } = sharedOptions({ lr: 1, ...options });
    const { c, fMin, stepsPerEpoch } = options as Numbers<"c" | "fMin" | "stepsPerEpoch">;
    const { maxStep, smoothing } = options as Readonly<Record<"maxStep" | "smoothing", number | null>>;
    const limits = { maxStep: maxStep ?? 0, smoothing: smoothing ?? 0, stepsPerEpoch };
    return optim.polyak({ ...shared, scale: c, lowerBound: fMin, ...limits });
  },
  momo(options) {
    const { beta, lowerBound } = options as Numbers<"beta" | "lowerBound">;
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.momo({ ...shared, momentum: beta, lowerBound });
  },
  momoAdam(options) {
    const { lowerBound } = options as Numbers<"lowerBound">;
    const { decoupled: _, ...shared } = { decoupled: true, ...moments(options) };
    return optim.momoAdam({ ...shared, lowerBound });
  },
  cocob(options) {
    const { alpha, eps } = options as Numbers<"alpha" | "eps">;
    const { weightDecay, decayMask } = sharedOptions(options);
    return optim.cocob({ alpha, epsilon: eps, weightDecay, decayMask });
  },
};
