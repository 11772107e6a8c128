export {
  celu,
  elu,
  gelu,
  type GeluOptions,
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
export * as initializers from "./initializers";
export type { Fans, Initializer, KaimingOptions, VarianceScalingOptions } from "./initializers";
export {
  type AttentionInput,
  type AttentionMask,
  type AttentionOptions,
  type AttentionParams,
  multiHeadAttention,
  scaledDotProductAttention,
  type ScaledDotProductOptions,
} from "./layers/attention";
export {
  conv1d,
  conv2d,
  conv3d,
  type ConvOptions,
  convTranspose1d,
  convTranspose2d,
  convTranspose3d,
  type ConvTransposeOptions,
} from "./layers/convolution";
export { dense, type DenseOptions } from "./layers/dense";
export { dropout, type DropoutOptions } from "./layers/dropout";
export { embedding, type EmbeddingOptions, type EmbeddingParams } from "./layers/embedding";
export type { KernelParams } from "./layers/kernel";
export {
  batchNorm,
  type BatchNormOptions,
  type BatchNormState,
  groupNorm,
  type GroupNormOptions,
  layerNorm,
  type LayerNormOptions,
  type NormParams,
} from "./layers/normalization";
export { averagePool, flatten, maxPool } from "./layers/pooling";
export {
  type Cell,
  type CellOptions,
  gruCell,
  type GruParams,
  lstmCell,
  type LstmCarry,
  type LstmOptions,
  type LstmParams,
  unroll,
} from "./layers/recurrent";
export {
  accuracy,
  binaryCrossEntropyWithLogits,
  type BinaryCrossEntropyOptions,
  type CrossEntropyOptions,
  klDivergence,
  type KlDivergenceOptions,
  labelWeights,
  type LabelWeightOptions,
  meanOverLabels,
  nll,
  softmaxCrossEntropy,
} from "./losses/cross-entropy";
export type { ElementOptions } from "./losses/elements";
export { huber, type HuberOptions, l1, meanSquaredError, smoothL1, type SmoothL1Options } from "./losses/regression";
export {
  type ApplyOptions,
  type Calls,
  compose,
  type Context,
  defineLayer,
  defineStateless,
  type InputSpec,
  type Layer,
  type LayerDefinition,
  type LayerLike,
  type Nothing,
  type ParamsOf,
  residual,
  type Role,
  roleMask,
  sequential,
  type StateOf,
} from "./module";
export { globalAveragePool, globalMaxPool, logSoftmax, softmax } from "@thalweg/tensor";
