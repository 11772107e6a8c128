import { describe, expect, it } from "vitest";
import {
  type AttentionForm,
  evaluate,
  type ScaledDotProductAttentionOptions,
  scaledDotProductAttention,
  type Tensor,
  tensor,
} from "../src/index";
import { type Argument, attentionGradient } from "../src/primitives/attention";
import { evaluateReference, expectClose, type NdArray, ndarray, seededDraw } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();

/** The kernels have long texts, and drivers that compile with LLVM take their time. */
const slow = 240_000;
const unit = 2 ** -24;

interface Case {
  /** Axes in front of queries and keys; those of k and v may differ. */
  readonly leading?: readonly number[];
  readonly keyLeading?: readonly number[];
  readonly queries: number;
  readonly keys: number;
  readonly features: number;
  readonly valueFeatures?: number;
  readonly causal?: boolean;
  readonly mask?: "bool" | "added";
  /** Magnitude of q; scores grow with it. */
  readonly magnitude?: number;
  readonly dtype?: "f32" | "f16";
}

const leaf = (array: NdArray, dtype: "f32" | "f16" | "bool" = "f32"): Tensor =>
  dtype === "bool"
    ? tensor(
        Array.from(array.values, (x) => x !== 0),
        { shape: array.shape },
      )
    : dtype === "f32"
      ? tensor(Float32Array.from(array.values), { shape: array.shape })
      : tensor(Float32Array.from(array.values), { shape: array.shape, dtype });

function build(own: Case, form: AttentionForm) {
  const { leading = [2], keyLeading = leading, queries, keys, features, valueFeatures = features, dtype = "f32" } = own;
  const draw = seededDraw(queries * 1000 + keys * 10 + features);
  const random = (shape: readonly number[], magnitude = 1) =>
    leaf(
      ndarray(shape, "f32", () => magnitude * draw.uniform(-1, 1)),
      dtype,
    );
  const q = random([...leading, queries, features], own.magnitude);
  const k = random([...keyLeading, keys, features]);
  const v = random([...keyLeading, keys, valueFeatures]);
  const c = random([...leading, queries, valueFeatures]);
  // Every third query sees nothing where there is a mask.
  const hidden = ndarray([queries, keys], "f32", ([i]) =>
    (i as number) % 3 === 2 || draw.integer(0, 2) === 0 ? 0 : 1,
  );
  const added = ndarray([queries, keys], "f32", ([i, j]) =>
    hidden.values[(i as number) * keys + (j as number)] === 0 ? Number.NEGATIVE_INFINITY : draw.uniform(-2, 2),
  );
  const mask = own.mask === "bool" ? leaf(hidden, "bool") : own.mask === "added" ? leaf(added) : undefined;
  const options: ScaledDotProductAttentionOptions = { causal: own.causal ?? false, mask, form };
  const output = scaledDotProductAttention(q, k, v, options);
  // What the rule of the node gives, before the gradients of broadcasts are summed.
  const gradient = (of: Argument) =>
    output.bind(attentionGradient, [...output.inputs, c], {
      ...(output.params as { scale: number; causal: boolean; form: AttentionForm }),
      of,
    });
  return { outputs: [output, gradient("q"), gradient("k"), gradient("v")], q, k, v, c };
}

const largest = ({ values }: NdArray): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/**
 * Bounds from rounding: scores of n terms have errors of (n + 2) u · Σ|q k|, which the exponential turns into relative
 * errors of the weights; what is summed with them is bounded by the largest result and its cotangent.
 */
async function check(own: Case, form: AttentionForm = "fused"): Promise<void> {
  const { outputs, q, v, c } = build(own, form);
  const expected = evaluateReference(outputs);
  const [values, cotangents] = evaluateReference([v, c]) as [NdArray, NdArray];
  await evaluate(outputs);
  const { features, valueFeatures = features, keys, queries, magnitude = 1 } = own;
  const scores = magnitude * Math.sqrt(features);
  const inWeights = (features + 8) * unit * (1 + scores) * 4;
  const halves = own.dtype === "f16" ? 2 ** -11 : 0;
  const scales = [
    largest(values),
    largest(cotangents) * valueFeatures * Math.max(1, largest(values)),
    largest(cotangents) * valueFeatures * scores * Math.sqrt(queries),
    largest(cotangents) * queries,
  ];
  for (const [index, output] of outputs.entries()) {
    const reference = expected[index] as NdArray;
    const bound = {
      relative: halves + 8 * unit,
      absolute: (scales[index] as number) * (inWeights + (keys + queries) * unit),
    };
    expectClose(
      { values: await output.data(), shape: output.shape },
      reference,
      bound,
      `${form} ${JSON.stringify(own)}, result ${index}`,
    );
  }
  expect(q.size).toBeGreaterThan(0);
}

/** Few, and each of them several things at once: on a software adapter compiling the kernels takes most of the time. */
const cases: readonly (readonly [string, Case])[] = [
  ["one query and one key less than a tile", { queries: 31, keys: 31, features: 8 }],
  ["whole tiles, causal", { queries: 64, keys: 32, features: 32, causal: true }],
  [
    "one more than a tile, causal, values of other width",
    { queries: 33, keys: 65, features: 8, valueFeatures: 5, causal: true },
  ],
  ["a single feature", { queries: 5, keys: 37, features: 1, valueFeatures: 3 }],
  ["wide features", { leading: [1], queries: 33, keys: 34, features: 128, valueFeatures: 64 }],
  ["features in two chunks", { leading: [1], queries: 5, keys: 40, features: 64, valueFeatures: 3 }],
  ["a mask that hides whole rows", { leading: [2, 2], queries: 35, keys: 34, features: 4, mask: "bool" }],
  [
    "an added mask with infinities, causal",
    { leading: [2, 2], queries: 35, keys: 34, features: 4, mask: "added", causal: true },
  ],
  ["heads that share keys and values", { leading: [2, 3], keyLeading: [2, 1], queries: 9, keys: 7, features: 4 }],
  ["scores of ten thousand, without overflow", { queries: 20, keys: 33, features: 4, magnitude: 1e4 }],
];

describe("fused attention and its gradients are those of the float64 reference", () => {
  it.each(cases)("%s", (_name, own) => check(own), slow);

  it(
    "stored as halves, summed in f32",
    async ({ skip }) => {
      if (!device().features.has("shader-f16")) skip("the adapter has no f16");
      await check({ queries: 20, keys: 33, features: 8, dtype: "f16" });
    },
    slow,
  );
});

it(
  "repeats bit for bit, in long sequences too, with gradients",
  async () => {
    const run = async () => {
      const { outputs } = build({ leading: [1], queries: 200, keys: 330, features: 16, causal: true }, "fused");
      await evaluate(outputs);
      return Promise.all(outputs.map((output) => output.data()));
    };
    expect(await run()).toEqual(await run());
    await check({ leading: [1], queries: 200, keys: 330, features: 16, causal: true });
  },
  slow,
);
