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
export type { ClosestOptions } from "./kronecker/closest-factors";
export {
  type BlockInverse,
  blockMatrix,
  type CurvaturePower,
  curvaturePowers,
  type DampingRule,
  dampingRules,
  type Eigenbasis,
  type FactoredInverse,
  fromBlockMatrix,
  type Inverses,
  type InvertedBlock,
  invertBlock,
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
export { type RecursionOptions, recursiveFactors } from "./kronecker/recursion";
export type { Draws, PositionMask } from "./kronecker/statistics";
export { type FisherKind, fisherKinds } from "./kronecker/vectors";
export {
  type ConjugateGradientHistory,
  type ConjugateGradientOptions,
  type ConjugateGradientResult,
  type ConjugateGradientsResult,
  conjugateGradient,
  conjugateGradients,
} from "./krylov/conjugate-gradient";
export { type DenseSolveOptions, denseSolve } from "./krylov/dense-solve";
export {
  type DiagonalEstimate,
  type DiagonalMethod,
  type Estimate,
  estimateDiagonal,
  estimateFrobenius,
  estimateTrace,
  type ProbeOptions,
  type TraceMethod,
} from "./krylov/estimators";
export {
  type DensityOptions,
  deflated,
  type Eigenpair,
  gaussianMixture,
  type LanczosOptions,
  type LanczosResult,
  lanczos,
  type SpectralDensity,
  spectralDensity,
  topEigenpairs,
} from "./krylov/lanczos";
export { type LobpcgOptions, type LobpcgResult, lobpcg } from "./krylov/lobpcg";
export { type LsmrOptions, type LsmrResult, lsmr } from "./krylov/lsmr";
export {
  type NeumannOptions,
  type NeumannResult,
  type NeumannSolveOptions,
  neumannInverse,
  neumannSolve,
} from "./krylov/neumann";
export {
  type AdaptDampingOptions,
  adaptDamping,
  type QuadraticModelStep,
  quadraticModelStep,
} from "./krylov/quadratic-model";
export {
  isTruncated,
  type SavedIterate,
  type TruncatedResult,
  type TruncatedSolver,
  type TruncatedSystem,
  type TruncationOptions,
  truncatedSolver,
} from "./krylov/truncated";
export { type IgnoredTargets, ignoringTargets, type Marked } from "./laplace/ignored-targets";
export type { LaplaceDampingRule } from "./laplace/kronecker-precision";
export {
  type Evidence,
  type Laplace,
  type LaplaceFit,
  type LaplaceHyperparameters,
  type LaplaceOptions,
  type LaplaceSums,
  laplace,
  laplaceFit,
  type SampleOutputsOptions,
} from "./laplace/laplace";
export { laplaceBridge, logPredictiveDensity, meanProbabilities, probit } from "./laplace/predictive";
export {
  type FixedPoint,
  type FixedPointOptions,
  fixedPointHyperparameters,
  type GridOptions,
  type GridSearch,
  gridSearchPriorPrecision,
  largestVariances,
} from "./laplace/search";
export {
  conditionWarnings,
  evidenceSteps,
  priorPenalty,
  type Selection,
  type SelectOptions,
  selectHyperparameters,
} from "./laplace/select";
export type { JointTensors, LaplaceStructure } from "./laplace/sums";
export {
  type Restriction,
  restrict,
  type Uncertain,
  type UncertainParameters,
  type UncertainTensor,
  uncertainTensors,
} from "./laplace/uncertain";
export {
  type BlockOf,
  blockDiagonal,
  byLayer,
  byParameter,
  type DenseBlock,
  denseBlocks,
  diagonalOperator,
  submatrix,
} from "./operators/blocks";
export { type CheckOptions, checkOperator, checkProblem } from "./operators/check";
export {
  type Batches,
  type CovarianceOptions,
  type FisherOperatorOptions,
  fisherOperator,
  ggnOperator,
  gradientCovarianceOperator,
  hessianOperator,
  jacobianOperator,
  ntkMatrix,
  ntkOperator,
} from "./operators/curvature-operators";
export {
  eigenbasisOperator,
  inverseKroneckerOperator,
  type KroneckerOperator,
  kroneckerOperator,
} from "./operators/kronecker-operator";
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
