import { type CurvatureProblem, crossEntropy, isTruncated, squaredError } from "@thalweg/curvature";
import { init, key, normal, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { hessianFree } from "../src/index";

beforeAll(async () => void (await init()));

const random = (seed: number, shape: readonly number[]): Tensor => normal(key(seed), shape);

const numbers = async (tree: unknown): Promise<number[]> =>
  (await Promise.all(treeLeaves<Tensor>(tree).map((leaf) => leaf.data()))).flatMap((values) => Array.from(values));

describe("Hessian-free optimization", () => {
  it("solves a linear regression in one step", { timeout: 120_000 }, async () => {
    const inputs = random(1, [32, 4]);
    const exact = random(2, [4, 2]);
    const problem: CurvatureProblem<{ w: Tensor }> = { loss: squaredError, model: (p, x) => x.dot(p.w) };
    const optimizer = hessianFree({ problem, damping: 1e-6 });
    const batch = { inputs, targets: inputs.dot(exact) };
    const [state, report] = await optimizer.step(optimizer.init({ w: random(3, [4, 2]) }), batch);
    const [own, wanted] = [await numbers(state.params), await numbers(exact)];
    own.forEach((value, index) => expect(value).toBeCloseTo(wanted[index] as number, 2));
    expect(report.rate).toBe(1);
    expect(report.ratio).toBeGreaterThan(0.75);
    expect(await state.damping.item()).toBeCloseTo((1e-6 * 2) / 3, 9);
    // There is nothing left to do, and nothing is done that makes it worse.
    const [after, second] = await optimizer.step(state, batch);
    expect(second.newLoss).toBeLessThanOrEqual(second.loss);
    expect((await numbers(after.params)).every(Number.isFinite)).toBe(true);
    optimizer.dispose();
  });

  // Two interleaved half circles: no line separates them.
  const points = 48;
  const angle = tensor(Float32Array.from({ length: points }, (_, index) => (Math.PI * index) / (points - 1)));
  const isUpper = tensor(Float32Array.from({ length: points }, (_, index) => index % 2));
  const moons = {
    inputs: angle
      .cos()
      .mul(isUpper.mul(-2).add(1))
      .add(isUpper)
      .expandDims(1)
      .mul(tensor([1, 0]))
      .add(
        angle
          .sin()
          .mul(isUpper.mul(-2).add(1))
          .add(isUpper.mul(0.5))
          .expandDims(1)
          .mul(tensor([0, 1])),
      ),
    targets: isUpper.cast("i32"),
  };
  const network: CurvatureProblem<{ a: Tensor; b: Tensor; c: Tensor }> = {
    loss: crossEntropy,
    model: (p, x) => x.dot(p.a).add(p.b).tanh().dot(p.c),
  };
  const start = () => ({ a: random(5, [2, 8]), b: random(6, [8]), c: random(7, [8, 2]) });

  it.each([
    ["Gauss-Newton", "ggn", 0.02],
    ["the Hessian", "hessian", 0.1],
  ] as const)("trains a network with products of %s", { timeout: 240_000 }, async (_, curvature, reached) => {
    const optimizer = hessianFree({ problem: network, curvature, damping: 0.1 });
    let state = optimizer.init(start());
    const losses: number[] = [];
    for (let step = 0; step < 25; step++) {
      const [next, report] = await optimizer.step(state, moons);
      expect(report.newLoss).toBeLessThanOrEqual(report.loss);
      expect(report.chosenIteration).toBeLessThanOrEqual(report.iterations);
      losses.push(report.newLoss);
      state = next;
    }
    expect(losses.at(-1) as number).toBeLessThan(reached);
    optimizer.dispose();
  });

  it("takes curvature from a part of the batch, and goes on from a saved state as if it had not stopped", {
    timeout: 240_000,
  }, async () => {
    const part = {
      inputs: moons.inputs.slice([0, 0], [12, 2]),
      targets: moons.targets.slice([0], [12]),
    };
    const optimizer = hessianFree({ problem: network, damping: 0.1 });
    let [state] = await optimizer.step(optimizer.init(start()), moons, part);
    const saved = (
      await Promise.all(treeLeaves<Tensor>(state).map(async (leaf) => [leaf.shape, await leaf.data()] as const))
    ).map(([shape, values]) => tensor(Float32Array.from(values), { shape }));
    [state] = await optimizer.step(state, moons, part);
    const [a, b, c, damping, previous] = restored(saved);
    const other = hessianFree({ problem: network, damping: 0.1 });
    const [again] = await other.step({ params: { a, b, c }, damping, previous }, moons, part);
    expect(await numbers(again)).toEqual(await numbers(state));
    optimizer.dispose();
    other.dispose();
  });

  /** Leaves of a state are in the order of its keys. */
  function restored(leaves: readonly Tensor[]): [Tensor, Tensor, Tensor, Tensor, Tensor] {
    const byShape = (shape: string): Tensor => leaves.find((leaf) => String(leaf.shape) === shape) as Tensor;
    return [byShape("2,8"), byShape("8"), byShape("8,2"), byShape(""), byShape("40")];
  }

  it("stays where no step makes the loss smaller, and raises the damping", { timeout: 120_000 }, async () => {
    const problem: CurvatureProblem<{ w: Tensor }> = { loss: squaredError, model: (p, x) => x.mul(p.w.square()) };
    const optimizer = hessianFree({ problem });
    // The gradient is zero at w = 0, for any data.
    const batch = { inputs: random(1, [4, 1]), targets: random(2, [4, 1]) };
    const [state, report] = await optimizer.step(optimizer.init({ w: tensor([0]) }), batch);
    expect(await numbers(state.params)).toEqual([0]);
    expect([report.rate, report.newLoss]).toEqual([0, report.loss]);
    expect(report.ratio).toBeNaN();
    expect(await state.damping.item()).toBeCloseTo(1.5, 6);
    optimizer.dispose();
  });

  it("names data that are not finite, and options outside of their ranges", { timeout: 60_000 }, async () => {
    const problem: CurvatureProblem<{ w: Tensor }> = { loss: squaredError, model: (p, x) => x.dot(p.w) };
    const optimizer = hessianFree({ problem });
    const batch = { inputs: tensor([[Number.NaN, 1]]), targets: tensor([[1]]) };
    await expect(optimizer.step(optimizer.init({ w: random(1, [2, 1]) }), batch)).rejects.toThrow(/loss is NaN/);
    expect(() => hessianFree({ problem, damping: 0 })).toThrow(/damping 0,/);
    expect(() => hessianFree({ problem, maxIterations: 0 })).toThrow(/0 iterations/);
    optimizer.dispose();
  });
});

describe("the truncation rule", () => {
  it("ends where the model has all but stopped falling, and not before", () => {
    const falling = Array.from({ length: 40 }, (_, index) => -(1 - 0.5 ** index));
    const end = falling.findIndex((_, index) => isTruncated(falling.slice(0, index + 1), 5e-4));
    expect(end).toBeGreaterThan(10);
    expect(end).toBeLessThan(25);
    const steady = Array.from({ length: 40 }, (_, index) => -index);
    expect(isTruncated(steady, 5e-4)).toBe(false);
    expect(isTruncated(steady.slice(0, 5), 1)).toBe(false);
    expect(isTruncated(Array<number>(40).fill(1), 5e-4)).toBe(false);
  });
});
