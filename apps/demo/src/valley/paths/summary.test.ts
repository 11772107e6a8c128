import { describe, expect, it } from "vitest";
import type { Domain } from "../terrain/domain";
import { lastStep, pointAt, stepsOf, summarize } from "./summary";

const domain: Domain = { left: -1, right: 1, bottom: -1, top: 1 };
const minima = [{ x: 0, y: 0, value: 0 }];
const bowl = (x: number, y: number): number => x * x + y * y;
const summary = (...points: number[]) => summarize(Float32Array.from(points), bowl, { minima, domain });

describe("a path's summary", () => {
  it("says the first step near a minimum, and the last point and value", () => {
    expect(summary(1, 0, 0.5, 0, 0.0005, 0, 0.25, 0)).toEqual({
      reached: { step: 2, minimum: minima[0] },
      end: { x: 0.25, y: 0 },
      value: 0.0625,
    });
  });

  it("says since when the path is off the map, if it does not come back", () => {
    expect(summary(0.5, 0, 2, 0, 0.5, 0, 3, 0, 4, 0)).toMatchObject({ left: 3, end: { x: 4 } });
    expect(summary(0.5, 0, 2, 0, 0.5, 0).left).toBeUndefined();
  });

  it.each([
    ["no numbers", Number.NaN],
    ["infinite", Number.POSITIVE_INFINITY],
    ["out of reach", 1e5],
  ])("says at which step coordinates are %s, and ends before", (_, value) => {
    const found = summary(0.5, 0, 0.75, 0, value, 0, value, 0);
    expect(found).toMatchObject({ diverged: 2, end: { x: 0.75, y: 0 }, value: 0.5625 });
    expect(found.left).toBeUndefined();
  });

  it("has diverged where the function has no value", () => {
    const found = summarize(Float32Array.of(1, 0, -1, 0), Math.log, { minima: [], domain });
    expect(found.diverged).toBe(1);
  });
});

it("points are counted from the start", () => {
  const points = Float32Array.of(1, 2, 3, 4, 5, 6);
  expect(stepsOf(points)).toBe(2);
  expect(pointAt(points, 1)).toEqual({ x: 3, y: 4 });
  expect(lastStep(points, {})).toBe(2);
  expect(lastStep(points, { diverged: 2 })).toBe(1);
});
