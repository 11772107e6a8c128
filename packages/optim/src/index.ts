export { type AdabeliefScalingOptions, adabelief, scaleByAdabelief } from "./algorithms/adabelief";
export { adabound, amsbound } from "./algorithms/adabound";
export { type AdadeltaScalingOptions, adadelta, scaleByAdadelta } from "./algorithms/adadelta";
export { adafactor } from "./algorithms/adafactor";
export { type AdagradScalingOptions, adagrad, scaleByAdagrad } from "./algorithms/adagrad";
export { adam, adamw, amsgrad } from "./algorithms/adam";
export { adamax, scaleByAdamax } from "./algorithms/adamax";
export { type AdanScalingOptions, adan, scaleByAdan } from "./algorithms/adan";
export { type AdemamixScalingOptions, ademamix, scaleByAdemamix } from "./algorithms/ademamix";
export { type AdoptScalingOptions, adopt, scaleByAdopt } from "./algorithms/adopt";
export { cocob } from "./algorithms/cocob";
export { dAdaptAdam, dAdaptSgd } from "./algorithms/d-adaptation";
export { dog, dowg, ldog } from "./algorithms/dog";
export { ekfac, kfac, kfacReduce } from "./algorithms/kfac";
export { lamb } from "./algorithms/lamb";
export { lars } from "./algorithms/lars";
export { lbfgs } from "./algorithms/lbfgs";
export { type LionScalingOptions, lion, scaleByLion } from "./algorithms/lion";
export { madgrad } from "./algorithms/madgrad";
export { momentum } from "./algorithms/momentum";
export { muon } from "./algorithms/muon";
export { type NadamScalingOptions, nadam, nadamw, scaleByNadam } from "./algorithms/nadam";
export { nesterov } from "./algorithms/nesterov";
export { type LayerRmsOptions, novograd, scaleByLayerRms } from "./algorithms/novograd";
export { momo, momoAdam, polyak } from "./algorithms/polyak";
export { prodigy } from "./algorithms/prodigy";
export { type RadamScalingOptions, radam, scaleByRadam } from "./algorithms/radam";
export { rmsprop } from "./algorithms/rmsprop";
export { rprop } from "./algorithms/rprop";
export { scheduleFreeAdamw, scheduleFreeSgd } from "./algorithms/schedule-free";
export { sgd } from "./algorithms/sgd";
export { shampoo } from "./algorithms/shampoo";
export { scaleBySign, signSgd, signum } from "./algorithms/signum";
export { singd } from "./algorithms/singd";
export { type Sm3ScalingOptions, scaleBySm3, sm3 } from "./algorithms/sm3";
export { type SoapScalingOptions, scaleBySoap, soap } from "./algorithms/soap";
export { type SophiaScalingOptions, scaleBySophia, sophia } from "./algorithms/sophia";
export {
  lookaheadMomentum,
  lookaheadRadam,
  mechanicAdamw,
  mechanicMomentum,
  samAdamw,
  samMomentum,
} from "./algorithms/wrapped";
export { scaleByYogi, type YogiScalingOptions, yogi } from "./algorithms/yogi";
export { applyUpdates } from "./apply";
export { type BlockReport, blockReport } from "./block-report";
export { type CatalogueEntry, catalogue } from "./catalogue";
export { chain } from "./chain";
export { type Constant, constant, decayConstant, type Range } from "./constant";
export {
  type EvidenceBest,
  type EvidenceCheckpoint,
  type EvidenceLayer,
  type EvidenceTraining,
  type EvidenceTrainingOptions,
  trainWithEvidence,
} from "./evidence-training";
export {
  type HessianFree,
  type HessianFreeOptions,
  type HessianFreeReport,
  type HessianFreeState,
  hessianFree,
} from "./hessian-free";
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
export { type Preset, presets } from "./presets";
export { optimizers } from "./registry";
export {
  type CrowdedValleyScheduleName,
  type CrowdedValleyScheduleOptions,
  crowdedValleyFactors,
  crowdedValleySchedule,
  crowdedValleySchedules,
} from "./schedules/crowded-valley";
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
export { type Plateau, type ReduceOnPlateauOptions, reduceOnPlateau } from "./schedules/plateau";
export { type Schedule, type ScheduleNumbers, schedule } from "./schedules/schedule";
export { everyEpoch, tableSchedule } from "./schedules/table";
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
  type Curvature,
  type CurvatureRequest,
  contextAt,
  type EvalContext,
  type Extra,
  evalParams,
  type GradientTransformation,
  type ModelStructure,
  type Need,
  type OptimizerState,
  quantities,
  type Refresh,
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
export { type DistanceEstimateOptions, scaleByDistanceEstimate } from "./transforms/distance";
export { zeroNans } from "./transforms/finite";
export type { MomentOptions } from "./transforms/moments";
export { type MomentumOptions, scaleByMomentum } from "./transforms/momentum";
export { type MuonScalingOptions, scaleByMuon } from "./transforms/muon";
export { type AddNoiseOptions, addNoise } from "./transforms/noise";
export { type CentralizeOptions, centralize, normalize } from "./transforms/normalize";
export { type ProjectionOptions, project } from "./transforms/project";
export { type ProximalRateOptions, scaleByProximalRate } from "./transforms/proximal";
export { type RmsScalingOptions, scaleByRms } from "./transforms/rms";
export { identity, scale, scaleByLearningRate } from "./transforms/scale";
export { type Graft, type ShampooScalingOptions, scaleByShampoo } from "./transforms/shampoo";
export { scaleByTrustRatio, type TrustRatioOptions } from "./transforms/trust-ratio";
export { accumulate } from "./wrappers/accumulate";
export {
  type ApplyIfFiniteOptions,
  applyIfFinite,
} from "./wrappers/apply-if-finite";
export { type PolynomialAverageOptions, polynomialAverage } from "./wrappers/distance-average";
export { type EmaOptions, ema, emaParams } from "./wrappers/ema";
export { type LookaheadOptions, lookahead } from "./wrappers/lookahead";
export { masked, partition } from "./wrappers/masked";
export { type MechanicOptions, mechanic } from "./wrappers/mechanic";
export { type SamOptions, sam } from "./wrappers/sam";
export { type ScheduleFreeOptions, scheduleFree } from "./wrappers/schedule-free";
export { type LawaOptions, lawa, type SwaOptions, swa } from "./wrappers/snapshots";
export { type SwagOptions, type SwagPosterior, swag, swagPosterior } from "./wrappers/swag";
