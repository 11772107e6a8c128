import { describe, expect, it } from "vitest";
import {
  ArgumentError,
  bernoulli,
  foldIn,
  key,
  normal,
  permutation,
  permutedPositions,
  randomBits,
  randomIntegers,
  ShapeError,
  split,
  splitKeys,
  type Tensor,
  tensor,
  truncatedNormal,
  uniform,
} from "../src/index";
import { threefry2x32 } from "../src/reference/threefry";
import { erf, evaluateReference, type NdArray } from "../src/testing";

const valuesOf = (x: Tensor): number[] => [...(evaluateReference([x])[0] as NdArray).values];

/** All tensors of a graph made by a primitive. */
function nodesOf(output: Tensor, primitive: string): Tensor[] {
  const own = output.primitive.name === primitive ? [output] : [];
  return [...own, ...output.inputs.flatMap((input) => nodesOf(input, primitive))];
}

/** Evaluates a draw with these 32-bit words in place of the random ones. */
function withBits(output: Tensor, bits: readonly number[]): number[] {
  const [words] = nodesOf(output, "threefry") as [Tensor];
  const value = { shape: words.shape, dtype: words.dtype, values: Float64Array.from(bits) };
  return [...(evaluateReference([output], new Map([[words, value]]))[0] as NdArray).values];
}

/**
 * The Kolmogorov-Smirnov statistic √n·sup|F_n - F|. By its limit distribution it exceeds 1.95 with probability 1e-3;
 * seeds are fixed, so a test passes always or never.
 */
function kolmogorovSmirnov(values: readonly number[], distribution: (x: number) => number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  const largest = sorted.reduce((worst, x, i) => {
    const f = distribution(x);
    return Math.max(worst, f - i / n, (i + 1) / n - f);
  }, 0);
  return Math.sqrt(n) * largest;
}

const normalDistribution = (x: number): number => (1 + erf(x / Math.SQRT2)) / 2;
const n = 20_000;

describe("Threefry2x32-20", () => {
  it("gives the published known answers", () => {
    // From the test vectors that accompany the paper by Salmon and others.
    expect(threefry2x32([0, 0, 0, 0])).toEqual([0x6b200159, 0x99ba4efe]);
    const ones = 0xffffffff;
    expect(threefry2x32([ones, ones, ones, ones])).toEqual([0x1cb996fc, 0xbb002be7]);
    expect(threefry2x32([0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3])).toEqual([0xc4923a9c, 0x483df7a0]);
  });

  it("is what draws are made of: element i has counter (0, i)", () => {
    const seed = 5 * 2 ** 32 + 7;
    const expected = [0, 1, 2, 3, 4, 5].map((i) => threefry2x32([5, 7, 0, i]));
    expect(valuesOf(randomBits(key(seed), [2, 3]))).toEqual(expected.map(([a, b]) => (a ^ b) >>> 0));
    expect(valuesOf(split(key(seed), 6))).toEqual(expected.flat());
    expect(valuesOf(foldIn(key(seed), 4))).toEqual(expected[4]);
    expect(valuesOf(foldIn(key(seed), tensor(4, { dtype: "i32" })))).toEqual(expected[4]);
    expect(valuesOf(splitKeys(key(seed), 3)[2] as Tensor)).toEqual(expected[2]);
  });
});

describe("keys", () => {
  it("come from seeds up to 2^53 - 1, all different", () => {
    const seeds = [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
    expect(new Set(seeds.map((seed) => valuesOf(key(seed)).join())).size).toBe(seeds.length);
    for (const seed of [-1, 0.5, 2 ** 53, Number.NaN]) expect(() => key(seed)).toThrow(ArgumentError);
    expect(() => uniform(tensor([1, 2]), [2])).toThrow(ShapeError);
  });

  it("that were split give independent draws", () => {
    const [a, b] = splitKeys(key(3)) as [Tensor, Tensor];
    const draws = [key(3), a, b].map((own) => valuesOf(normal(own, [n])));
    for (const [i, j] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ] as const) {
      const products = (draws[i] as number[]).map((x, index) => x * ((draws[j] as number[])[index] as number));
      // A correlation times √n is standard normal: beyond 3.3 with probability 1e-3.
      expect(Math.abs(products.reduce((sum, x) => sum + x, 0)) / Math.sqrt(n)).toBeLessThan(3.3);
    }
  });
});

describe("distributions", () => {
  it("uniform: Kolmogorov-Smirnov at p = 1e-3, and no correlation of neighbours", () => {
    const values = valuesOf(uniform(key(1), [n]));
    expect(kolmogorovSmirnov(values, (x) => x)).toBeLessThan(1.95);
    const serial = values.slice(1).reduce((sum, x, i) => sum + (x - 0.5) * ((values[i] as number) - 0.5) * 12, 0);
    expect(Math.abs(serial) / Math.sqrt(n)).toBeLessThan(3.3);
    const moved = valuesOf(uniform(key(1), [n], { low: -3, high: 5 }));
    expect(kolmogorovSmirnov(moved, (x) => (x + 3) / 8)).toBeLessThan(1.95);
  });

  it("uniform: in [0, 1) and exact in f32 for the extreme bits", () => {
    const [least, most] = withBits(uniform(key(0), [2]), [0, 0xffffffff]);
    expect([least, most]).toEqual([0, 1 - 2 ** -23]);
  });

  it("normal: Kolmogorov-Smirnov at p = 1e-3", () => {
    expect(kolmogorovSmirnov(valuesOf(normal(key(2), [n])), normalDistribution)).toBeLessThan(1.95);
    const moved = valuesOf(normal(key(2), [n], { mean: 3, std: 0.5 }));
    expect(kolmogorovSmirnov(moved, (x) => normalDistribution((x - 3) / 0.5))).toBeLessThan(1.95);
  });

  it("normal: finite and symmetric for the extreme bits, by arithmetic that is exact in f32", () => {
    const draw = normal(key(0), [4]);
    const bits = [0, 0xffffffff, 0x7fffffff, 0x80000000];
    const [least, most, below, above] = withBits(draw, bits) as [number, number, number, number];
    expect(least).toBe(-most);
    expect(most).toBeGreaterThan(5.1);
    expect(most).toBeLessThan(5.4);
    expect(below).toBe(-above);
    expect(below).toBeLessThan(0);
    const [inverse] = nodesOf(draw, "erfInv") as [Tensor];
    const arguments_ = withBits(inverse.inputs[0] as Tensor, bits);
    expect(arguments_.every((x) => Math.abs(x) < 1 && Math.fround(x) === x)).toBe(true);
  });

  it.each([
    [-2, 2],
    [0.5, 3],
    [-1, 10],
  ])("truncatedNormal in [%d, %d]: Kolmogorov-Smirnov at p = 1e-3", (low, high) => {
    const values = valuesOf(truncatedNormal(key(4), [n], { low, high }));
    expect(values.every((x) => x >= low && x <= high)).toBe(true);
    const [a, b] = [normalDistribution(low), normalDistribution(high)];
    expect(kolmogorovSmirnov(values, (x) => (normalDistribution(x) - a) / (b - a))).toBeLessThan(1.95);
  });

  it("truncatedNormal refuses an empty interval", () => {
    expect(() => truncatedNormal(key(4), [1], { low: 1, high: 1 })).toThrow(ArgumentError);
  });

  it("bernoulli: the frequency at p = 1e-3, and exact at 0 and 1", () => {
    for (const p of [0.1, 0.5, 0.9]) {
      const count = valuesOf(bernoulli(key(5), p, [n])).reduce((sum, x) => sum + x, 0);
      expect(Math.abs(count - n * p) / Math.sqrt(n * p * (1 - p)), `p ${p}`).toBeLessThan(3.3);
    }
    const extremes = [0, 0xffffffff];
    expect(withBits(bernoulli(key(5), 0, [2]), extremes)).toEqual([0, 0]);
    expect(withBits(bernoulli(key(5), 1, [2]), extremes)).toEqual([1, 1]);
    expect(withBits(bernoulli(key(5), 0.5, [2]), [2 ** 31 - 1, 2 ** 31])).toEqual([1, 0]);
    for (const p of [-0.1, 1.1, Number.NaN]) expect(() => bernoulli(key(5), p, [2])).toThrow(ArgumentError);
  });

  it("randomIntegers: chi-squared at p = 1e-3", () => {
    const [low, high] = [-3, 7];
    const values = valuesOf(randomIntegers(key(6), [n], { low, high }));
    const counts = Array.from({ length: high - low }, (_, i) => values.filter((x) => x === low + i).length);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(n);
    const expected = n / (high - low);
    const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 27.88 is the quantile at 1 - 1e-3 for nine degrees of freedom.
    expect(statistic).toBeLessThan(27.88);
    expect(() => randomIntegers(key(6), [1], { low: 2, high: 2 })).toThrow(ArgumentError);
  });
});

describe("permutations", () => {
  it.each([1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100, 1000, 1024, 50_000])("of %d elements are bijections", (count) => {
    const values = valuesOf(permutation(key(count), count));
    expect(new Set(values).size).toBe(count);
    expect(values.every((x) => Number.isInteger(x) && x >= 0 && x < count)).toBe(true);
  });

  it("of nothing are empty", () => {
    expect(valuesOf(permutation(key(1), 0))).toEqual([]);
  });

  it("can be asked for a few positions", () => {
    const all = valuesOf(permutation(key(9), 1000));
    const some = tensor(Uint32Array.of(3, 999, 0, 3));
    expect(valuesOf(permutedPositions(key(9), some, 1000))).toEqual([3, 999, 0, 3].map((i) => all[i]));
  });

  it("put every element everywhere equally often: chi-squared at p = 1e-3", () => {
    const [count, draws] = [5, 4000];
    const [keys] = evaluateReference([split(key(10), draws)]) as [NdArray];
    const table = Array.from({ length: count * count }, () => 0);
    for (let draw = 0; draw < draws; draw++) {
      const own = tensor(Uint32Array.from(keys.values.subarray(2 * draw, 2 * draw + 2)));
      valuesOf(permutation(own, count)).forEach((to, from) => {
        table[from * count + to] = (table[from * count + to] as number) + 1;
      });
    }
    const expected = draws / count;
    const statistic = table.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0);
    // (count - 1)² = 16 degrees of freedom: the quantile at 1 - 1e-3 is 39.25.
    expect(statistic).toBeLessThan(39.25);
  });

  it("reach all orders equally often: chi-squared at p = 1e-3", () => {
    const draws = 4800;
    const [keys] = evaluateReference([split(key(11), draws)]) as [NdArray];
    const seen = new Map<string, number>();
    for (let draw = 0; draw < draws; draw++) {
      const own = tensor(Uint32Array.from(keys.values.subarray(2 * draw, 2 * draw + 2)));
      const order = valuesOf(permutation(own, 4)).join("");
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    expect(seen.size).toBe(24);
    const statistic = [...seen.values()].reduce((sum, count) => sum + (count - 200) ** 2 / 200, 0);
    // 23 degrees of freedom.
    expect(statistic).toBeLessThan(49.73);
  });
});
