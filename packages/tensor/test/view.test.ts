import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { apply, placeholder, type Tensor } from "../src/tensor";
import { evaluateReference, ndarray, seededDraw } from "../src/testing";
import {
  addIndex,
  constantIndex,
  delinearize,
  dependsOn,
  divideIndex,
  divisibleGuard,
  evaluateIndex,
  type Guard,
  type Index,
  isMultipleOf,
  linearFactor,
  linearize,
  offsetIndex,
  rangeGuard,
  remainderIndex,
  scaleIndex,
  substitute,
  variableIndex,
} from "../src/view";
import { movementNames, randomStep, type Step } from "./movements";

/** An index expression as a tree, evaluated without any simplification. */
type Expression =
  | { kind: "variable"; name: string }
  | { kind: "constant"; value: number }
  | { kind: "add"; parts: Expression[] }
  | { kind: "scale" | "offset" | "divide" | "remainder"; of: Expression; by: number };

const ranges: Readonly<Record<string, readonly [number, number]>> = { x: [0, 11], y: [0, 5], z: [-7, 4], one: [3, 3] };
const positions = [...Array(12).keys()].flatMap((x) =>
  [0, 1, 5].flatMap((y) => [-7, -1, 0, 4].map((z) => new Map(Object.entries({ x, y, z, one: 3 })))),
);

const expressions = fc.letrec<{ expression: Expression }>((tie) => ({
  expression: fc.oneof(
    { depthSize: "medium", withCrossShrink: true },
    fc.record({ kind: fc.constant("variable" as const), name: fc.constantFrom(...Object.keys(ranges)) }),
    fc.record({ kind: fc.constant("constant" as const), value: fc.integer({ min: -20, max: 20 }) }),
    fc.record({
      kind: fc.constant("add" as const),
      parts: fc.array(tie("expression"), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constantFrom("scale" as const, "offset" as const),
      of: tie("expression"),
      by: fc.integer({ min: -6, max: 12 }),
    }),
    fc.record({
      kind: fc.constantFrom("divide" as const, "remainder" as const),
      of: tie("expression"),
      by: fc.constantFrom(1, 2, 3, 4, 6, 12),
    }),
  ),
})).expression;

function build(expression: Expression): Index {
  switch (expression.kind) {
    case "variable": {
      const [low, high] = ranges[expression.name] as readonly [number, number];
      return variableIndex(expression.name, low, high);
    }
    case "constant":
      return constantIndex(expression.value);
    case "add":
      return addIndex(...expression.parts.map(build));
    case "scale":
      return scaleIndex(build(expression.of), expression.by);
    case "offset":
      return offsetIndex(build(expression.of), expression.by);
    case "divide":
      return divideIndex(build(expression.of), expression.by);
    case "remainder":
      return remainderIndex(build(expression.of), expression.by);
  }
}

function evaluate(expression: Expression, at: ReadonlyMap<string, number>): number {
  switch (expression.kind) {
    case "variable":
      return at.get(expression.name) as number;
    case "constant":
      return expression.value;
    case "add":
      return expression.parts.reduce((sum, part) => sum + evaluate(part, at), 0);
    case "scale":
      return evaluate(expression.of, at) * expression.by;
    case "offset":
      return evaluate(expression.of, at) + expression.by;
    case "divide":
      return Math.floor(evaluate(expression.of, at) / expression.by);
    case "remainder": {
      const value = evaluate(expression.of, at);
      return value - Math.floor(value / expression.by) * expression.by;
    }
  }
}

const holds = (guard: Guard, at: ReadonlyMap<string, number>): boolean => {
  const value = evaluateIndex(guard.index, at);
  return guard.kind === "range" ? value >= guard.low && value < guard.high : value % guard.divisor === 0;
};

describe("index expressions", () => {
  it("keep their value, within their bounds, under all simplifications", () => {
    fc.assert(
      fc.property(expressions, (expression) => {
        const index = build(expression);
        for (const at of positions) {
          const value = evaluate(expression, at);
          expect(evaluateIndex(index, at) === value).toBe(true);
          expect(index.low <= value && value <= index.high).toBe(true);
        }
      }),
      { numRuns: 1500, seed: 1 },
    );
  });

  it("drop a guard only where it always holds", () => {
    fc.assert(
      fc.property(expressions, fc.constantFrom(2, 3, 4, 6), (expression, number) => {
        const index = build(expression);
        const range = rangeGuard(index, -number, number);
        const divisible = divisibleGuard(index, number);
        for (const at of positions) {
          const value = evaluate(expression, at);
          expect(range === undefined || holds(range, at)).toBe(value >= -number && value < number);
          expect(divisible === undefined || holds(divisible, at)).toBe(value % number === 0);
          if (isMultipleOf(index, number)) expect(Math.abs(value % number)).toBe(0);
        }
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  it("substitute variables", () => {
    fc.assert(
      fc.property(expressions, expressions, (outer, inner) => {
        // The replacement has the range that the simplification of the outer expression relied on.
        const replacement = remainderIndex(build(inner), 12);
        const index = substitute(build(outer), new Map([["x", replacement]]));
        for (const at of positions) {
          const x = evaluate({ kind: "remainder", of: inner, by: 12 }, at);
          expect(evaluateIndex(index, at) === evaluate(outer, new Map([...at, ["x", x]]))).toBe(true);
        }
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it("know which variables they depend on, and how", () => {
    fc.assert(
      fc.property(expressions, (expression) => {
        const index = build(expression);
        for (const name of ["x", "y", "z"]) {
          const factor = linearFactor(index, name);
          expect(factor === 0).toBe(!dependsOn(index, name));
          if (factor === undefined) continue;
          for (const at of positions) {
            const further = new Map([...at, [name, (at.get(name) as number) + 1]]);
            const outside = (further.get(name) as number) > (ranges[name] as readonly [number, number])[1];
            if (!outside) expect(evaluateIndex(index, further) - evaluateIndex(index, at)).toBe(factor + 0);
          }
        }
      }),
      { numRuns: 500, seed: 4 },
    );
  });

  it("linearize and delinearize are inverse", () => {
    const shape = [2, 1, 3, 4];
    const coordinates = shape.map((extent, axis) => variableIndex(`c${axis}`, 0, extent - 1));
    expect(delinearize(linearize(coordinates, shape), shape).map(({ key }) => key)).toEqual(
      coordinates.map(({ key }) => key),
    );
    const position = variableIndex("p", 0, 23);
    expect(linearize(delinearize(position, shape), shape).key).toBe(position.key);
  });
});

/** What an element of a view is: an element of the source, or a fill. */
type Element = { readonly from: number } | { readonly fill: number };

/** The views of a chain, from the source to the last one. */
function chain(shape: readonly number[], steps: (shape: readonly number[], level: number) => Step | undefined) {
  const views: Tensor[] = [placeholder(shape, "f32")];
  for (let level = 0; ; level++) {
    const last = views[views.length - 1] as Tensor;
    const step = steps(last.shape, level);
    if (step === undefined) return views;
    views.push(apply(step.primitive, [last], step.params));
  }
}

/** Follows every element of the last view through the symbolic maps of all views. */
function symbolicElements(views: readonly Tensor[]): Element[] {
  const [source] = views as [Tensor];
  const last = views[views.length - 1] as Tensor;
  let coordinates = last.shape.map((extent, axis) => variableIndex(`c${axis}`, 0, extent - 1));
  const levels: { guards: Guard[]; fill: number }[] = [];
  for (const view of [...views].reverse()) {
    const { lowering } = view.primitive;
    if (lowering.kind !== "movement") break;
    const input = (view.inputs[0] as Tensor).shape;
    const { coordinates: next, guards } = lowering.move(coordinates, input, view.params);
    levels.push({ guards: guards.filter((guard) => guard !== undefined), fill: lowering.fill(view.params) });
    coordinates = [...next];
  }
  const position = linearize(coordinates, source.shape);
  const elements: Element[] = [];
  ndarray(last.shape, "f32", (c) => {
    const at = new Map(c.map((value, axis) => [`c${axis}`, value]));
    const failed = levels.find(({ guards }) => guards.some((guard) => !holds(guard, at)));
    if (failed === undefined) {
      coordinates.forEach((coordinate, axis) => {
        const value = evaluateIndex(coordinate, at);
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThan(source.shape[axis] as number);
      });
    }
    elements.push(failed === undefined ? { from: evaluateIndex(position, at) } : { fill: failed.fill });
    return 0;
  });
  return elements;
}

/** The same by the numeric references of the primitives, with every element of the source holding its position. */
function numericElements(views: readonly Tensor[]): Element[] {
  const [source] = views as [Tensor];
  // Positions are negative numbers, so that no fill looks like one.
  let position = 0;
  const values = ndarray(source.shape, "f32", () => -1 - position++);
  const [result] = evaluateReference([views[views.length - 1] as Tensor], new Map([[source, values]]));
  return Array.from(result?.values ?? [], (value) => (value < 0 ? { from: -1 - value } : { fill: value }));
}

describe("movement primitives", () => {
  it.each(movementNames)("%s: the symbolic map agrees with the numeric one", (name) => {
    for (let seed = 0; seed < 60; seed++) {
      const draw = seededDraw(seed);
      const least = name.includes("windowed") ? 2 : 0;
      const shape = draw.shape({ rank: [least, 6], extent: [1, 4] });
      const views = chain(shape, (own, level) => (level === 0 ? randomStep(own, draw, name) : undefined));
      expect(symbolicElements(views), `seed ${seed}`).toEqual(numericElements(views));
    }
  });

  it("compose in chains of up to four", () => {
    const used = new Set<string>();
    for (let seed = 0; seed < 600; seed++) {
      const draw = seededDraw(seed);
      const length = draw.integer(1, 4);
      const shape = draw.shape({ rank: [0, 4], extent: [1, 5] });
      const views = chain(shape, (own, level) => (level < length ? randomStep(own, draw) : undefined));
      for (const view of views.slice(1)) used.add(view.primitive.name);
      if (views.some((view) => view.size > 3000)) continue;
      const names = views.slice(1).map((view) => `${view.primitive.name} ${JSON.stringify(view.params)}`);
      expect(symbolicElements(views), `seed ${seed} [${shape}] ${names.join(", ")}`).toEqual(numericElements(views));
    }
    expect([...used].sort()).toEqual([...movementNames].sort());
  });

  it("accept shapes without elements", () => {
    for (let seed = 0; seed < 100; seed++) {
      const draw = seededDraw(seed);
      const shape = [...draw.shape({ rank: [1, 3], extent: [0, 2] }), 0];
      const views = chain(shape, (own, level) => (level < 2 ? randomStep(own, draw) : undefined));
      const last = views[views.length - 1] as Tensor;
      if (last.size === 0) expect(symbolicElements(views)).toEqual([]);
      else expect(numericElements(views)).toHaveLength(last.size);
    }
  });
});
