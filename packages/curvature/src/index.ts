export type {
  Block,
  DiagonalBlock,
  EmbeddingBlock,
  Flavour,
  KroneckerBlock,
  UnitwiseBlock,
} from "./kronecker/blocks";
export {
  type BlockInverse,
  blockMatrix,
  type DampingRule,
  dampingRules,
  type Eigenbasis,
  type FactoredInverse,
  fromBlockMatrix,
  type Inverses,
  invertFactors,
  precondition,
} from "./kronecker/damping";
export type { BlockFactors, DiagonalFactors, Factors, MatrixFactors, UnitwiseFactors } from "./kronecker/factors";
export {
  type Evaluation,
  type KroneckerCurvature,
  type KroneckerOptions,
  kroneckerCurvature,
} from "./kronecker/kronecker-curvature";
export type { Draws, PositionMask } from "./kronecker/statistics";
export { type FisherKind, fisherKinds } from "./kronecker/vectors";
export {
  type Evidence,
  type Laplace,
  type LaplaceHyperparameters,
  type LaplaceOptions,
  type LaplaceStructure,
  laplace,
  probit,
} from "./laplace/laplace";
export { priorPenalty, type Selection, type SelectOptions, selectHyperparameters } from "./laplace/select";
export {
  binaryCrossEntropy,
  convexLoss,
  crossEntropy,
  meanSquaredError,
  type OutputLoss,
  squaredError,
} from "./output-loss";
export { type Batch, type CurvatureProblem, exampleLosses, problemLoss } from "./problem";
export { ggnDiagonal, ggnSquareRoot, perSampleGgnDiagonal, type SquareRootOptions } from "./square-root";
