export { globalAveragePool, globalMaxPool, logSoftmax, softmax } from "@thalweg/tensor";
export {
  celu,
  elu,
  type GeluOptions,
  gelu,
  hardSigmoid,
  hardSwish,
  hardTanh,
  leakyRelu,
  logSigmoid,
  mish,
  relu,
  relu6,
  selu,
  sigmoid,
  silu,
  softplus,
  softsign,
  tanh,
} from "./activations";
export type { Fans, Initializer, KaimingOptions, VarianceScalingOptions } from "./initializers";
export * as initializers from "./initializers";
export {
  type AttentionInput,
  type AttentionMask,
  type AttentionOptions,
  type AttentionParams,
  multiHeadAttention,
  type ScaledDotProductOptions,
  scaledDotProductAttention,
} from "./layers/attention";
export {
  type ConvOptions,
  type ConvTransposeOptions,
  conv1d,
  conv2d,
  conv3d,
  convTranspose1d,
  convTranspose2d,
  convTranspose3d,
} from "./layers/convolution";
export { type DenseOptions, dense } from "./layers/dense";
export { type DropoutOptions, dropout } from "./layers/dropout";
export { type EmbeddingOptions, type EmbeddingParams, embedding } from "./layers/embedding";
export type { KernelParams } from "./layers/kernel";
export {
  type BatchNormOptions,
  type BatchNormState,
  batchNorm,
  type GroupNormOptions,
  groupNorm,
  type LayerNormOptions,
  layerNorm,
  type NormParams,
} from "./layers/normalization";
export { averagePool, flatten, maxPool } from "./layers/pooling";
export {
  type Cell,
  type CellOptions,
  type GruParams,
  gruCell,
  type LstmCarry,
  type LstmOptions,
  type LstmParams,
  lstmCell,
  unroll,
} from "./layers/recurrent";
export {
  accuracy,
  type BinaryCrossEntropyOptions,
  binaryCrossEntropyWithLogits,
  type CrossEntropyOptions,
  type KlDivergenceOptions,
  klDivergence,
  type LabelWeightOptions,
  labelWeights,
  meanOverLabels,
  nll,
  softmaxCrossEntropy,
} from "./losses/cross-entropy";
export type { ElementOptions } from "./losses/elements";
export { type HuberOptions, huber, l1, meanSquaredError, type SmoothL1Options, smoothL1 } from "./losses/regression";
export {
  type ApplyOptions,
  type Calls,
  type Context,
  compose,
  defineLayer,
  defineStateless,
  type InputSpec,
  type Layer,
  type LayerDefinition,
  type LayerLike,
  type Nothing,
  type ParamsOf,
  type Role,
  residual,
  roleMask,
  type StateOf,
  sequential,
} from "./module";
