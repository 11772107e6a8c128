import { valueAndGrad } from "@thalweg/autograd";
import { type Device, init, type Tensor, tensor } from "@thalweg/tensor";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileValue, tensorOf } from "./evaluate";
import { application, constant, type Expression, variable } from "./expression";
import { compileJet } from "./jet";
import { type OperationName, operations } from "./operations";
import { parseFormula } from "./parse";

let device: Device;
beforeAll(async () => {
  device = await init({ notice: () => {} });
});
afterAll(() => device.idle());

/** Expressions whose values stay moderate: every operation on operands in its domain. */
const domains: Partial<Record<OperationName, (inner: Expression) => Expression>> = {
  log: (inner) => application("add", application("abs", inner), constant(0.5)),
  sqrt: (inner) => application("add", application("abs", inner), constant(0.5)),
  exp: (inner) => application("tanh", inner),
  sinh: (inner) => application("tanh", inner),
  cosh: (inner) => application("tanh", inner),
  tan: (inner) => application("tanh", inner),
};

const unary = (Object.keys(operations) as OperationName[]).filter((name) => operations[name].arity === 1);

const expressions = fc.letrec<{ expression: Expression }>((tie) => ({
  expression: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(variable(0), variable(1)),
    fc.double({ min: -3, max: 3, noNaN: true }).map((value) => constant(Number(value.toFixed(2)))),
    fc
      .tuple(fc.constantFrom(...unary), tie("expression"))
      .map(([name, inner]) => application(name, domains[name]?.(inner) ?? inner)),
    fc
      .tuple(fc.constantFrom("add", "subtract", "multiply", "min", "max"), tie("expression"), tie("expression"))
      .map(([name, a, b]) => application(name as OperationName, a, b)),
    fc
      .tuple(tie("expression"), tie("expression"))
      .map(([a, b]) => application("divide", a, application("add", application("abs", b), constant(1)))),
    fc
      .tuple(tie("expression"), fc.integer({ min: 0, max: 3 }))
      .map(([a, exponent]) => application("power", application("tanh", a), constant(exponent))),
    fc
      .tuple(tie("expression"), tie("expression"))
      .map(([a, b]) =>
        application("power", application("add", application("abs", a), constant(0.5)), application("tanh", b)),
      ),
  ),
})).expression;

/** Crooked numbers: at 0 and other round ones are the kinks of absolute values. */
const crooked = fc.integer({ min: -2000, max: 2000 }).map((whole) => (whole + Math.SQRT1_2) / 1003);
const points = fc.tuple(crooked, crooked);

describe("derivatives of a formula", () => {
  it("in float64 are those that differences suggest", () => {
    fc.assert(
      fc.property(expressions, points, (expression, [x, y]) => {
        const jet = compileJet(expression);
        const [value, gx, gy, xx, xy, yy] = jet(x, y).slice() as unknown as [
          number,
          number,
          number,
          number,
          number,
          number,
        ];
        expect(value).toBe(compileValue(expression)(x, y));
        // Differences over 1e-4 on either side; where they disagree with those over half of it, there is a kink between.
        const along = (h: number, index: number, axis: 0 | 1): number => {
          const [dx, dy] = axis === 0 ? [h, 0] : [0, h];
          return ((jet(x + dx, y + dy)[index] as number) - (jet(x - dx, y - dy)[index] as number)) / (2 * h);
        };
        // Where both sides disagree by more than the bend of the ground allows, too.
        const isKink = (index: number, axis: 0 | 1, size: number): boolean => {
          const h = 1e-6;
          const [dx, dy] = axis === 0 ? [h, 0] : [0, h];
          const [before, here, after] = [-1, 0, 1].map((side) => jet(x + side * dx, y + side * dy)[index]!) as [
            number,
            number,
            number,
          ];
          return Math.abs(after - 2 * here + before) / h > 1e-2 * size;
        };
        const check = (derivative: number, index: number, axis: 0 | 1): void => {
          const [coarse, fine] = [along(1e-4, index, axis), along(5e-5, index, axis)];
          const size = 1 + Math.abs(coarse) + Math.abs(derivative);
          if (Math.abs(coarse - fine) > 1e-5 * size || isKink(index, axis, size)) return;
          // The error of a difference is h² times a third derivative, which the two differences bound, and rounding.
          expect(Math.abs(derivative - fine)).toBeLessThan(4 * Math.abs(coarse - fine) + 1e-7 * size);
        };
        check(gx, 0, 0);
        check(gy, 0, 1);
        check(xx, 1, 0);
        check(xy, 1, 1);
        check(yy, 2, 1);
      }),
      { numRuns: 300 },
    );
  });

  it("on the device are the same, up to the rounding of f32", async () => {
    await fc.assert(
      fc.asyncProperty(expressions, points, async (expression, [x, y]) => {
        const [fx, fy] = [Math.fround(x), Math.fround(y)];
        const jet = compileJet(expression);
        const [value, gx, gy] = jet(fx, fy).slice() as unknown as [number, number, number];
        // Rounding moves the operands of kinks and of steep parts: what a millionth does is allowed.
        const spread = [-1, 1].flatMap((a) =>
          [-1, 1].map((b) => jet(fx + a * 1e-6 * (1 + Math.abs(fx)), fy + b * 1e-6 * (1 + Math.abs(fy))).slice(0, 3)),
        );
        const [loss, gradients] = valueAndGrad(([u, v]: readonly [Tensor, Tensor]) => tensorOf(expression, u, v))([
          tensor(fx),
          tensor(fy),
        ]);
        const found = [await loss.item(), await gradients[0].item(), await gradients[1].item()];
        for (const [index, exact] of [value, gx, gy].entries()) {
          const near = spread.map((own) => own[index] as number);
          const allowed = 2 * Math.max(...near.map((own) => Math.abs(own - exact))) + 1e-5 * (1 + Math.abs(exact));
          expect(Math.abs((found[index] as number) - exact)).toBeLessThanOrEqual(allowed);
        }
      }),
      // Each run compiles kernels.
      { numRuns: 12, seed: 7 },
    );
  });

  it.each([
    ["x^2", 0, 0, [0, 0, 0, 2, 0, 0]],
    ["x^3", 0, 1, [0, 0, 0, 0, 0, 0]],
    ["(-x)^2 y", -3, 2, [18, -12, 9, 4, -6, 0]],
    ["x^1 + y^0", 0, 0, [1, 1, 0, 0, 0, 0]],
  ] as const)("of %s at (%d, %d) have no infinite part times 0", (formula, x, y, expected) => {
    expect([...compileJet(parseFormula(formula))(x, y)].map((own) => own + 0)).toEqual(expected);
  });
});
