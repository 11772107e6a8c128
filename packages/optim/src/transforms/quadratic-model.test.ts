import { adaptDamping, quadraticModelStep } from "@thalweg/curvature";
import { scalar, type Tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { adaptedDamping, modelSteps } from "./quadratic-model";

const numberOf = (x: Tensor): number => evaluateReference([x])[0]?.values[0] as number;

const options = { factor: 0.95 ** 5, thresholds: [0.25, 0.75], bounds: [1e-8, 1e8] } as const;
const after = (damping: number, change: number, predicted: number): number =>
  numberOf(adaptedDamping(scalar(damping), scalar(change), scalar(predicted), options));

describe("damping that adapts on the device", () => {
  it("is the same rule as on the host", () => {
    const number = fc.double({ min: -4, max: 4, noNaN: true });
    fc.assert(
      fc.property(fc.double({ min: 1e-4, max: 10, noNaN: true }), number, (damping, ratio) => {
        // 0.25 and 0.75 themselves are exact in f32.
        const own = Math.fround(ratio);
        const expected = adaptDamping(Math.fround(damping), own);
        expect(after(damping, -0.5 * own, -0.5)).toBeCloseTo(expected, 6);
      }),
    );
  });

  it("rises where the loss or the model is not a number", () => {
    const raised = 0.1 / 0.95 ** 5;
    expect(after(0.1, Number.NaN, -1)).toBeCloseTo(raised, 6);
    expect(after(0.1, Number.POSITIVE_INFINITY, -1)).toBeCloseTo(raised, 6);
    expect(after(0.1, -1, Number.NaN)).toBeCloseTo(raised, 6);
  });

  it("stays where the model predicts no decrease, and within its bounds", () => {
    expect(after(0.1, -1, 0.5)).toBeCloseTo(0.1, 7);
    expect(after(1e8, 1, -1)).toBe(1e8);
    expect(after(1e-8, -1, -1)).toBeCloseTo(1e-8, 12);
  });
});

describe("steps that minimise the quadratic model", () => {
  const steps = (matrix: readonly [number, number, number], slopes: readonly [number, number]) => {
    const { rate, momentum } = modelSteps(
      matrix.map((x) => scalar(x)) as [Tensor, Tensor, Tensor],
      slopes.map((x) => scalar(x)) as [Tensor, Tensor],
    );
    return [numberOf(rate), numberOf(momentum)] as const;
  };

  it("are those of the host, for any lengths of the two directions", () => {
    const entry = fc.double({ min: 0.1, max: 3, noNaN: true });
    const cosine = fc.double({ min: -0.95, max: 0.95, noNaN: true });
    const size = fc.constantFrom(1e-4, 1, 1e3);
    fc.assert(
      fc.property(entry, entry, cosine, entry, entry, size, (dd, pp, angle, gd, gp, scale) => {
        const matrix = [dd, angle * Math.sqrt(dd * pp) * scale, pp * scale * scale] as const;
        const [rate, momentum] = steps(matrix, [gd, gp * scale]);
        const expected = quadraticModelStep(
          [
            [matrix[0], matrix[1]],
            [matrix[1], matrix[2]],
          ],
          [gd, gp * scale],
        );
        const size = Math.hypot(expected.learningRate, expected.momentum * scale);
        expect(Math.abs(rate - expected.learningRate)).toBeLessThan(1e-5 * size);
        expect(Math.abs(momentum - expected.momentum) * scale).toBeLessThan(1e-5 * size);
      }),
    );
  });

  it("leave momentum out while there was no update, or where both directions are one", () => {
    expect(steps([2, 0, 0], [1, 0])).toEqual([expect.closeTo(-0.5, 12), 0]);
    expect(steps([2, 4, 8], [1, 2])).toEqual([expect.closeTo(-0.5, 6), 0]);
  });

  it("are zero without a direction", () => {
    expect(steps([0, 0, 1], [0, 1]).map(Math.abs)).toEqual([0, 0]);
  });
});
