import {
  ArgumentError,
  type AttentionForm,
  scaledDotProductAttention as attend,
  formatShape,
  iota,
  ShapeError,
  softmax,
  Tensor,
} from "@thalweg/tensor";
import { glorotUniform, type Initializer, zeros } from "../initializers";
import { compose, describe, type Layer, type Nothing } from "../module";
import { dense } from "./dense";
import { dropout as dropoutLayer } from "./dropout";
import type { WithBias } from "./kernel";

export interface AttentionMask {
  /** bool, true where a query may look at a key; broadcasts to `[batch, heads, queries, keys]`. Default: everywhere. */
  readonly mask?: Tensor | undefined;
  /** Whether query i sees keys 0 … i only. Default false. */
  readonly causal?: boolean;
}

export interface ScaledDotProductOptions extends AttentionMask {
  /** Factor of the scores. Default 1 / sqrt(features per head). */
  readonly scale?: number;
  /**
   * Applied to the attention weights `[batch, heads, queries, keys]`, such as dropout. The weights are stored then: no
   * fused kernel takes part.
   */
  readonly onWeights?: ((weights: Tensor) => Tensor) | undefined;
  /** See the tensor engine's function of the same name. Default `"auto"`. */
  readonly form?: AttentionForm | undefined;
}

/**
 * softmax(q kᵀ · scale) v for every head.
 *
 * A query that may look at nothing gets zeros, where PyTorch gives NaN.
 *
 * @param query - `[batch, queries, heads, features]`
 * @param key - `[batch, keys, heads, features]`
 * @param value - `[batch, keys, heads, valueFeatures]`
 * @returns `[batch, queries, heads, valueFeatures]`
 * @see Vaswani et al., Attention is all you need (2017), eq. 1
 */
export function scaledDotProductAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: ScaledDotProductOptions = {},
): Tensor {
  checkOperands(query, key, value);
  const { mask, onWeights } = options;
  if (mask !== undefined && mask.dtype !== "bool") {
    throw new ArgumentError(`attention: the mask is ${mask.dtype}. Give a bool tensor, true where a query may look.`);
  }
  const [q, k, v] = [query, key, value].map((x) => x.permute([0, 2, 1, 3])) as [Tensor, Tensor, Tensor];
  const attended =
    onWeights === undefined ? attend(q, k, v, options) : throughWeights(q, k, v, { ...options, onWeights });
  return attended.permute([0, 2, 1, 3]);
}

/** The composition, with something between the softmax and the values. */
function throughWeights(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  {
    mask,
    causal = false,
    scale = 1 / Math.sqrt(q.shape[3] as number),
    onWeights,
  }: ScaledDotProductOptions & { readonly onWeights: (weights: Tensor) => Tensor },
): Tensor {
  const scores = q.mul(scale).matmul(k.transpose());
  const pairs = scores.shape.slice(-2);
  const past = causal ? iota(pairs, 0).greaterEqual(iota(pairs, 1)) : undefined;
  const allowed = past === undefined ? mask : (mask?.and(past) ?? past);
  if (allowed === undefined) return onWeights(softmax(scores)).matmul(v);
  const weights = softmax(allowed.where(scores, lowest(scores)));
  // The softmax of a row of which nothing is allowed is uniform.
  return onWeights(mask === undefined ? weights : allowed.where(weights, 0)).matmul(v);
}

/** Far below every score, and finite: infinities are not safe in WGSL. */
const lowest = (x: Tensor): number => (x.dtype === "f16" ? -65504 : -3.4028234663852886e38);

function checkOperands(query: Tensor, key: Tensor, value: Tensor): void {
  const [q, k, v] = [query.shape, key.shape, value.shape];
  const fits =
    [q, k, v].every((shape) => shape.length === 4) &&
    [0, 2].every((axis) => q[axis] === k[axis] && k[axis] === v[axis]) &&
    q[3] === k[3] &&
    k[1] === v[1];
  if (fits) return;
  throw new ShapeError(
    `scaledDotProductAttention: query ${formatShape(q)}, key ${formatShape(k)} and value ${formatShape(v)} do not fit. ` +
      "They are [batch, positions, heads, features] with the same batch and heads; query and key share features, key and " +
      "value share positions.",
  );
}

/** What attends to what; a tensor alone attends to itself. */
export interface AttentionInput {
  /** `[batch, queries, in]` */
  readonly query: Tensor;
  /** `[batch, keys, in]`. Default: the query. */
  readonly key?: Tensor;
  /** `[batch, keys, in]`. Default: the key. */
  readonly value?: Tensor;
  /** bool, true where a query may look at a key; broadcasts to `[batch, heads, queries, keys]`. Default: everywhere. */
  readonly mask?: Tensor;
}

export interface AttentionOptions {
  /** Number of heads. */
  readonly heads: number;
  /** Features of all heads together, and of the output. A multiple of `heads`. */
  readonly features: number;
  /** Whether query i sees keys 0 … i only. Default false. */
  readonly causal?: boolean;
  /** Rate at which attention weights are dropped in training, which stores them. Default 0. */
  readonly dropout?: number;
  /** How the heads are computed; see the tensor engine's `scaledDotProductAttention`. Default `"auto"`. */
  readonly form?: AttentionForm;
  /** Default: Glorot uniform. */
  readonly kernelInit?: Initializer;
  /** Default: zeros. */
  readonly biasInit?: Initializer;
}

export type AttentionParams = {
  readonly query: WithBias;
  readonly key: WithBias;
  readonly value: WithBias;
  readonly output: WithBias;
};

/**
 * Multi-head attention: `[batch, queries, in]` to `[batch, queries, features]`.
 *
 * Parameters: dense layers `query`, `key`, `value` (to `[…, features]`, cut into heads) and `output`.
 *
 * @example const block = multiHeadAttention({ heads: 4, features: 64, causal: true }); block.apply(params, { query, key, mask })
 * @see Vaswani et al., Attention is all you need (2017), section 3.2.2
 */
export function multiHeadAttention({
  heads,
  features,
  causal = false,
  dropout = 0,
  form = "auto",
  kernelInit = glorotUniform,
  biasInit = zeros,
}: AttentionOptions): Layer<AttentionParams, Nothing, Tensor | AttentionInput> {
  if (!Number.isInteger(heads) || heads < 1 || features % heads !== 0) {
    throw new ArgumentError(`multiHeadAttention: ${features} features are not a multiple of ${heads} heads.`);
  }
  const project = () => dense({ features, kernelInit, biasInit });
  const layers = {
    query: project(),
    key: project(),
    value: project(),
    output: project(),
    dropout: dropoutLayer({ rate: dropout }),
  };
  return compose("multiHeadAttention", layers, (calls, x: Tensor | AttentionInput, context) => {
    const layer = describe("multiHeadAttention", context.path);
    const { query, key, value, mask }: AttentionInput = x instanceof Tensor ? { query: x } : x;
    const keys = key ?? query;
    const split = (from: Tensor) => from.reshape([...from.shape.slice(0, -1), heads, features / heads]);
    for (const [name, given] of Object.entries({ query, key: keys, value: value ?? keys })) {
      if (given.rank === 3) continue;
      throw new ShapeError(`${layer}: ${name} is ${formatShape(given.shape)}. Give [batch, positions, features].`);
    }
    const drops = context.train && dropout > 0;
    // Elsewhere it is the identity; but every layer has to be called, and weights are not there to be passed through it.
    if (!drops) calls.dropout(query);
    const attended = scaledDotProductAttention(
      split(calls.query(query)),
      split(calls.key(keys)),
      split(calls.value(value ?? keys)),
      { mask, causal, form, onWeights: drops ? calls.dropout : undefined },
    );
    return calls.output(attended.reshape([...attended.shape.slice(0, 2), features]));
  });
}
