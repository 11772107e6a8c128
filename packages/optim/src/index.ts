export { adam, adamw } from "./algorithms/adam";
export { momentum } from "./algorithms/momentum";
export { nesterov } from "./algorithms/nesterov";
export { rmsprop } from "./algorithms/rmsprop";
export { sgd } from "./algorithms/sgd";
export { applyUpdates, evalParams } from "./apply";
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
export { piecewiseConstant, type PiecewiseConstantOptions } from "./schedules/piecewise";
export { type Schedule, schedule, type ScheduleNumbers } from "./schedules/schedule";
export {
  mapTensors,
  type ParameterInfo,
  type ParameterPredicate,
  type TensorTree,
  treeNorm,
  treeSquaredNorm,
} from "./tensors";
export {
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
export { addDecayedWeights, type DecayMask, type DecayOptions } from "./transforms/decay";
export { type MomentumOptions, scaleByMomentum } from "./transforms/momentum";
export { type RmsScalingOptions, scaleByRms } from "./transforms/rms";
export { scale, scaleByLearningRate } from "./transforms/scale";
