import { type CurvatureProblem, kroneckerCurvature, squaredError } from "@thalweg/curvature";
import { full, type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { inversionCost, type TurnOptions, turnsOf } from "./block-turns";

const turns = (options: Partial<TurnOptions>) =>
  turnsOf("test", {
    factorInterval: 1,
    inverseInterval: 10,
    stagger: 1,
    burnIn: 0,
    dampingInterval: undefined,
    ...options,
  });

const first = (options: Partial<TurnOptions>, count: number) =>
  Array.from({ length: count }, (_, step) => turns(options).refreshesAt(step));

const isTrue = (x: Tensor): boolean => evaluateReference([x])[0]?.values[0] === 1;

/** A chain of layers of these sizes. */
function layers(...sizes: readonly number[]) {
  const names = sizes.slice(1).map((_, index) => `w${index}`);
  const params = Object.fromEntries(
    names.map((name, index) => [name, full([sizes[index] as number, sizes[index + 1] as number], 1)]),
  );
  const problem: CurvatureProblem<typeof params> = {
    loss: squaredError,
    model: (p, x) => names.reduce((own, name) => own.dot(p[name] as Tensor), x),
  };
  const inputs = full([1, sizes[0] as number], 1);
  return kroneckerCurvature(problem, params, { inputs, targets: full([1, sizes.at(-1) as number], 0) }).blocks;
}

describe("the turns of a block-wise preconditioner", () => {
  it("are all at the first step, then at their intervals", () => {
    expect(first({ factorInterval: 2, inverseInterval: 4 }, 6)).toEqual([
      true,
      false,
      "only factors",
      false,
      true,
      false,
    ]);
  });

  it("of groups are different steps, a program each", () => {
    expect(first({ inverseInterval: 4, stagger: 2 }, 9)).toEqual([
      true,
      "only factors",
      "only factors, inverses 2",
      "only factors",
      "only factors, inverses 1",
      "only factors",
      "only factors, inverses 2",
      "only factors",
      "only factors, inverses 1",
    ]);
    // More groups than measurements between two inversions cannot be.
    expect(new Set(first({ factorInterval: 2, inverseInterval: 4, stagger: 9 }, 20)).size).toBe(4);
  });

  it("count from the end of the burn-in, which measures in every step", () => {
    expect(first({ burnIn: 2, factorInterval: 2, inverseInterval: 2 }, 5)).toEqual([
      "only factors",
      "only factors",
      true,
      false,
      true,
    ]);
  });

  it("of damping are at its own interval, not at the first step", () => {
    expect(first({ factorInterval: 3, inverseInterval: 6, dampingInterval: 2 }, 7)).toEqual([
      true,
      false,
      "only damping",
      "only factors",
      "only damping",
      false,
      true,
    ]);
  });

  it("on the device are those of the host", () => {
    const options = { burnIn: 3, factorInterval: 2, inverseInterval: 6, stagger: 3, dampingInterval: 4 };
    const own = turns(options);
    for (let step = 0; step < 30; step++) {
      const at = tensor(Uint32Array.of(step)).reshape([]);
      const refresh = own.refreshesAt(step);
      if (refresh === true) expect([0, 1, 2].every((group) => isTrue(own.isInverted(at, group)))).toBe(step === 3);
      else {
        expect(isTrue(own.isMeasured(at)), `factors at ${step}`).toBe(own.measures(refresh));
        expect(isTrue(own.isAdapted(at)), `damping at ${step}`).toBe(own.adapts(refresh));
        for (const group of [0, 1, 2]) {
          expect(isTrue(own.isInverted(at, group)), `${group} at ${step}`).toBe(own.inverts(refresh, group));
        }
      }
    }
  });
});

describe("groups of blocks", () => {
  it("carry equal shares of the cubic work: no step has more than the dearest block beyond its share", () => {
    const blocks = layers(40, 30, 20, 30, 10, 40, 5);
    const groups = turns({ stagger: 3 }).groupsOf(blocks);
    const costs = blocks.map(inversionCost);
    const sums = [0, 1, 2].map((group) =>
      costs.filter((_, index) => groups[index] === group).reduce((sum, cost) => sum + cost, 0),
    );
    const total = sums.reduce((sum, cost) => sum + cost, 0);
    expect(Math.max(...sums)).toBeLessThanOrEqual(total / 3 + Math.max(...costs) * (2 / 3));
    expect(Math.min(...sums)).toBeGreaterThan(0);
  });

  it("are the same at every look", () => {
    const blocks = layers(8, 8, 8, 8, 8);
    const own = turns({ stagger: 2 });
    expect(own.groupsOf(blocks)).toEqual(own.groupsOf(blocks));
    expect([...own.groupsOf(blocks)].sort()).toEqual([0, 0, 1, 1]);
  });
});
