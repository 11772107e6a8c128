import * as optim from "../../src/index";
import { type Maker, type OracleOptions, sharedOptions } from "./options";

type Numbers<N extends string> = OracleOptions & Readonly<Record<N, number>>;
type Switches<N extends string> = OracleOptions & Readonly<Record<N, boolean>>;

export const nonDiagonalMakers: Readonly<Record<string, Maker>> = {
  muon(options) {
    const { momentum, nesterov, steps } = options as Numbers<"momentum" | "steps"> & { readonly nesterov: boolean };
    const { scale, rest, restOptions } = options as OracleOptions & {
      readonly scale: "original" | "matchRmsAdamw";
      readonly rest: readonly string[];
      readonly restOptions: Readonly<Record<"lr" | "beta1" | "beta2" | "eps" | "weightDecay", number>>;
    };
    return optim.muon({
      ...sharedOptions(options),
      decoupled: true,
      momentum,
      nesterov,
      steps,
      scale,
      outputAxis: "first",
      matrices: ({ path }) => !rest.includes(String(path[0])),
      restLearningRate: restOptions.lr,
      restBeta1: restOptions.beta1,
      restBeta2: restOptions.beta2,
      restEpsilon: restOptions.eps,
      restWeightDecay: restOptions.weightDecay,
    });
  },
  shampoo(options) {
    const { beta1, beta2, eps, momentum, blockSize, frequency, start, rootOverride } = options as Numbers<
      "beta1" | "beta2" | "eps" | "momentum" | "blockSize" | "frequency" | "start" | "rootOverride"
    >;
    const { exponentMultiplier, graftBeta2, graftEps } = options as Numbers<
      "exponentMultiplier" | "graftBeta2" | "graftEps"
    >;
    const { nesterov, emaMomentum, mergeDims, biasCorrection, nadam } = options as Switches<
      "nesterov" | "emaMomentum" | "mergeDims" | "biasCorrection" | "nadam"
    >;
    const { graft } = options as OracleOptions & { readonly graft: Exclude<optim.Graft, "none"> | null };
    return optim.shampoo({
      ...sharedOptions(options),
      ...{ beta1, beta2, epsilon: eps, momentum, nesterov, emaMomentum, blockSize, mergeDims, frequency, stagger: 1 },
      ...{ start: Math.max(start, 0), rootOverride, exponentMultiplier, biasCorrection, nadam },
      ...{ graft: graft ?? "none", graftBeta2, graftEpsilon: graftEps },
    });
  },
  soap(options) {
    const { beta1, beta2, eps, frequency, maxDim } = options as Numbers<
      "beta1" | "beta2" | "eps" | "frequency" | "maxDim"
    >;
    const { precondition1d, normalize, correctBias } = options as Switches<
      "precondition1d" | "normalize" | "correctBias"
    >;
    const { shampooBeta } = options as OracleOptions & { readonly shampooBeta: number | null };
    const { decoupled: _, ...shared } = sharedOptions(options);
    return optim.soap({
      ...shared,
      ...{ beta1, beta2, epsilon: eps, frequency, maxDim, normalize },
      ...{ vectors: precondition1d, biasCorrection: correctBias, factorBeta: shampooBeta ?? 0 },
    });
  },
  lbfgs({ lr = 1, ...options }) {
    const { history } = options as Numbers<"history">;
    return optim.lbfgs({ learningRate: lr, history, maxStep: 0 });
  },
};
