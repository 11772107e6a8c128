import { nonNegative } from "../constant";
import { defineOptimizer } from "../optimizer-record";
import type { ParameterInfo } from "../tensors";
import { scaleByMuon } from "../transforms/muon";
import { partition } from "../wrappers/masked";
import { adamw } from "./adam";
import { descent } from "./descent";
import { epsilon, learningRate, momentumSpace, on, retained, steps, weightDecay } from "./specs";

/** The record of {@link muon}. */
export const muonRecord = defineOptimizer({
  name: "muon",
  title: "Muon",
  source: "Jordan et al., Muon: An optimizer for hidden layers in neural networks",
  year: 2024,
  family: "nonDiagonal",
  tier: 1,
  cost: "fifteen matrix products per matrix",
  hyperparameters: {
    learningRate: learningRate(0.02),
    momentum: retained(0.95, "retained fraction of the average", momentumSpace),
    nesterov: on("look ahead along the average"),
    steps: steps(5, 1, "steps of Newton and Schulz's iteration"),
    scale: {
      type: "choice",
      default: "original",
      choices: ["original", "matchRmsAdamw"],
      description: "factor: √max(1, outputs / inputs), or 0.2 √max(outputs, inputs)",
    },
    outputAxis: {
      type: "choice",
      default: "last",
      choices: ["first", "last"],
      description: "the axis of outputs: last in this library's layers, first in PyTorch's",
    },
    matrices: {
      type: "choice",
      default: "hidden",
      choices: ["hidden", "all"],
      predicate: true,
      description: "which parameters of rank 2 and more are orthogonalised: not embeddings and heads, or all",
    },
    ...weightDecay(0, true),
    restLearningRate: { ...learningRate(1e-3), description: "step size of AdamW for all other parameters" },
    restBeta1: retained(0.9, "AdamW's retained fraction of the first moment", momentumSpace),
    restBeta2: retained(0.95, "AdamW's retained fraction of the second moment", momentumSpace),
    restEpsilon: epsilon(1e-8, "AdamW's number that is added to the root"),
    restWeightDecay: {
      type: "float",
      default: 0,
      schedulable: true,
      description: "AdamW's factor of the weight decay",
      ...nonNegative,
    },
  },
  factors: "a second buffer for what is left to AdamW",
  buffers: () => 1,
  create({ matrices, restLearningRate, restBeta1, restBeta2, restEpsilon, restWeightDecay, ...values }) {
    const chosen = (parameter: ParameterInfo): boolean => {
      if (parameter.shape.length < 2) return false;
      if (typeof matrices === "function") return matrices(parameter);
      return matrices === "all" || !["embedding", "head"].includes(parameter.role);
    };
    const rest = adamw({
      learningRate: restLearningRate,
      beta1: restBeta1,
      beta2: restBeta2,
      epsilon: restEpsilon,
      weightDecay: restWeightDecay,
      decayMask: values.decayMask,
    });
    return partition({ matrix: descent("muon", values, scaleByMuon(values)), rest }, (parameter) =>
      chosen(parameter) ? "matrix" : "rest",
    );
  },
});

/** Muon: orthogonalised momentum for matrices, x ← x - α (f O + λ x); AdamW for everything else. */
export const muon = muonRecord.create;
