export { type CompileOptions, compile, type Program, type ProgramStatistics } from "./compiler/compile";
export { debugNonFinite } from "./compiler/debug";
export { evaluate } from "./compiler/evaluate";
export { type StridedView, stridedView } from "./compiler/strided";
export { type ScaledDotProductAttentionOptions, scaledDotProductAttention } from "./composites/attention";
export {
  type ConvolutionOptions,
  conv,
  convTranspose,
  type TransposedConvolutionOptions,
} from "./composites/convolution";
export { einsum } from "./composites/einsum";
export { type Moments, moments, type StandardizeOptions, standardize } from "./composites/norm";
export {
  type AveragePoolOptions,
  averagePool,
  globalAveragePool,
  globalMaxPool,
  type MaxPoolOptions,
  maxPool,
  type PoolingOptions,
} from "./composites/pooling";
export { logSoftmax, type SoftmaxOptions, softmax } from "./composites/softmax";
export type { Padding, PerAxis } from "./composites/window";
export {
  arange,
  eye,
  type NestedValues,
  oneHot,
  ones,
  onesLike,
  scalar,
  type TensorOptions,
  tensor,
  zeros,
  zerosLike,
} from "./create";
export type { AdapterDescription } from "./device/adapter";
export type { CounterValues } from "./device/counters";
export { Device, type DeviceOptions, defaultDevice, init, requestDevice, setDefaultDevice } from "./device/device";
export { chromeTrace, formatProfile, type ProfileRow } from "./device/profiler";
export { bytesPerElement, type DType, isFloat, isInteger, type TypedArray } from "./dtype";
export {
  ArgumentError,
  DeviceLostError,
  DisposedError,
  DTypeError,
  formatShape,
  invariant,
  NonFiniteError,
  nearestName,
  OutOfMemoryError,
  ShapeError,
  ThalwegError,
  UnsupportedError,
} from "./errors";
export { type Equation, equationsBetween, pullback, pushForward, replay, replayBatched } from "./graph/walk";
export * as linalg from "./linalg/linalg";
export { recompute } from "./loops/recomputed";
export { type ScanOptions, scan } from "./loops/scan";
export type { AttentionForm } from "./primitives/attention";
export {
  type BatchContext,
  definePrimitive,
  type Lowering,
  loweringOf,
  type Primitive,
  type RuleContext,
} from "./primitives/definition";
export type { DotParams } from "./primitives/dot";
export {
  bernoulli,
  foldIn,
  type Key,
  key,
  normal,
  permutation,
  permutedPositions,
  randomBits,
  randomIntegers,
  split,
  splitKeys,
  truncatedNormal,
  uniform,
} from "./random";
export {
  decodeSafetensors,
  encodeSafetensors,
  fromSafetensors,
  type SafetensorsDType,
  type SafetensorsEntry,
  type SafetensorsFile,
  toSafetensors,
} from "./safetensors";
export { scope } from "./scope";
export { broadcastShapes, normalizeAxes, normalizeAxis, type Shape, sameShape, sizeOf } from "./shape";
export {
  type Axes,
  apply,
  concat,
  full,
  identity,
  iota,
  type NestedNumbers,
  type Operand,
  placeholder,
  type ReduceOptions,
  type SortOptions,
  stack,
  stopGradient,
  Tensor,
  where,
} from "./tensor";
export {
  formatPath,
  formatStructure,
  type MapLeaves,
  type Tree,
  type TreePath,
  type TreeStructure,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeMapWithPath,
  treeReduce,
  treeUnflatten,
} from "./tree";
export type { CandidateReport, ClassReport, TuneMode, Tuning, TuningReport } from "./tuning/tuning";
