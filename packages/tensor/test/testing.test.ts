import { describe, expect, it } from "vitest";
import { ArgumentError, placeholder, ShapeError, type ThalwegError, tensor } from "../src/index";
import {
  directionalDerivative,
  erf,
  erfc,
  erfInv,
  evaluateReference,
  expectClose,
  type NdArray,
  ndarray,
  randomInputs,
  roundTo,
  seededDraw,
  tolerance,
  ulpOf,
} from "../src/testing";

const messageOf = (run: () => void): string => {
  try {
    run();
  } catch (error) {
    return (error as ThalwegError).message;
  }
  throw new Error("Nothing was thrown.");
};

describe("expectClose", () => {
  it("names the worst element, its coordinates, both values and the error in ulp", () => {
    const actual = Float32Array.of(1, 2, 3, 4, 5.5, 6.00001);
    const expected = { shape: [2, 3], values: Float64Array.of(1, 2, 3, 4, 5, 6) };
    const message = messageOf(() => expectClose(actual, expected, tolerance({ ulp: 1 }), "sum"));
    expect(message).toContain("sum: 2 of 6 elements differ");
    expect(message).toContain("[1, 1] of [2, 3]: expected 5, actual 5.5, error 0.5");
  });

  it("compares plain and typed arrays, which have a method called values", () => {
    expect(() => expectClose([1], [2], { relative: 0, absolute: 0.5 })).toThrow("expected 2, actual 1");
    expect(() => expectClose(Float64Array.of(1), Float32Array.of(2), { relative: 0.4, absolute: 0 })).toThrow("1 of 1");
    expectClose(Float64Array.of(1), Float32Array.of(2), { relative: 0.5, absolute: 0 });
  });

  it("takes NaN and infinities for themselves only", () => {
    const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
    const wide = { relative: 1, absolute: 1e30 };
    expectClose([nan, inf, -inf], [nan, inf, -inf], wide);
    for (const [a, b] of [
      [nan, 1],
      [1, nan],
      [inf, 1],
      [1, inf],
      [inf, -inf],
      [inf, nan],
    ] as const) {
      expect(() => expectClose([a], [b], wide), `${a} for ${b}`).toThrow("1 of 1");
    }
    expect(messageOf(() => expectClose([5, nan], [0, 1], { relative: 0, absolute: 1 }))).toContain("actual NaN");
  });

  it("rejects different lengths and takes a bound per element", () => {
    expect(() => expectClose([1, 2], [1], { relative: 0, absolute: 0 })).toThrow("2 elements where 1 are expected");
    expectClose([1, 12], [0, 10], (_value, position) => position + 1);
    expect(() => expectClose([1, 12.5], [0, 10], (_value, position) => position + 1)).toThrow("allowed 2");
  });
});

describe("tolerance", () => {
  it("grows with the number of roundings, the condition and the error of functions", () => {
    const u = 2 ** -24;
    expect(tolerance().relative).toBeCloseTo(u, 12);
    expect(tolerance({ terms: 1000 }).relative / (1000 * u)).toBeCloseTo(1, 3);
    expect(tolerance({ terms: 10, condition: 7 }).relative / (70 * u)).toBeCloseTo(1, 3);
    expect(tolerance({ terms: 0, ulp: 2 }).relative).toBe(4 * u);
    expect(tolerance({ scale: 100 }).absolute / (100 * u)).toBeCloseTo(1, 3);
    expect(tolerance({ dtype: "f16" }).relative).toBeGreaterThan(2 ** -11);
  });

  it("covers a real sum in f32", () => {
    const draw = seededDraw(5);
    const values = Array.from({ length: 2000 }, () => Math.fround(draw.uniform(-1, 1)));
    const single = values.reduce((sum, value) => Math.fround(sum + value), 0);
    const exact = values.reduce((sum, value) => sum + value, 0);
    const scale = values.reduce((sum, value) => sum + Math.abs(value), 0);
    expectClose([single], [exact], tolerance({ terms: 2000, scale }));
  });

  it("knows the spacing of f32", () => {
    expect([1, 1.999, 2, 0.75, 0, 2 ** -140, -8].map(ulpOf)).toEqual(
      [-23, -23, -22, -24, -149, -149, -20].map((exponent) => 2 ** exponent),
    );
    expect(roundTo(1 + 2 ** -12, "f16")).toBe(1);
    expect(roundTo(0.1, "f32")).toBe(Math.fround(0.1));
  });
});

describe("evaluateReference", () => {
  it("evaluates graphs deeper than the call stack", () => {
    let x = tensor(0);
    for (let i = 0; i < 50_000; i++) x = x.add(1);
    expect((evaluateReference([x])[0] as NdArray).values[0]).toBe(50_000);
  });

  it("takes values for placeholders and for tensors inside of a graph", () => {
    const a = placeholder([2], "f32");
    const b = a.mul(2);
    const c = b.add(1);
    const at = (...values: number[]) => ({ shape: [2], dtype: "f32" as const, values: Float64Array.from(values) });
    const [first, second] = evaluateReference([c, b], new Map([[a, at(1, 2)]])) as [NdArray, NdArray];
    expect([...first.values, ...second.values]).toEqual([3, 5, 2, 4]);
    expect([...(evaluateReference([c], new Map([[b, at(10, 20)]]))[0] as NdArray).values]).toEqual([11, 21]);
  });

  it("says which placeholder has no value, and which value does not fit", () => {
    const a = placeholder([2], "f32");
    expect(() => evaluateReference([a.exp()])).toThrow(ArgumentError);
    expect(() => evaluateReference([a.exp()])).toThrow("placeholder f32 [2]");
    const wrong = new Map([[a, ndarray([3], "f32", () => 0)]]);
    expect(() => evaluateReference([a], wrong)).toThrow(ShapeError);
  });
});

describe("finite differences", () => {
  it("agree with known derivatives to about 1e-11", () => {
    const x = placeholder([3], "f32");
    const at = new Map([[x, ndarray([3], "f32", ([i]) => 0.3 + (i as number))]]);
    const along = new Map([[x, ndarray([3], "f32", ([i]) => 1 - (i as number))]]);
    const [exp, sin] = directionalDerivative([x.exp(), x.sin()], at, along) as [NdArray, NdArray];
    const points = [0.3, 1.3, 2.3];
    const bound = { relative: 1e-11, absolute: 1e-11 };
    expectClose(
      exp,
      points.map((p, i) => Math.exp(p) * (1 - i)),
      bound,
    );
    expectClose(
      sin,
      points.map((p, i) => Math.cos(p) * (1 - i)),
      bound,
    );
  });

  it("refuse integers", () => {
    const x = placeholder([], "i32");
    expect(() => directionalDerivative([x], new Map(), new Map())).toThrow(ArgumentError);
  });
});

describe("draws", () => {
  it("depend on the seed alone", () => {
    const sequence = (seed: number) => {
      const draw = seededDraw(seed);
      return [draw.integer(0, 1e6), draw.uniform(), draw.shape(), draw.order(5), draw.pick(["a", "b", "c"])];
    };
    expect(sequence(1)).toEqual(sequence(1));
    expect(sequence(1)).not.toEqual(sequence(2));
  });

  it("reach both ends of a range, and nothing outside", () => {
    const draw = seededDraw(3);
    const seen = new Set(Array.from({ length: 200 }, () => draw.integer(-1, 2)));
    expect([...seen].sort((a, b) => a - b)).toEqual([-1, 0, 1, 2]);
  });

  it("give inputs in their domain, distinct where asked", () => {
    const shape = [4, 5];
    const sample = {
      inputs: [
        { shape, dtype: "f32" as const, distinct: true },
        { shape: [3], dtype: "f32" as const, distinct: true },
        { shape, dtype: "i32" as const, domain: [-1, 3] as const },
        { shape, dtype: "u32" as const },
        { shape, dtype: "bool" as const },
        { shape, dtype: "f32" as const, domain: [5, 6] as const },
      ],
      params: undefined,
    };
    const [a, b, i, u, t, f] = randomInputs(sample, seededDraw(1)).map(({ values }) => [...values]) as number[][];
    const sorted = [...(a as number[]), ...(b as number[]), 0].sort((x, y) => x - y);
    const gaps = sorted.slice(1).map((x, index) => x - (sorted[index] as number));
    expect(Math.min(...gaps)).toBeGreaterThan(0.5 * (4 / 24) - 1e-6);
    expect([Math.min(...(i as number[])), Math.max(...(i as number[]))]).toEqual([-1, 3]);
    expect(new Set(u)).toEqual(new Set([0, 1, 2]));
    expect(new Set(t)).toEqual(new Set([0, 1]));
    expect(f?.every((x) => x >= 5 && x < 6 && x === Math.fround(x))).toBe(true);
  });
});

describe("special functions in float64", () => {
  // Abramowitz and Stegun, tables 7.1 and 7.3; inverse values by solving with 40 digits.
  it("erf and erfc", () => {
    const close = (actual: number, expected: number) =>
      expect(Math.abs(actual / expected - 1), `${actual} for ${expected}`).toBeLessThan(4e-15);
    close(erf(0.1), 0.1124629160182849);
    close(erf(0.5), 0.5204998778130465);
    close(erf(1), 0.8427007929497149);
    close(erf(-2), -0.9953222650189527);
    close(erf(1e-10), 1.1283791670955126e-10);
    close(erfc(2), 0.004677734981047266);
    close(erfc(5), 1.5374597944280349e-12);
    expect([erf(0), erf(7), erf(-40), erfc(30), erfc(-7)]).toEqual([0, 1, -1, 0, 2]);
    expect(erf(Number.NaN)).toBeNaN();
  });

  it("erfInv inverts erf, and has its poles", () => {
    for (const x of [1e-200, 1e-9, 0.01, 0.3, 0.6, 1, 1.5, 2, 3, 4]) {
      // The inverse can be no more exact than erf(x) as a float64 is: for large x few digits of x are left in it.
      const conditioning = (2 ** -53 * erf(x)) / (x * 1.1283791670955126 * Math.exp(-x * x));
      expect(Math.abs(erfInv(erf(x)) / x - 1)).toBeLessThan(4e-15 + 4 * conditioning);
      expect(erfInv(-erf(x))).toBe(-erfInv(erf(x)));
    }
    expect([erfInv(1), erfInv(-1), erfInv(0)]).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]);
    expect(erfInv(1.5)).toBeNaN();
  });
});
