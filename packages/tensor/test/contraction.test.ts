import { afterEach, describe, expect, it } from "vitest";
import { compileTarget } from "../src/compiler/target";
import { compile, conv, type Tensor, tensor } from "../src/index";
import {
  type ContractionProblem,
  type ContractionVariant,
  contractionVariants,
} from "../src/kernels/contraction/variants";
import { evaluateReference, expectClose, retarget, seededDraw, tolerance } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();
afterEach(() => retarget(device(), undefined));

const open = { contracted: true, free: true };
const problem: ContractionProblem = {
  batch: 1,
  rows: 256,
  columns: 256,
  depth: 256,
  dtype: "f32",
  a: open,
  b: open,
  gathers: false,
  epilogue: false,
  isSymmetric: false,
};
/** Problems whose variants together are all kinds, tiles, depths and bands. */
const classes: readonly ContractionProblem[] = [
  problem,
  { ...problem, rows: 1 },
  { ...problem, rows: 512, columns: 4096, batch: 2 },
];
/** What GPUs with the default limits run, and the tiles of CPUs. */
const variants: readonly ContractionVariant[] = (() => {
  const limits = { isSoftware: false, invocations: 16_384, maxInvocationsPerWorkgroup: 256, maxWorkgroupBytes: 32_768 };
  const of = (own: ContractionProblem | undefined, isSoftware: boolean) =>
    contractionVariants(own as ContractionProblem, { ...limits, isSoftware, likesTallTiles: true } as never);
  const [square, vector, large] = classes;
  const all = [
    ...of(square, false),
    ...of(vector, false).filter(({ kind }) => kind === "skinny"),
    ...of(large, false).slice(0, 1),
    ...of(square, true),
  ];
  return [...new Map(all.map((variant) => [JSON.stringify(variant), variant])).values()];
})();
function nameOf(variant: ContractionVariant): string {
  return Object.entries(variant)
    .map(([key, value]) => (key === "kind" ? value : `${key} ${value}`))
    .join(" ");
}

const force = (variant: ContractionVariant | undefined) =>
  retarget(device(), variant === undefined ? {} : { chooseContraction: () => variant });

const draw = seededDraw(5);
const random = (shape: readonly number[], low = -1, high = 1): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.fround(draw.uniform(low, high))),
    { shape },
  );

/** The same computation by a variant and in float64. */
async function check(
  variant: ContractionVariant,
  label: string,
  fn: (...inputs: readonly Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  terms: number,
  scale = 1,
): Promise<Float32Array> {
  force(variant);
  const program = compile(fn);
  const actual = (await program(...inputs).data()) as Float32Array;
  // Once more: sums have a fixed order.
  expect(await program(...inputs).data(), `${label}, again`).toEqual(actual);
  program.dispose();
  force(undefined);
  const [expected] = evaluateReference([fn(...inputs)]);
  expectClose(actual, expected?.values as Float64Array, tolerance({ terms: terms + 4, scale: terms * scale }), label);
  return actual;
}

const product = (a?: Tensor, b?: Tensor): Tensor => (a as Tensor).dot(b as Tensor);

describe("variants", () => {
  it("are plain data, the first one chosen, at most twelve", () => {
    const target = { ...compileTarget(device()), isSoftware: false };
    for (const own of classes) {
      const list = contractionVariants(own, target);
      expect(list.length).toBeLessThanOrEqual(12);
      expect(new Set(list.map((variant) => JSON.stringify(variant))).size).toBe(list.length);
      expect(JSON.parse(JSON.stringify(list))).toEqual(list);
    }
    expect(new Set(variants.map(({ kind }) => kind))).toEqual(new Set(["registers", "workgroup", "skinny"]));
  });
});

/** Rows of an operand whose products with itself have ragged and whole tiles, several of them, on both sides of the diagonal. */
const gram =
  (count: (rows: number, columns: number) => number, k: number, isTransposed: boolean): Case =>
  async (variant, rows, columns) => {
    const n = Math.max(17, count(rows, columns));
    const x = random(isTransposed ? [k, n] : [n, k]);
    const fn = (own?: Tensor) => (isTransposed ? product(own?.T, own) : product(own, own?.T));
    const rest = isTransposed ? 0 : 1;
    const square = (own?: Tensor) => (own as Tensor).dot(own as Tensor, { contract: [[rest], [rest]] });
    const values = await check(variant, `${n}x${n}x${k} with itself`, square, [x], k);
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(values[i * n + j]).toBe(values[j * n + i]);
    // What follows need not be symmetric.
    const weights = random([n, n], 0.5, 1);
    const skewed = (own?: Tensor, w?: Tensor) =>
      square(own)
        .mul(w as Tensor)
        .add(fn(own).iotaLike(1).cast("f32"));
    await check(variant, `${n}x${n}x${k} with itself, skewed`, skewed, [x, weights], k + n);
  };

type Case = (variant: ContractionVariant, rows: number, columns: number) => Promise<unknown>;

const layout =
  (m: number, n: number, k: number): Case =>
  (variant, rows, columns) => {
    const shape = [rows + m, Math.max(1, columns + n)] as const;
    const transposed = k % 2 === 1;
    const a = random(transposed ? [k, shape[0]] : [shape[0], k]);
    const b = random(transposed ? [shape[1], k] : [k, shape[1]]);
    const fn = transposed ? (x?: Tensor, y?: Tensor) => product(x?.T, y?.T) : product;
    return check(variant, `${shape.join("x")}x${k}${transposed ? " transposed" : ""}`, fn, [a, b], k);
  };

/** Around the size of one tile, in every layout; batches, views, gathers and epilogues. */
const cases: Readonly<Record<string, Case>> = {
  "one result less and more than a tile": layout(-1, 1, 6),
  "a tile": layout(0, 0, 40),
  "a tile of transposed operands": layout(1, -1, 37),
  "one term": layout(3, 2, 1),
  "several tiles": (variant, rows, columns) => layout(2 * rows, 4, 12)(variant, rows, columns),
  "a batch of permuted views with an epilogue": (variant) => {
    const params = {
      batch: [
        [0, 2],
        [0, 1],
      ],
      contract: [[3], [3]],
    } as const;
    const attend = (q?: Tensor, k?: Tensor) =>
      (q as Tensor)
        .dot(k as Tensor, params)
        .mul(0.5)
        .add(1)
        .relu();
    return check(variant, "batched", attend, [random([3, 20, 2, 8]), random([3, 2, 12, 8])], 8);
  },
  "a convolution": (variant) =>
    check(
      variant,
      "convolution",
      (x, kernel) => conv(x as Tensor, kernel as Tensor, { padding: "same" }),
      [random([2, 6, 5, 4]), random([3, 3, 4, 8])],
      36,
    ),
  "a convolution with one channel and a stride": (variant) =>
    check(
      variant,
      "strided convolution",
      (x, kernel) => conv(x as Tensor, kernel as Tensor, { stride: 2 }),
      [random([2, 9, 8, 1]), random([3, 2, 1, 5])],
      6,
    ),
  "an operand that is computed": (variant) =>
    check(
      variant,
      "computed operand",
      (a, b, scale) => product(a?.relu().mul(scale as Tensor), b),
      [random([33, 20]), random([20, 16]), random([20])],
      20,
    ),
  "a state that is updated in place": async (variant) => {
    const update = (w: Tensor, x: Tensor, g: Tensor) => w.mul(0.9).sub(product(x.T, g).mul(0.1));
    const [x, g, before] = [random([19, 37]), random([19, 22]), random([37, 22])];
    const [expected] = evaluateReference([update(before, x, g)]);
    const values = await before.data();
    force(variant);
    const step = compile(update, { donate: [0] });
    const actual = await step(tensor(values, { shape: [37, 22] }), x, g).data();
    expect(step.statistics().dispatches).toBe(1);
    expectClose(actual, expected?.values as Float64Array, tolerance({ terms: 24, scale: 20 }));
  },
  "a product with itself, whole tiles": gram(
    (rows, columns) => 4 * Math.ceil(Math.max(rows, columns, 32) / 4),
    24,
    true,
  ),
  "a product with itself, several ragged tiles": gram((rows, columns) => Math.max(rows, columns) + 13, 19, false),
  "a product with itself, quads that do not fill tiles": gram((rows) => 4 * Math.ceil(rows / 4) + 20, 21, true),
  "a batch of products with itself": (variant) => {
    const grams = (own?: Tensor) =>
      (own as Tensor).dot(own as Tensor, { batch: [[1], [1]], contract: [[0], [0]] }).mul(0.5);
    return check(variant, "batched, with itself", grams, [random([7, 3, 4, 9])], 7);
  },
  "a running mean of products with itself": async (variant) => {
    const update = (mean: Tensor, x: Tensor) => mean.mul(0.9).add(x.dot(x, { contract: [[0], [0]] }).mul(0.1));
    // The text of large tiles with ragged ends takes software adapters a minute to compile.
    for (const n of variant.kind === "registers" ? [36, 37] : [36]) {
      const [x, before] = [random([11, n]), random([n, n])];
      const [expected] = evaluateReference([update(before, x)]);
      const values = await before.data();
      force(variant);
      const step = compile(update, { donate: [0] });
      const actual = await step(tensor(values, { shape: [n, n] }), x).data();
      expect(step.statistics().dispatches).toBe(1);
      force(undefined);
      expectClose(actual, expected?.values as Float64Array, tolerance({ terms: 16, scale: 12 }));
    }
  },
  "halves of large magnitude": async (variant) => {
    if (!device().features.has("shader-f16")) return;
    const [a, b] = [random([21, 24], 300, 1000).cast("f16"), random([24, 12], -1, 1).cast("f16")];
    const half = await Promise.all([a, b].map(async (x) => x.cast("f32").data()));
    const [wideA, wideB] = [tensor(half[0] as never, { shape: a.shape }), tensor(half[1] as never, { shape: b.shape })];
    force(variant);
    const actual = await compile((x: Tensor, y: Tensor) =>
      product(x, y)
        .mul(1 / 64)
        .cast("f32"),
    )(a, b).data();
    const [expected] = evaluateReference([product(wideA, wideB).mul(1 / 64)]);
    // The product itself is a half before it is scaled.
    expectClose(actual, expected?.values as Float64Array, { relative: 2 ** -10, absolute: 24 * 2 ** -6 });
  },
};

/** Compilers of software adapters take a second per kernel with barriers, so every variant meets two cases. */
const meetings = variants.flatMap((variant, index) =>
  Object.entries(cases)
    .filter((_, position) => (position + index * 2) % Object.keys(cases).length < 2)
    .map(([name, own]) => [nameOf(variant), name, variant, own] as const),
);

describe("contractions", () => {
  it.each(meetings)(
    "%s: %s",
    async (_variant, _case, variant, run) => {
      const [rows, columns] =
        variant.kind === "workgroup"
          ? [variant.groupRows * variant.rows, variant.groupColumns * variant.columns]
          : variant.kind === "skinny"
            ? [variant.units * 4, 5]
            : [variant.rows * 4, 16];
      await run(variant, rows, columns);
    },
    120_000,
  );
});
