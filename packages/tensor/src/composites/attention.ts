import { ArgumentError, formatShape, ShapeError } from "../errors";
import type { AttentionForm } from "../primitives/attention";
import { attention } from "../primitives/attention";
import { broadcastShapes } from "../shape";
import type { Tensor } from "../tensor";

export interface ScaledDotProductAttentionOptions {
  /** Factor of the scores. Default 1 / sqrt(features). */
  readonly scale?: number;
  /** Whether query i sees keys 0 … i only. Default false. */
  readonly causal?: boolean;
  /**
   * Broadcasts to `[…, queries, keys]`. bool: true where a query sees a key; f32: added to the scores, and a value of at
   * most -1e38, such as -Infinity, hides a key as false does. Default: everything is visible.
   */
  readonly mask?: Tensor | undefined;
  /**
   * How it is computed: `"fused"` by kernels that never store the scores, `"composed"` as matrix products with a softmax
   * between them. Default `"auto"`: fused on GPUs where there are at least 16 queries and keys and features fit into
   * workgroup memory, composed elsewhere and on CPU adapters.
   */
  readonly form?: AttentionForm;
}

/**
 * softmax(q kᵀ · scale) v for every matrix in the last two axes; the axes in front, such as batch and heads, broadcast.
 * Heads that share keys and values (grouped queries) are an axis of extent 1 in `k` and `v`.
 *
 * A query that sees no key gets zeros and passes no gradient. Sums are f32, also for f16 operands.
 *
 * Fused, memory is linear in the number of positions, forward and backward: the backward pass computes the scores again
 * from two saved numbers per row. The gradient of an added mask, second derivatives and forward mode store the scores.
 *
 * @param q - `[…, queries, features]`
 * @param k - `[…, keys, features]`
 * @param v - `[…, keys, valueFeatures]`
 * @returns `[…, queries, valueFeatures]`
 * @throws ShapeError if the operands do not fit; DTypeError if they are not floats of one dtype; UnsupportedError when the
 * program is compiled, if the form is `"fused"` and the features do not fit into workgroup memory.
 * @example const y = scaledDotProductAttention(q, k, v, { causal: true }); // [batch, heads, positions, features]
 * @see Vaswani et al., Attention is all you need (2017), eq. 1; Dao, FlashAttention-2 (2023)
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { scale, causal = false, mask, form = "auto" }: ScaledDotProductAttentionOptions = {},
): Tensor {
  const operands = Object.entries({ q, k, v, ...(mask && { mask }) });
  for (const [name, { rank, shape }] of operands) {
    if (rank >= 2 || name === "mask") continue;
    throw new ShapeError(
      `scaledDotProductAttention: ${name} is ${formatShape(shape)}. Give at least two axes, [positions, features].`,
    );
  }
  const features = q.shape.at(-1) as number;
  const factor = scale ?? 1 / Math.sqrt(Math.max(1, features));
  if (!Number.isFinite(factor)) {
    throw new ArgumentError(`scaledDotProductAttention: the scale is ${factor}. Give a finite number.`);
  }
  const leading = broadcastShapes(
    "scaledDotProductAttention",
    operands.map(([, { shape }]) => shape.slice(0, -2)),
  );
  const last = { mask: [q.shape.at(-2) as number, k.shape.at(-2) as number] };
  const [own, keys, values, ...rest] = operands.map(([name, operand]) =>
    operand.expand([...leading, ...(name === "mask" ? last.mask : operand.shape.slice(-2))]),
  ) as [Tensor, Tensor, Tensor, ...Tensor[]];
  return own.bind(attention, [own, keys, values, ...rest], { scale: factor, causal, form });
}
