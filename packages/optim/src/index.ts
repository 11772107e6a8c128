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
export { defineOptimizer, type OptimizerRecord } from "./optimizer-record";
export { optimizers } from "./registry";
export {
  cosineRestarts,
  type CosineRestartsOptions,
  cyclic,
  type CyclicOptions,
  oneCycle,
  type OneCycleOptions,
  trapezoid,
  type TrapezoidOptions,
} from "./schedules/cycles";
export {
  cosine,
  type DecayToEndOptions,
  exponential,
  inverseSqrt,
  type InverseSqrtOptions,
  inverseTime,
  type InverseTimeOptions,
  linear,
  multiStep,
  type MultiStepOptions,
  noam,
  type NoamOptions,
  polynomial,
  type PolynomialOptions,
  stepDecay,
  type StepDecayOptions,
} from "./schedules/decay";
export { join } from "./schedules/join";
export { piecewiseConstant, type PiecewiseConstantOptions } from "./schedules/piecewise";
export { type Schedule, schedule, type ScheduleNumbers } from "./schedules/schedule";
export { constantSchedule, warmupConstant, type WarmupConstantOptions, type WarmupOptions } from "./schedules/warmup";
export {
  mapTensors,
  type ParameterInfo,
  type ParameterPredicate,
  type TensorTree,
  treeNorm,
  treeSquaredNorm,
} from "./tensors";
export {
  type EvalContext,
  evalParams,
  type Extra,
  type GradientTransformation,
  type OptimizerState,
  type Rule,
  type RuleDefinition,
  setHyperparameters,
  transformation,
  type UpdateContext,
} from "./transform";
export { type AdamScalingOptions, scaleByAdam } from "./transforms/adam";
export {
  adaptiveClip,
  type AdaptiveClipOptions,
  clipByBlockRms,
  type ClipByBlockRmsOptions,
  clipByGlobalNorm,
  type ClipByGlobalNormOptions,
  clipByNorm,
  type ClipByNormOptions,
  clipByValue,
  type ClipByValueOptions,
} from "./transforms/clip";
export { addDecayedWeights, type DecayMask, type DecayOptions } from "./transforms/decay";
export { type MomentumOptions, scaleByMomentum } from "./transforms/momentum";
export { centralize, type CentralizeOptions, normalize } from "./transforms/normalize";
export { type RmsScalingOptions, scaleByRms } from "./transforms/rms";
export { scale, scaleByLearningRate } from "./transforms/scale";
export { accumulate } from "./wrappers/accumulate";
export { ema, type EmaOptions, emaParams } from "./wrappers/ema";
export { masked, partition } from "./wrappers/masked";
