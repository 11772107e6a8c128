export {
  type HessianDiagonalOptions,
  hessianDiagonal,
  perSampleHessianDiagonal,
} from "./diagonals/hessian-diagonal";
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
  type ConjugateGradientOptions,
  type ConjugateGradientResult,
  conjugateGradient,
  type NeumannOptions,
  neumannInverse,
} from "./krylov/conjugate-gradient";
export {
  type Estimate,
  estimateDiagonal,
  estimateFrobenius,
  estimateTrace,
  type ProbeOptions,
} from "./krylov/estimators";
export {
  type DensityOptions,
  gaussianMixture,
  type LanczosOptions,
  type LanczosResult,
  lanczos,
  type SpectralDensity,
  spectralDensity,
  topEigenpairs,
} from "./krylov/lanczos";
export {
  type AdaptDampingOptions,
  adaptDamping,
  type QuadraticModelStep,
  quadraticModelStep,
} from "./krylov/quadratic-model";
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
  type Batches,
  type FisherOperatorOptions,
  fisherOperator,
  ggnOperator,
  hessianOperator,
  jacobianOperator,
  type KroneckerOperator,
  kroneckerOperator,
  ntkOperator,
} from "./operators/curvature-operators";
export {
  applyMany,
  composed,
  difference,
  dimension,
  flattenTree,
  type LinearOperator,
  onVectors,
  restricted,
  scaled,
  shifted,
  sum,
  symmetricOperator,
  toDense,
  transposed,
  unflattenTree,
} from "./operators/linear-operator";
export {
  binaryCrossEntropy,
  convexLoss,
  crossEntropy,
  meanSquaredError,
  type OutputLoss,
  squaredError,
} from "./output-loss";
export { describePerSample, type PerSampleForm } from "./per-sample/describe";
export {
  type ExampleLoss,
  type PerSampleGradients,
  type PerSampleStatistics,
  perSampleGradients,
  perSampleStatistics,
} from "./per-sample/per-sample";
export { type Batch, type CurvatureProblem, exampleLosses, problemLoss } from "./problem";
export { ggnDiagonal, ggnSquareRoot, perSampleGgnDiagonal, type SquareRootOptions } from "./square-root";
