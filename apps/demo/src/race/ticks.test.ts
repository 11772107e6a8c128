import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ticksOf } from "./ticks";

describe("ticks", () => {
  it("are round numbers inside the range", () => {
    expect(ticksOf([0, 1], 6)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticksOf([0, 187], 8)).toEqual([0, 50, 100, 150]);
    expect(ticksOf([3, 3], 5)).toEqual([3]);
  });

  it("are about as many as asked, for any range", () => {
    const bound = fc.double({ min: -1e6, max: 1e6, noNaN: true });
    const span = fc.double({ min: 1e-6, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(bound, span, fc.integer({ min: 2, max: 12 }), (low, size, count) => {
        const ticks = ticksOf([low, low + size], count);
        expect(ticks.length).toBeLessThanOrEqual(count + 1);
        expect(ticks.length).toBeGreaterThanOrEqual(Math.floor(count / 2.5) - 1);
        const slack = 1e-6 * Math.max(1, Math.abs(low), size);
        for (const tick of ticks) {
          expect(tick).toBeGreaterThanOrEqual(low - slack);
          expect(tick).toBeLessThanOrEqual(low + size + slack);
        }
      }),
    );
  });
});
