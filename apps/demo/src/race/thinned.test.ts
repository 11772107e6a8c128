import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ThinnedSeries } from "./thinned";

const seriesOf = (capacity: number) => new ThinnedSeries<{ x: number; y: number }>(capacity, ({ x }) => x);

describe("a thinned series", () => {
  it("keeps at most its capacity, the first and the newest point, in order and evenly spread", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 60 }), (count, half) => {
        const capacity = 2 * half;
        const series = seriesOf(capacity);
        for (let x = 0; x < count; x++) series.push({ x, y: -x });
        const xs = series.points.map(({ x }) => x);
        expect(xs.length).toBeLessThanOrEqual(capacity);
        expect(xs[0]).toBe(0);
        expect(xs.at(-1)).toBe(count - 1);
        const gaps = xs.slice(1).map((x, index) => x - (xs[index] as number));
        // All gaps are the stride, but for the last, which leads to the newest point.
        expect(new Set(gaps.slice(0, -1)).size).toBeLessThanOrEqual(1);
        expect(gaps.every((gap) => gap > 0 && gap <= (gaps[0] as number))).toBe(true);
      }),
    );
  });

  it("does not grow in an hour of a fast GPU", () => {
    const series = seriesOf(600);
    for (let x = 0; x < 2_000_000; x++) series.push({ x, y: x });
    expect(series.points.length).toBeLessThanOrEqual(600);
    expect(series.points.length).toBeGreaterThan(300);
  });

  it("replaces what comes again after a loss of the device", () => {
    const series = seriesOf(100);
    for (let x = 0; x < 50; x++) series.push({ x, y: 0 });
    for (let x = 20; x < 60; x++) series.push({ x, y: 1 });
    expect(series.points.map(({ x }) => x)).toEqual(Array.from({ length: 60 }, (_, x) => x));
    expect(series.points.map(({ y }) => y)).toEqual(Array.from({ length: 60 }, (_, x) => (x < 20 ? 0 : 1)));
  });
});
