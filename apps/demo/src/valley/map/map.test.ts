import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { positionOf, sliderScale, valueAt } from "../slider-scale";
import type { Domain } from "../terrain/domain";
import { frameOf, pointOf, toX, toY, zoomedAt } from "./frame";
import { placeLabels } from "./place-labels";
import { makeTrail } from "./trail";

const domain: Domain = { left: -2, right: 2, bottom: -1, top: 3 };
const frame = frameOf(domain, 454);

describe("the frame", () => {
  it("puts points on pixels and back", () => {
    fc.assert(
      fc.property(fc.double({ min: -2, max: 2, noNaN: true }), fc.double({ min: -1, max: 3, noNaN: true }), (x, y) => {
        const back = pointOf(frame, toX(frame, x), toY(frame, y));
        expect(back.x).toBeCloseTo(x, 9);
        expect(back.y).toBeCloseTo(y, 9);
      }),
    );
    expect(pointOf(frame, -50, 1e4)).toEqual({ x: -2, y: -1 });
  });

  it("zooms about a point that keeps its place", () => {
    const point = { x: 1, y: 0.5 };
    const near = frameOf(zoomedAt(domain, point, 0.25), 454);
    expect(near.domain.right - near.domain.left).toBeCloseTo(1, 12);
    expect(toX(near, point.x)).toBeCloseTo(toX(frame, point.x), 9);
    expect(toY(near, point.y)).toBeCloseTo(toY(frame, point.y), 9);
  });
});

describe("a trail", () => {
  const points = Float32Array.of(-2, 3, 0, 3, 0, -1);
  const trail = makeTrail(points, 2, frame);
  const { left, top, size } = frame;

  it("leads through all points up to a time, and on towards the next one", () => {
    expect(trail.line(0)).toBe(`M${left.toFixed(1)} ${top.toFixed(1)}L${left.toFixed(1)} ${top.toFixed(1)}`);
    expect(trail.place(0.5)).toEqual({ x: left + size / 4, y: top });
    expect(trail.line(1.5).match(/L/g)).toHaveLength(2);
    expect(trail.place(2)).toEqual({ x: left + size / 2, y: top + size });
    expect(trail.place(99)).toEqual(trail.place(2));
    expect(trail.line(99)).toBe(trail.line(2));
  });

  it("has a dot at every step, unless they would run together", () => {
    expect(trail.dots(1).match(/h0/g)).toHaveLength(2);
    const slow = makeTrail(
      Float32Array.from({ length: 200 }, (_, index) => index / 1000),
      99,
      frame,
    );
    expect(slow.dots(99)).toBe("");
  });

  it("writes no number that a picture cannot hold", () => {
    const far = makeTrail(Float32Array.of(0, 0, 1e30, -1e30), 1, frame);
    expect(far.line(1)).not.toMatch(/e|NaN|Infinity/);
  });
});

describe("labels", () => {
  const box = { left: 0, right: 300, top: 0, bottom: 300 };
  const point = fc.record({ x: fc.integer({ min: 0, max: 300 }), y: fc.integer({ min: 0, max: 300 }) });

  it("do not cover each other, and stay inside", () => {
    fc.assert(
      fc.property(fc.array(point, { minLength: 1, maxLength: 8 }), (points) => {
        const widths = points.map(() => 70);
        const placed = placeLabels(points, widths, box);
        const spans = placed.map(({ x, y, anchor }) => ({ from: anchor === "start" ? x : x - 70, y }));
        for (const [index, { from, y }] of spans.entries()) {
          expect(from).toBeGreaterThanOrEqual(0);
          expect(from + 70).toBeLessThanOrEqual(300);
          expect(y).toBeGreaterThanOrEqual(0);
          expect(y).toBeLessThanOrEqual(300);
          for (const other of spans.slice(index + 1)) {
            expect(Math.abs(other.y - y) >= 15 || Math.abs(other.from - from) >= 70).toBe(true);
          }
        }
      }),
    );
  });

  it("stand right of their points, or left where there is no room", () => {
    expect(placeLabels([{ x: 100, y: 50 }], [70], box)).toEqual([{ x: 110, y: 50, anchor: "start" }]);
    expect(placeLabels([{ x: 280, y: 50 }], [70], box)).toEqual([{ x: 270, y: 50, anchor: "end" }]);
  });
});

describe("a slider", () => {
  const rate = sliderScale("learningRate", { type: "float", default: 0.01, description: "", min: 0 });
  const beta = sliderScale("beta1", { type: "float", default: 0.9, description: "", min: 0, max: 1, open: "max" });
  const decay = sliderScale("weightDecay", { type: "float", default: 0, description: "", min: 0 });
  const history = sliderScale("history", { type: "integer", default: 10, description: "", min: 1 });

  it("has every value at the position that gives it", () => {
    for (const scale of [rate, beta, decay, history]) {
      for (let position = 0; position <= scale.positions; position++) {
        // Digits that are cut may move a value by a position at the far end.
        expect(Math.abs(positionOf(scale, valueAt(scale, position)) - position)).toBeLessThanOrEqual(1);
      }
    }
  });

  it("has round values where they are expected", () => {
    expect([valueAt(beta, 0), valueAt(beta, 100), valueAt(beta, 200)]).toEqual([0, 0.9, 0.99]);
    expect(valueAt(rate, positionOf(rate, 0.001))).toBe(0.001);
    expect(valueAt(decay, 0)).toBe(0);
    expect(valueAt(decay, 1)).toBeGreaterThan(0);
    expect(positionOf(decay, 1e-30)).toBe(1);
    expect(valueAt(history, 0)).toBe(1);
  });
});
