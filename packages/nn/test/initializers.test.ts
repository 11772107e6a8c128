import { key, type Tensor } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { initializers } from "../src/index";
import { read } from "./values";

/** [3, 3, 20, 40]: fans 180 and 360, 7200 numbers. */
const shape = [3, 3, 20, 40];
const [fanIn, fanOut] = [180, 360];

interface Moments {
  readonly mean: number;
  readonly variance: number;
  readonly kurtosis: number;
  readonly largest: number;
}

function moments(x: Tensor): Moments {
  const values = [...read(x).values];
  const average = (f: (v: number) => number) => values.reduce((sum, v) => sum + f(v), 0) / values.length;
  const mean = average((v) => v);
  const variance = average((v) => (v - mean) ** 2);
  return {
    mean,
    variance,
    kurtosis: average((v) => (v - mean) ** 4) / variance ** 2,
    largest: Math.max(...values.map(Math.abs)),
  };
}

/** Fourth standardized moments of the three families. */
const kurtosisOf = { uniform: 1.8, normal: 3, truncated: 2.3655 };
const truncation = 0.8796256610342398 ** 2;

const cases: [string, initializers.Initializer, keyof typeof kurtosisOf, number][] = [
  ["uniform", initializers.uniform({ low: -0.3, high: 0.3 }), "uniform", 0.3 ** 2 / 3],
  ["normal", initializers.normal({ std: 0.02 }), "normal", 0.02 ** 2],
  ["truncatedNormal, TN(0.05)", initializers.truncatedNormal({ std: 0.05 }), "truncated", 0.05 ** 2 * truncation],
  ["glorotUniform", initializers.glorotUniform, "uniform", 2 / (fanIn + fanOut)],
  ["glorotNormal", initializers.glorotNormal, "truncated", 2 / (fanIn + fanOut)],
  ["heUniform", initializers.heUniform, "uniform", 2 / fanIn],
  ["heNormal", initializers.heNormal, "truncated", 2 / fanIn],
  ["lecunUniform", initializers.lecunUniform, "uniform", 1 / fanIn],
  ["lecunNormal", initializers.lecunNormal, "truncated", 1 / fanIn],
  ["kaimingUniform", initializers.kaimingUniform(), "uniform", 2 / fanIn],
  ["kaimingUniform, fanOut", initializers.kaimingUniform({ mode: "fanOut" }), "uniform", 2 / fanOut],
  ["kaimingNormal, slope 0.2", initializers.kaimingNormal({ slope: 0.2 }), "normal", 2 / 1.04 / fanIn],
  ["fanInUniform", initializers.fanInUniform, "uniform", 1 / 3 / fanIn],
];

describe("initializers", () => {
  it.each(cases)("%s has the mean, variance and shape of its distribution", (_name, init, family, variance) => {
    const count = 7200;
    const found = moments(init(key(7), shape));
    const kurtosis = kurtosisOf[family];
    // Four standard errors of each estimate.
    expect(Math.abs(found.mean)).toBeLessThan(4 * Math.sqrt(variance / count));
    expect(Math.abs(found.variance / variance - 1)).toBeLessThan(4 * Math.sqrt((kurtosis - 1) / count));
    expect(Math.abs(found.kurtosis - kurtosis)).toBeLessThan(family === "normal" ? 0.25 : 0.1);
    const limits = {
      uniform: Math.sqrt(3 * variance),
      normal: Number.POSITIVE_INFINITY,
      truncated: 2 * Math.sqrt(variance / truncation),
    };
    expect(found.largest).toBeLessThanOrEqual(limits[family] * (1 + 1e-6));
  });

  it("uses the constants of the Glorot initializers as TensorFlow states them", () => {
    const { largest } = moments(initializers.glorotUniform(key(1), shape));
    const limit = Math.sqrt(6 / (fanIn + fanOut));
    expect(largest).toBeLessThanOrEqual(limit);
    expect(largest).toBeGreaterThan(0.999 * limit);
  });

  it("starts PyTorch's layers within 1 / sqrt(fanIn)", () => {
    const { largest } = moments(initializers.fanInUniform(key(1), [400], { in: 25, out: 1 }));
    expect(largest).toBeLessThanOrEqual(0.2);
    expect(largest).toBeGreaterThan(0.19);
  });

  it("fills with constants", () => {
    const first = (init: initializers.Initializer) => read(init(key(0), [2, 2])).values;
    expect([...first(initializers.zeros)]).toEqual([0, 0, 0, 0]);
    expect([...first(initializers.ones)]).toEqual([1, 1, 1, 1]);
    expect([...first(initializers.constant(0.05))]).toEqual([0.05, 0.05, 0.05, 0.05]);
  });

  it("counts the taps of a convolution in the fans", () => {
    expect(initializers.fansOf([5, 5, 32, 64])).toEqual({ in: 800, out: 1600 });
    expect(initializers.fansOf([784, 10])).toEqual({ in: 784, out: 10 });
    expect(initializers.fansOf([7])).toEqual({ in: 7, out: 7 });
  });
});
