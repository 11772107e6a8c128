/**
 * Attention: softmax(q kᵀ · scale) v, and its gradient.
 *
 * Both are pure functions of their inputs and composites: the compiler chooses between kernels that never store the
 * scores (kernels/attention.wgsl.ts) and the composition of matrix products and a softmax. The rules differentiate the
 * composition, so that derivatives of every order, forward mode and batching follow; only the first derivative in reverse
 * mode has kernels of its own.
 */
import { isFloat, sameDType } from "../dtype";
import { DTypeError, formatShape, ShapeError } from "../errors";
import { type NdArray, ndarray } from "../reference/array";
import { sameShape, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { fusedAttention, fusedGradient, isFused } from "./attention-kernels";
import { type Aval, type Draw, definePrimitive, type Sample, type SampleInput } from "./definition";
import { withBatchAxis } from "./families";

/** How attention is computed: by kernels that store no scores, as a composition, or as the compiler chooses. */
export type AttentionForm = "auto" | "fused" | "composed";

export interface AttentionParams {
  /** Factor of the scores. */
  readonly scale: number;
  /** Does query i see keys 0 … i only? */
  readonly causal: boolean;
  readonly form: AttentionForm;
}

/** The inputs by name; all have the same leading axes. */
export interface AttentionOperands<T> {
  /** `[…, queries, features]` */
  readonly q: T;
  /** `[…, keys, features]` */
  readonly k: T;
  /** `[…, keys, valueFeatures]` */
  readonly v: T;
  /** `[…, queries, keys]`: bool, true where a query sees a key; or f32, added to the scores. */
  readonly mask?: T | undefined;
}

/** Scores at or below this are hidden, as where a bool mask is false: a mask may hold −Infinity. */
export const hiddenScore = -1e38;

const operandsOf = <T>([q, k, v, mask]: readonly T[]): AttentionOperands<T> => ({
  q: q as T,
  k: k as T,
  v: v as T,
  mask,
});

function checkOperands(name: string, { q, k, v, mask }: AttentionOperands<Aval>): void {
  const dtype = sameDType(name, [q.dtype, k.dtype, v.dtype]);
  if (!isFloat(dtype)) throw new DTypeError(`${name}: takes floats, got ${dtype}. Cast first: x.cast("f32").`);
  if (mask !== undefined && mask.dtype !== "bool" && mask.dtype !== "f32") {
    throw new DTypeError(`${name}: the mask is ${mask.dtype}. Give bool (true: visible) or f32 (added to the scores).`);
  }
  const leading = q.shape.slice(0, -2);
  const [queries, features] = q.shape.slice(-2);
  const [keys, valueFeatures] = v.shape.slice(-2);
  const fits =
    q.shape.length >= 2 &&
    sameShape(k.shape, [...leading, keys as number, features as number]) &&
    sameShape(v.shape, [...leading, keys as number, valueFeatures as number]) &&
    (mask === undefined || sameShape(mask.shape, [...leading, queries as number, keys as number]));
  if (fits) return;
  throw new ShapeError(
    `${name}: q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)}` +
      `${mask === undefined ? "" : ` and mask ${formatShape(mask.shape)}`} do not fit. They are [..., queries, d], ` +
      "[..., keys, d], [..., keys, dv] and [..., queries, keys].",
  );
}

/** `q: […, n, d]`, `k: […, m, d]`, `v: […, m, e]` and perhaps a mask `[…, n, m]` to `[…, n, e]`. */
export const attention = definePrimitive<AttentionParams>({
  name: "attention",
  shape(inputs) {
    const operands = operandsOf(inputs);
    checkOperands("attention", operands);
    const { q, v } = operands;
    return { shape: [...q.shape.slice(0, -1), v.shape.at(-1) as number], dtype: q.dtype };
  },
  lowering: {
    kind: "composite",
    expand(inputs, params, target) {
      const operands = operandsOf(inputs);
      if (isFused(operands, params, target)) return fusedAttention(operands, params);
      const { q } = operands;
      return differential(operands, params).output.cast(q.dtype);
    },
  },
  reference: (inputs, params, output) => ({ ...loops(operandsOf(inputs), params).output, dtype: output.dtype }),
  vjp: (cotangent, { inputs, params }) =>
    inputs.map((input, index) =>
      isFloat(input.dtype)
        ? cotangent.bind(attentionGradient, [...inputs, cotangent], { ...params, of: argumentNames[index] as Argument })
        : null,
    ),
  jvp: (tangents, { inputs, params, output }) =>
    differential(operandsOf(inputs), params, operandsOf(tangents)).outputTangent()?.cast(output.dtype) ?? null,
  batch: (inputs, { batched, params, size, bind }) =>
    bind(
      inputs.map((input, index) => withBatchAxis(input, batched[index] as boolean, size)),
      params,
    ),
  sample: (draw) => sampleOf(draw, false),
});

const argumentNames = ["q", "k", "v", "mask"] as const;

/** An argument of attention by which one can differentiate. */
export type Argument = (typeof argumentNames)[number];

export interface GradientParams extends AttentionParams {
  /** By which argument. */
  readonly of: Argument;
}

/** The inputs of attention and a cotangent `[…, n, e]` of its result to the cotangent of one of the inputs. */
export const attentionGradient = definePrimitive<GradientParams>({
  name: "attentionGradient",
  shape(inputs, { of }) {
    const operands = operandsOf(inputs.slice(0, -1));
    checkOperands("attentionGradient", operands);
    const cotangent = inputs.at(-1) as Aval;
    const { q, v } = operands;
    const expected = [...q.shape.slice(0, -1), v.shape.at(-1) as number];
    if (!sameShape(cotangent.shape, expected)) {
      throw new ShapeError(
        `attentionGradient: the cotangent is ${formatShape(cotangent.shape)}, the result ${formatShape(expected)}.`,
      );
    }
    sameDType("attentionGradient", [q.dtype, cotangent.dtype]);
    return operands[of] as Aval;
  },
  lowering: {
    kind: "composite",
    expand(inputs, params, target) {
      const operands = operandsOf(inputs.slice(0, -1));
      const cotangent = inputs.at(-1) as Tensor;
      // The gradient of an added mask is as large as the scores: nothing is gained by not storing them.
      if (params.of !== "mask" && isFused(operands, params, target)) {
        return fusedGradient(operands, cotangent, params, params.of);
      }
      const { gradient } = differential(operands, params, {}, { value: cotangent });
      return gradient(params.of).cast((operands[params.of] as Tensor).dtype);
    },
  },
  reference(inputs, params, output) {
    const { gradient } = loops(operandsOf(inputs.slice(0, -1)), params, inputs.at(-1));
    return { ...(gradient(params.of) as NdArray), dtype: output.dtype };
  },
  // With h = ⟨cotangent of the result, attention⟩ this is ∂h/∂x, and ⟨u, ∂h/∂x⟩ is the derivative of h along u in x.
  // Derivatives of h commute: the cotangent of every input is the tangent of ∂h/∂input along u in x.
  vjp(u, { inputs, params }) {
    const operands = operandsOf(inputs.slice(0, -1));
    const along = { [params.of]: u };
    const { gradientTangent, outputTangent } = differential(operands, params, along, {
      value: inputs.at(-1) as Tensor,
    });
    return inputs.map((input, index) => {
      if (!isFloat(input.dtype)) return null;
      const tangent = index === inputs.length - 1 ? outputTangent() : gradientTangent(argumentNames[index] as Argument);
      return tangent?.cast(input.dtype) ?? null;
    });
  },
  jvp(tangents, { inputs, params, output }) {
    const moving = operandsOf(tangents.slice(0, -1));
    const cotangent = { value: inputs.at(-1) as Tensor, tangent: tangents.at(-1) };
    const { gradientTangent } = differential(operandsOf(inputs.slice(0, -1)), params, moving, cotangent);
    return gradientTangent(params.of)?.cast(output.dtype) ?? null;
  },
  batch: (inputs, { batched, params, size, bind }) =>
    bind(
      inputs.map((input, index) => withBatchAxis(input, batched[index] as boolean, size)),
      params,
    ),
  sample(draw) {
    const { inputs, params } = sampleOf(draw, true);
    const isAdded = inputs.length === 5 && inputs[3]?.dtype === "f32";
    return { inputs, params: { ...params, of: draw.pick(isAdded ? argumentNames : (["q", "k", "v"] as const)) } };
  },
});

type Tangents = { readonly [name in Argument]?: Tensor | null | undefined };

interface Differential {
  readonly output: Tensor;
  /** The derivative of the output along the tangents; null if it is zero. */
  outputTangent(): Tensor | null;
  /** The cotangent of an argument. */
  gradient(of: Argument): Tensor;
  /** The derivative of that along the tangents of the arguments and of the output's cotangent. */
  gradientTangent(of: Argument): Tensor | null;
}

/** a · b over one axis each, for every matrix. */
function product(a: Tensor, b: Tensor, axisOfA: -1 | -2, axisOfB: -1 | -2): Tensor {
  const leading = a.shape.slice(0, -2).map((_, axis) => axis);
  return a.dot(b, { batch: [leading, leading], contract: [[axisOfA], [axisOfB]] });
}

const plus = (terms: readonly (Tensor | null | undefined | false)[]): Tensor | null =>
  terms.reduce<Tensor | null>((sum, term) => (term ? (sum?.add(term) ?? term) : sum), null);

const rowSum = (x: Tensor): Tensor => x.sum({ axis: -1, keepDims: true });

/**
 * Attention as a composition in f32, with its derivatives along tangents. With scores s, weights p = softmax(s), result
 * o = p v, and c a cotangent of o:
 *
 *   ∂p = dp = c vᵀ,  ∂s = ds = p ∘ (dp − Σ p ∘ dp),  ∂q = ds k · scale,  ∂k = dsᵀ q · scale,  ∂v = pᵀ c.
 *
 * Every tangent (t…) is the product rule applied to its line.
 */
function differential(
  operands: AttentionOperands<Tensor>,
  { scale, causal }: AttentionParams,
  tangents: Tangents = {},
  cotangent: { readonly value?: Tensor; readonly tangent?: Tensor | null | undefined } = {},
): Differential {
  const wide = (x: Tensor | null | undefined) => x?.cast("f32");
  const [q, k, v] = [operands.q, operands.k, operands.v].map((x) => wide(x) as Tensor) as [Tensor, Tensor, Tensor];
  const [tq, tk, tv, tMask] = [tangents.q, tangents.k, tangents.v, tangents.mask].map(wide);
  const c = wide(cotangent.value) as Tensor;
  const tc = wide(cotangent.tangent);
  const weights = softmaxOfScores(product(q.mul(scale), k, -1, -1), operands.mask, causal);

  /** Weights times what is summed to zero over every row: how the softmax passes derivatives on, both ways. */
  const centred = (x: Tensor) => weights.mul(x.sub(rowSum(weights.mul(x))));
  const scoresTangent = () =>
    plus([tq && product(tq, k, -1, -1).mul(scale), tk && product(q, tk, -1, -1).mul(scale), tMask]);
  const weightsTangent = () => {
    const ts = scoresTangent();
    return ts && centred(ts);
  };
  const weightsCotangent = () => product(c, v, -1, -1);
  const scoresCotangent = () => centred(weightsCotangent());
  const scoresCotangentTangent = () => {
    const [tp, dp] = [weightsTangent(), weightsCotangent()];
    const tdp = plus([tc && product(tc, v, -1, -1), tv && product(c, tv, -1, -1)]);
    const moved = tp?.mul(dp.sub(rowSum(weights.mul(dp)))).sub(weights.mul(rowSum(tp.mul(dp))));
    return plus([moved, tdp && centred(tdp)]);
  };
  return {
    output: product(weights, v, -1, -2),
    outputTangent() {
      const tp = weightsTangent();
      return plus([tp && product(tp, v, -1, -2), tv && product(weights, tv, -1, -2)]);
    },
    gradient(of) {
      if (of === "v") return product(weights, c, -2, -2);
      const ds = scoresCotangent();
      if (of === "mask") return ds;
      return (of === "q" ? product(ds, k, -1, -2) : product(ds, q, -2, -2)).mul(scale);
    },
    gradientTangent(of) {
      if (of === "v") {
        const tp = weightsTangent();
        return plus([tp && product(tp, c, -2, -2), tc && product(weights, tc, -2, -2)]);
      }
      const tds = scoresCotangentTangent();
      if (of === "mask") return tds;
      if (of === "q") {
        return plus([tds && product(tds, k, -1, -2), tk && product(scoresCotangent(), tk, -1, -2)])?.mul(scale) ?? null;
      }
      return plus([tds && product(tds, q, -2, -2), tq && product(scoresCotangent(), tq, -2, -2)])?.mul(scale) ?? null;
    },
  };
}

/** The attention weights: 0 where a key is hidden, and everywhere in a row where all keys are. */
function softmaxOfScores(scores: Tensor, mask: Tensor | undefined, causal: boolean): Tensor {
  const past = causal ? scores.iotaLike(scores.rank - 2).greaterEqual(scores.iotaLike(scores.rank - 1)) : undefined;
  const shown = mask?.dtype === "bool" ? mask : mask?.greater(hiddenScore);
  const visible = past === undefined ? shown : (shown?.and(past) ?? past);
  const biased = mask?.dtype === "f32" ? scores.add(mask) : scores;
  const seen = visible === undefined ? biased : visible.where(biased, -3.4028234663852886e38);
  const exponential = seen.sub(seen.max({ axis: -1, keepDims: true }).stopGradient()).exp();
  // Only a mask can hide a whole row: causal queries see the first key.
  if (mask === undefined || visible === undefined) return exponential.div(rowSum(exponential));
  const shares = visible.where(exponential, 0);
  const total = rowSum(shares);
  return shares.div(total.equal(0).where(1, total));
}

/** The reference: plain loops over matrices. */
function loops({ q, k, v, mask }: AttentionOperands<NdArray>, { scale, causal }: AttentionParams, c?: NdArray) {
  const leading = q.shape.slice(0, -2);
  const [n, d] = q.shape.slice(-2) as [number, number];
  const [m, e] = v.shape.slice(-2) as [number, number];
  const zeros = (...last: number[]): NdArray => ndarray([...leading, ...last], "f32", () => 0);
  const output = zeros(n, e);
  const gradients = { q: zeros(n, d), k: zeros(m, d), v: zeros(m, e), mask: zeros(n, m) };
  const at = (x: NdArray | undefined, position: number) => x?.values[position] ?? 0;
  const add = (x: NdArray, position: number, value: number) => {
    x.values[position] = at(x, position) + value;
  };
  for (let row = 0; row < sizeOf(leading) * n; row++) {
    const matrix = Math.floor(row / n);
    const scores = Array.from({ length: m }, (_, j) => {
      const given = mask?.dtype === "f32" ? at(mask, row * m + j) : 0;
      const isHidden = (causal && j > row % n) || (mask?.dtype === "bool" && at(mask, row * m + j) === 0);
      if (isHidden || given <= hiddenScore) return Number.NEGATIVE_INFINITY;
      let score = given;
      for (let f = 0; f < d; f++) score += at(q, row * d + f) * scale * at(k, (matrix * m + j) * d + f);
      return score;
    });
    const largest = Math.max(...scores);
    const shares = scores.map((score) => (score === Number.NEGATIVE_INFINITY ? 0 : Math.exp(score - largest)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const weights = shares.map((share) => (total === 0 ? 0 : share / total));
    const dp = weights.map((_, j) => {
      let sum = 0;
      for (let f = 0; f < e; f++) sum += at(c, row * e + f) * at(v, (matrix * m + j) * e + f);
      return sum;
    });
    const mean = dp.reduce((sum, value, j) => sum + value * (weights[j] as number), 0);
    weights.forEach((weight, j) => {
      const key = matrix * m + j;
      const ds = weight * ((dp[j] as number) - mean);
      add(gradients.mask, row * m + j, ds);
      for (let f = 0; f < e; f++) {
        add(output, row * e + f, weight * at(v, key * e + f));
        add(gradients.v, key * e + f, weight * at(c, row * e + f));
      }
      for (let f = 0; f < d; f++) {
        add(gradients.q, row * d + f, ds * scale * at(k, key * d + f));
        add(gradients.k, key * d + f, ds * scale * at(q, row * d + f));
      }
    });
  }
  return { output, gradient: (of: Argument): NdArray => gradients[of] };
}

/** Few of everything, with any kind of mask; rows may be hidden whole. */
function sampleOf(draw: Draw, withCotangent: boolean): Sample<AttentionParams> {
  const leading = draw.pick([[], [2], [2, 1]]);
  const [n, m, d, e] = [draw.integer(1, 5), draw.integer(1, 5), draw.integer(1, 4), draw.integer(1, 4)];
  const floats = (...last: number[]): SampleInput => ({ shape: [...leading, ...last], dtype: "f32" });
  const mask = draw.pick([[], [{ shape: [...leading, n, m], dtype: "bool" as const }], [floats(n, m)]]);
  return {
    inputs: [floats(n, d), floats(m, d), floats(m, e), ...mask, ...(withCotangent ? [floats(n, e)] : [])],
    params: { scale: draw.pick([1, 0.5, 0.7]), causal: draw.integer(0, 1) === 1, form: "auto" },
  };
}
