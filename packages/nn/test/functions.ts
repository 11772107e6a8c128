import {
  averagePool,
  conv,
  convTranspose,
  einsum,
  key,
  logSoftmax,
  maxPool,
  softmax,
  standardize,
  type Tensor,
  tensor,
} from "@thalweg/tensor";
import * as nn from "../src/index";

/** A differentiable function of float tensors. */
export interface Case {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  readonly f: (...inputs: Tensor[]) => Tensor;
  /** Piecewise functions: elements keep a distance from each other and from 0, so that differences stay on one piece. */
  readonly distinct?: boolean;
  /** Default [-2, 2]. */
  readonly domain?: readonly [number, number];
}

/** Made anew for every use: once a graph ran on the device, its data are there and not on the host. */
const labels = () => tensor(Int32Array.of(0, 3, 1));
const layer =
  <P extends object>(made: nn.Layer<P, nn.Nothing>, names: readonly (keyof P)[]) =>
  (x: Tensor, ...leaves: Tensor[]) =>
    made.apply(Object.fromEntries(names.map((name, i) => [name, leaves[i]])) as unknown as P, x);

export const convolutions: readonly Case[] = [
  {
    name: "conv1d, stride 2, dilation 2",
    shapes: [
      [2, 9, 2],
      [3, 2, 3],
    ],
    f: (x, k) => conv(x, k, { stride: 2, dilation: 2 }),
  },
  {
    name: "conv2d, same",
    shapes: [
      [2, 4, 5, 2],
      [3, 2, 2, 3],
    ],
    f: (x, k) => conv(x, k, { padding: "same" }),
  },
  {
    name: "conv2d, stride 2, padding 1",
    shapes: [
      [2, 5, 6, 2],
      [3, 3, 2, 2],
    ],
    f: (x, k) => conv(x, k, { stride: 2, padding: 1 }),
  },
  {
    name: "conv2d, groups",
    shapes: [
      [1, 4, 4, 4],
      [2, 2, 2, 4],
    ],
    f: (x, k) => conv(x, k, { groups: 2 }),
  },
  {
    name: "conv2d, depthwise",
    shapes: [
      [1, 4, 4, 3],
      [3, 3, 1, 6],
    ],
    f: (x, k) => conv(x, k, { groups: 3, padding: 1 }),
  },
  {
    name: "conv2d, 1 x 1",
    shapes: [
      [2, 3, 3, 2],
      [1, 1, 2, 3],
    ],
    f: (x, k) => conv(x, k),
  },
  {
    name: "conv2d, patches side by side",
    shapes: [
      [1, 5, 4, 2],
      [2, 2, 2, 3],
    ],
    f: (x, k) => conv(x, k, { stride: 2 }),
  },
  {
    name: "conv3d",
    shapes: [
      [1, 3, 4, 3, 2],
      [2, 2, 2, 2, 2],
    ],
    f: (x, k) => conv(x, k, { padding: [[1, 0], 0, [0, 1]] }),
  },
  {
    name: "convTranspose1d, stride 1",
    shapes: [
      [2, 4, 2],
      [3, 2, 3],
    ],
    f: (x, k) => convTranspose(x, k, { padding: 1 }),
  },
  {
    name: "convTranspose2d, stride 2",
    shapes: [
      [1, 3, 2, 2],
      [3, 3, 2, 3],
    ],
    f: (x, k) => convTranspose(x, k, { stride: 2, padding: 1, outputPadding: 1 }),
  },
  {
    name: "convTranspose2d, groups, same",
    shapes: [
      [1, 3, 3, 4],
      [3, 2, 4, 2],
    ],
    f: (x, k) => convTranspose(x, k, { stride: 2, groups: 2, padding: "same" }),
  },
];

export const layers: readonly Case[] = [
  { name: "maxPool, side by side", shapes: [[2, 4, 6, 2]], f: (x) => maxPool(x, { window: 2 }), distinct: true },
  {
    name: "maxPool, overlapping, same",
    shapes: [[2, 5, 5, 1]],
    f: (x) => maxPool(x, { window: 3, stride: 2, padding: "same" }),
    distinct: true,
  },
  {
    name: "averagePool",
    shapes: [[2, 5, 5, 1]],
    f: (x) => averagePool(x, { window: 3, stride: 2, padding: 1, countPadding: false }),
  },
  { name: "softmax", shapes: [[3, 4]], f: (x) => softmax(x) },
  { name: "logSoftmax, axis 0", shapes: [[3, 4]], f: (x) => logSoftmax(x, { axis: 0 }) },
  { name: "standardize", shapes: [[3, 4]], f: (x) => standardize(x, { axis: 1 }) },
  {
    name: "einsum",
    shapes: [
      [2, 3, 3],
      [3, 4],
      [4, 2],
    ],
    f: (a, b, c) => einsum("bii,ij,jb->ij", a, b, c),
  },
  { name: "dense", shapes: [[3, 4], [4, 2], [2]], f: layer(nn.dense({ features: 2 }), ["kernel", "bias"]) },
  { name: "layerNorm", shapes: [[2, 3, 4], [4], [4]], f: layer(nn.layerNorm(), ["scale", "bias"]) },
  { name: "groupNorm", shapes: [[2, 3, 4], [4], [4]], f: layer(nn.groupNorm({ groups: 2 }), ["scale", "bias"]) },
  {
    name: "batchNorm in training",
    shapes: [[4, 2, 3], [3], [3]],
    f: (x, scale, bias) => nn.batchNorm().apply({ scale, bias }, x, { train: true }),
  },
  {
    name: "batchNorm in evaluation",
    shapes: [[4, 3], [3], [3], [3]],
    f: (x, scale, bias, mean) =>
      nn.batchNorm().apply({ scale, bias }, x, { state: { mean, variance: tensor([1, 2, 3]) } }),
  },
  {
    name: "embedding",
    shapes: [[5, 2]],
    f: (table) => nn.embedding({ count: 5, features: 2 }).apply({ table }, labels()),
  },
  {
    name: "dropout",
    shapes: [[4, 5]],
    f: (x) =>
      nn
        .dropout({ rate: 0.5 })
        .apply({}, x, { train: true, key: key(3) })
        .square(),
  },
  {
    name: "scaledDotProductAttention, causal",
    shapes: [
      [2, 3, 2, 2],
      [2, 3, 2, 2],
      [2, 3, 2, 3],
    ],
    f: (q, k, v) => nn.scaledDotProductAttention(q, k, v, { causal: true }),
  },
  {
    name: "lstmCell",
    shapes: [[2, 3], [2, 2], [2, 2], [3, 8], [2, 8], [8]],
    f: (x, hidden, cell, inputKernel, hiddenKernel, bias) =>
      nn.lstmCell({ features: 2 }).step({ inputKernel, hiddenKernel, bias }, { hidden, cell }, x)[1],
  },
  {
    name: "gruCell, unrolled",
    shapes: [[2, 3, 3], [3, 6], [2, 6], [6], [6]],
    f: (xs, inputKernel, hiddenKernel, inputBias, hiddenBias) =>
      nn.unroll(nn.gruCell({ features: 2 }), { inputKernel, hiddenKernel, inputBias, hiddenBias }, xs)[1],
  },
];

export const losses: readonly Case[] = [
  { name: "softmaxCrossEntropy", shapes: [[3, 4]], f: (x) => nn.softmaxCrossEntropy(x, labels()) },
  {
    name: "softmaxCrossEntropy with all options",
    shapes: [[3, 4]],
    f: (x) =>
      nn.softmaxCrossEntropy(x, labels(), { labelSmoothing: 0.1, weights: tensor([1, 2, 3, 4]), ignoredLabel: 3 }),
  },
  {
    name: "softmaxCrossEntropy of distributions",
    shapes: [
      [3, 4],
      [3, 4],
    ],
    f: (x, t) => nn.softmaxCrossEntropy(x, softmax(t)),
  },
  {
    name: "binaryCrossEntropyWithLogits",
    shapes: [
      [3, 4],
      [3, 4],
    ],
    f: (x, t) => nn.binaryCrossEntropyWithLogits(x, t.sigmoid(), { posWeight: 2 }),
  },
  {
    name: "meanSquaredError",
    shapes: [
      [3, 4],
      [3, 4],
    ],
    f: (x, t) => nn.meanSquaredError(x, t),
  },
  { name: "huber", shapes: [[3, 4]], f: (x) => nn.huber(x, x.zerosLike(), { delta: 0.7 }), distinct: true },
  { name: "smoothL1", shapes: [[3, 4]], f: (x) => nn.smoothL1(x, x.zerosLike(), { beta: 0.7 }), distinct: true },
  { name: "l1", shapes: [[3, 4]], f: (x) => nn.l1(x, x.zerosLike()), distinct: true },
  {
    name: "klDivergence",
    shapes: [
      [3, 4],
      [3, 4],
    ],
    f: (x, t) => nn.klDivergence(logSoftmax(x), softmax(t)),
  },
];

export const activations: readonly Case[] = Object.entries({
  relu: nn.relu,
  leakyRelu: nn.leakyRelu,
  elu: nn.elu,
  selu: nn.selu,
  celu: nn.celu,
  gelu: nn.gelu,
  "gelu, tanh": (x: Tensor) => nn.gelu(x, { approximation: "tanh" }),
  silu: nn.silu,
  mish: nn.mish,
  logSigmoid: nn.logSigmoid,
  softplus: nn.softplus,
  softsign: nn.softsign,
  hardTanh: nn.hardTanh,
  hardSwish: nn.hardSwish,
}).map(([name, f]) => ({ name, shapes: [[21]], f: (x) => f(x), distinct: true, domain: [-1.75, 1.75] }));
