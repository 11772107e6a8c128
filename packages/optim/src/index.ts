export { adam, adamw } from "./algorithms/adam";
export { momentum } from "./algorithms/momentum";
export { nesterov } from "./algorithms/nesterov";
export { rmsprop } from "./algorithms/rmsprop";
export { sgd } from "./algorithms/sgd";
export { applyUpdates } from "./apply";
export { chain } from "./chain";
export { type Constant, constant, decayConstant, type Range } from "./constant";
export type {
  BooleanSpec,
  ChoiceSpec,
  FloatSpec,
  HyperparameterSpec,
  HyperparameterSpecs,
  IntegerSpec,
  OptionsOf,
  SearchSpace,
  ValuesOf,
} from "./hyperparameter";
export { defineOptimizer, type OptimizerFamily, type OptimizerRecord } from "./optimizer-record";
export { optimizers } from "./registry";
export {
  type CosineRestartsOptions,
  type CyclicOptions,
  cosineRestarts,
  cyclic,
  type OneCycleOptions,
  oneCycle,
  type TrapezoidOptions,
  trapezoid,
} from "./schedules/cycles";
export {
  cosine,
  type DecayToEndOptions,
  exponential,
  type InverseSqrtOptions,
  type InverseTimeOptions,
  inverseSqrt,
  inverseTime,
  linear,
  type MultiStepOptions,
  multiStep,
  type NoamOptions,
  noam,
  type PolynomialOptions,
  polynomial,
  type StepDecayOptions,
  stepDecay,
} from "./schedules/decay";
export { join } from "./schedules/join";
export { type PiecewiseConstantOptions, piecewiseConstant } from "./schedules/piecewise";
export { type Schedule, type ScheduleNumbers, schedule } from "./schedules/schedule";
export { constantSchedule, type WarmupConstantOptions, type WarmupOptions, warmupConstant } from "./schedules/warmup";
export {
  mapTensors,
  type ParameterInfo,
  type ParameterPredicate,
  type ParameterRole,
  type TensorTree,
  treeNorm,
  treeSquaredNorm,
  withRoles,
} from "./tensors";
export {
  contextAt,
  type EvalContext,
  type Extra,
  evalParams,
  type GradientTransformation,
  type Need,
  type OptimizerState,
  quantities,
  type Rule,
  type RuleDefinition,
  setHyperparameters,
  transformation,
  type UpdateContext,
} from "./transform";
export { type AdamScalingOptions, scaleByAdam } from "./transforms/adam";
export {
  type AdaptiveClipOptions,
  adaptiveClip,
  type ClipByBlockRmsOptions,
  type ClipByGlobalNormOptions,
  type ClipByNormOptions,
  type ClipByValueOptions,
  clipByBlockRms,
  clipByGlobalNorm,
  clipByNorm,
  clipByValue,
} from "./transforms/clip";
export { addDecayedWeights, type DecayMask, type DecayOptions } from "./transforms/decay";
export { type MomentumOptions, scaleByMomentum } from "./transforms/momentum";
export { type CentralizeOptions, centralize, normalize } from "./transforms/normalize";
export { type RmsScalingOptions, scaleByRms } from "./transforms/rms";
export { scale, scaleByLearningRate } from "./transforms/scale";
export { accumulate } from "./wrappers/accumulate";
export { type EmaOptions, ema, emaParams } from "./wrappers/ema";
export { masked, partition } from "./wrappers/masked";
