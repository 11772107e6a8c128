import { describe, expect, it } from "vitest";
import { compileValue } from "../formula/evaluate";
import { compileJet, jetX, jetXX, jetXY, jetY, jetYY } from "../formula/jet";
import { parseFormula } from "../formula/parse";
import { problemOf } from "../problems";
import type { Domain } from "./domain";
import { sampleGrid, sortedFinite } from "./grid";
import { contourLevels, heightOfValue, heightSlope, makeScale, roundStep, ticks } from "./height-scale";
import { findMinima } from "./minima";
import { computeTerrain, pathSize } from "./terrain";
import { findThalweg } from "./thalweg";

const unit: Domain = { left: -2, right: 2, bottom: -2, top: 2 };

function minimaOf(formula: string, domain: Domain) {
  const expression = parseFormula(formula);
  return findMinima(sampleGrid(domain, 385, compileValue(expression)), compileJet(expression));
}

describe("minima", () => {
  it.each([
    ["rosenbrock", [[1, 1]], 0],
    ["beale", [[3, 0.5]], 0],
    [
      "branin",
      [
        [Math.PI, 2.275],
        [-Math.PI, 12.275],
        [3 * Math.PI, 2.475],
      ],
      0.3978873577,
    ],
    [
      "himmelblau",
      [
        [3, 2],
        [-2.805118, 3.131313],
        [-3.77931, -3.283186],
        [3.584428, -1.848127],
      ],
      0,
    ],
  ] as const)("of %s are those of the literature", (id, expected, value) => {
    const { formula, domain } = problemOf(id);
    const found = minimaOf(formula, domain);
    expect(found).toHaveLength(expected.length);
    for (const [x, y] of expected) {
      const near = found.find((own) => Math.hypot(own.x - x, own.y - y) < 1e-5);
      expect(near?.value).toBeCloseTo(value, 9);
    }
  });

  it("at a kink are found, and nodes in a narrow valley are none", () => {
    const found = minimaOf("abs(x) + abs(y - x^2)", unit);
    expect(found).toHaveLength(1);
    expect(Math.hypot(found[0]!.x, found[0]!.y)).toBeLessThan(1e-6);
  });

  it("that are a line, or on the border, are not marked", () => {
    expect(minimaOf("(x^2 + y^2 - 1)^2", unit)).toEqual([]);
    expect(minimaOf("x + y", unit)).toEqual([]);
    expect(minimaOf("5", unit)).toEqual([]);
  });
});

describe("the thalweg", () => {
  const lines = (formula: string, domain = unit) => findThalweg(domain, 161, compileJet(parseFormula(formula)));

  it("of a trough is its axis, from border to border", () => {
    const [line, ...others] = lines("x^2 / 10 + (y - 0.3)^2");
    expect(others).toEqual([]);
    expect(Math.max(...line!.map(({ y }) => Math.abs(y - 0.3)))).toBeLessThan(1e-9);
    const xs = line!.map(({ x }) => x).sort((a, b) => a - b);
    expect([xs[0], xs.at(-1)]).toEqual([-2, 2]);
  });

  it("of Rosenbrock's function is one line along its parabola, through the minimum", () => {
    const { formula, domain } = problemOf("rosenbrock");
    const [line, ...others] = lines(formula, domain);
    expect(others).toEqual([]);
    // The floor is not quite the parabola on which the second term is 0: the first one pulls it by about 1 / 100.
    expect(Math.max(...line!.map(({ x, y }) => Math.abs(y - x * x)))).toBeLessThan(0.01);
    expect(Math.min(...line!.map(({ x, y }) => Math.hypot(x - 1, y - 1)))).toBeLessThan(0.03);
    const xs = line!.map(({ x }) => x);
    expect(Math.min(...xs)).toBeLessThan(-1.7);
    expect(Math.max(...xs)).toBeGreaterThan(1.7);
  });

  it.each(["rosenbrock", "beale", "branin", "himmelblau", "camel"])(
    "of %s: the slope is an eigenvector of the Hessian, and the ground bends up across it",
    (id) => {
      const { formula, domain } = problemOf(id);
      const jet = compileJet(parseFormula(formula));
      const found = lines(formula, domain);
      expect(found.length).toBeGreaterThan(0);
      // Ends on the border are where a straight piece crosses it.
      for (const { x, y } of found.flatMap((line) => line.slice(1, -1))) {
        const now = jet(x, y);
        const [gx, gy, xx, xy, yy] = [jetX, jetY, jetXX, jetXY, jetYY].map((index) => now[index]!) as [
          number,
          number,
          number,
          number,
          number,
        ];
        const [px, py] = [xx * gx + xy * gy, xy * gx + yy * gy];
        const size = Math.hypot(gx, gy) * Math.hypot(xx, xy, yy) * Math.hypot(gx, gy);
        // The point is on the line up to 2^-40 of a cell; over that way the determinant changes by far less than this.
        expect(Math.abs(gx * py - gy * px)).toBeLessThan(1e-6 * size + 1e-12);
        const squared = gx * gx + gy * gy;
        const along = (gx * px + gy * py) / squared;
        expect(xx + yy - along).toBeGreaterThan(0);
      }
    },
  );

  it("is nowhere on a round bowl, a plane or a hill", () => {
    expect(lines("(x - 0.1)^2 + (y + 0.2)^2")).toEqual([]);
    expect(lines("x + 2 y")).toEqual([]);
    expect(lines("-x^2 - 3 y^2")).toEqual([]);
  });
});

describe("a height scale", () => {
  const { formula, domain } = problemOf("rosenbrock");
  const sorted = sortedFinite(sampleGrid(domain, 65, compileValue(parseFormula(formula))));

  it("is logarithmic where the function is steep, and even where it is not", () => {
    expect(makeScale(sorted).kind).toBe("logarithmic");
    expect(makeScale(sortedFinite(sampleGrid(unit, 65, (x, y) => x * x + y * y))).kind).toBe("even");
    expect(makeScale(sorted, 0, "even").kind).toBe("even");
  });

  it("maps the lowest value to 0 and the highest to 1, and rises in between as its slope says", () => {
    for (const kind of ["even", "logarithmic"] as const) {
      const scale = makeScale(sorted, 0, kind);
      expect(heightOfValue(scale, 0)).toBe(0);
      expect(heightOfValue(scale, scale.high)).toBeCloseTo(1, 12);
      expect(heightOfValue(scale, Number.POSITIVE_INFINITY)).toBe(1);
      for (const value of [0.5, 10, 300, 2000]) {
        const h = value * 1e-4;
        const difference = (heightOfValue(scale, value + h) - heightOfValue(scale, value - h)) / (2 * h);
        expect(heightSlope(scale, value) / difference).toBeCloseTo(1, 6);
      }
    }
  });

  it("of values that are all equal, or none, does not divide by 0", () => {
    expect(heightOfValue(makeScale(Float64Array.of(3, 3, 3)), 3)).toBe(0);
    expect(heightOfValue(makeScale(new Float64Array(0)), 3)).toBe(1);
  });

  it("has contour levels that are round, ascending and inside", () => {
    for (const kind of ["even", "logarithmic"] as const) {
      const scale = makeScale(sorted, 0, kind);
      const levels = contourLevels(scale);
      expect(levels.length).toBeGreaterThan(7);
      expect(levels.length).toBeLessThan(25);
      expect([...levels].sort((a, b) => a - b)).toEqual(levels);
      for (const level of levels) {
        expect(level).toBeGreaterThan(scale.low);
        expect(level).toBeLessThanOrEqual(scale.high);
        expect(String(Number(level.toPrecision(2)))).toBe(String(Number(level.toPrecision(9))));
      }
    }
  });

  it("has ticks without the digits that rounding leaves", () => {
    expect(ticks(-0.2, 0.31, 6)).toEqual([-0.2, -0.1, 0, 0.1, 0.2, 0.3]);
    expect([0.11, 0.2, 0.21, 7, 30].map(roundStep)).toEqual([0.2, 0.2, 0.5, 10, 50]);
  });
});

describe("contours", () => {
  it("lie where the function has their value", () => {
    const terrain = computeTerrain(parseFormula("x^2 + y^2"), unit, "even");
    for (const { value, path } of terrain.contours) {
      const radius = Math.sqrt(value);
      // Larger circles leave the map.
      if (radius >= 2) continue;
      const places = path
        .match(/[-\d.]+ [-\d.]+/g)!
        .map((place) => place.split(" ").map(Number) as [number, number])
        // The ground above a level ends at the map's border too, half a cell outside of it.
        .filter((place) => place.every((own) => own > 0 && own < pathSize));
      expect(places.length).toBeGreaterThan(50);
      for (const [px, py] of places) {
        const [x, y] = [-2 + (4 * px) / pathSize, 2 - (4 * py) / pathSize];
        // Between nodes the square is taken for a line: off by an eighth of the square of a cell's width; and 0.05 of 1000 by writing.
        expect(Math.abs(x * x + y * y - value)).toBeLessThan((4 / 384) ** 2 / 8 + 2 * radius * 4 * 1e-4);
      }
    }
  });

  it("leave out where the function has no value, and say where that is", () => {
    const terrain = computeTerrain(parseFormula("log(x)"), unit);
    expect(terrain.undefinedPath).not.toBe("");
    const xs = terrain.undefinedPath.match(/[-\d.]+ [-\d.]+/g)!.map((place) => Number(place.split(" ")[0]));
    expect(Math.max(...xs)).toBeCloseTo(pathSize / 2, -1);
    expect(Number.isNaN(terrain.mesh.values[0])).toBe(true);
  });

  it("carry labels that are upright, apart from each other and inside", () => {
    const { formula, domain } = problemOf("branin");
    const { labels } = computeTerrain(parseFormula(formula), domain);
    expect(labels.length).toBeGreaterThan(3);
    for (const [index, { x, y, angle }] of labels.entries()) {
      expect(Math.abs(angle)).toBeLessThanOrEqual(90);
      expect(Math.min(x, y, pathSize - x, pathSize - y)).toBeGreaterThan(0);
      for (const other of labels.slice(index + 1)) expect(Math.hypot(other.x - x, other.y - y)).toBeGreaterThan(100);
    }
  });
});
