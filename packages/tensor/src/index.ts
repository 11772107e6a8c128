export { compile, type CompileOptions, type Program, type ProgramStatistics } from "./compiler/compile";
export { debugNonFinite } from "./compiler/debug";
export { evaluate } from "./compiler/evaluate";
export { conv, type ConvolutionOptions, convTranspose, type TransposedConvolutionOptions } from "./composites/convolution";
export { einsum } from "./composites/einsum";
export { type Moments, moments, standardize, type StandardizeOptions } from "./composites/norm";
export {
  averagePool,
  type AveragePoolOptions,
  globalAveragePool,
  globalMaxPool,
  maxPool,
  type MaxPoolOptions,
  type PoolingOptions,
} from "./composites/pooling";
export { logSoftmax, softmax, type SoftmaxOptions } from "./composites/softmax";
export type { Padding, PerAxis } from "./composites/window";
export { arange, eye, type NestedValues, ones, onesLike, oneHot, scalar, tensor, type TensorOptions, zeros, zerosLike } from "./create";
export { type AdapterDescription } from "./device/adapter";
export type { CounterValues } from "./device/counters";
export { defaultDevice, Device, type DeviceOptions, init, requestDevice, setDefaultDevice } from "./device/device";
export { chromeTrace, formatProfile, type ProfileRow } from "./device/profiler";
export { bytesPerElement, type DType, isFloat, isInteger, type TypedArray } from "./dtype";
export {
  ArgumentError,
  DeviceLostError,
  DisposedError,
  DTypeError,
  formatShape,
  invariant,
  nearestName,
  NonFiniteError,
  OutOfMemoryError,
  ShapeError,
  ThalwegError,
  UnsupportedError,
} from "./errors";
export { type BatchContext, definePrimitive, type Primitive, type RuleContext } from "./primitives/definition";
export { type DotParams } from "./primitives/dot";
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
export { scope } from "./scope";
export { broadcastShapes, normalizeAxes, normalizeAxis, type Shape, sameShape, sizeOf } from "./shape";
export {
  apply,
  type Axes,
  concat,
  full,
  identity,
  iota,
  type NestedNumbers,
  type Operand,
  placeholder,
  type ReduceOptions,
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
  treeFlatten,
  treeLeaves,
  treeMap,
  treeMapWithPath,
  type TreePath,
  treeReduce,
  type TreeStructure,
  treeUnflatten,
} from "./tree";
