import { vmap } from "@thalweg/autograd";
import { type Key, key, normal, split, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { applyUpdates, chain, evalParams, sgd, swag, swagPosterior } from "../src/index";

const numbers = (tree: unknown): number[] =>
  evaluateReference(treeLeaves<Tensor>(tree)).flatMap(({ values }) => Array.from(values));

describe("swag", () => {
  const rank = 3;
  const options = { start: 2, every: 2, rank };
  const optimizer = chain(sgd({ learningRate: 1 }), swag(options));
  type Params = { readonly a: Tensor; readonly b: Tensor };
  const first: Params = { a: tensor([1, -2]), b: tensor([[0.5]]) };

  /** The points of training after each step, and the state after the last; the gradients are drawn. */
  function run(steps: number) {
    let params = first;
    let state = optimizer.init(params);
    const points: number[][] = [];
    for (let step = 0; step < steps; step++) {
      const gradients = { a: normal(key(2 * step), [2]), b: normal(key(2 * step + 1), [1, 1]) };
      const [updates, next] = optimizer.update(gradients, state, params);
      params = applyUpdates(params, updates);
      state = next;
      points.push(numbers(params));
    }
    return { params, state, points };
  }

  // Steps 2, 4, 6, 8 and 10, of which three deviations are kept.
  const { params, state, points } = run(11);
  const collected = points.filter((_, step) => (step + 1) % 2 === 0);
  const meanOf = (list: readonly (readonly number[])[]): number[] =>
    [0, 1, 2].map((at) => list.reduce((sum, point) => sum + (point[at] as number), 0) / list.length);
  const mean = meanOf(collected);
  const deviations = collected.map((point, index) => {
    const running = meanOf(collected.slice(0, index + 1));
    return point.map((value, at) => value - (running[at] as number));
  });
  const covariance = [0, 1, 2].map((i) =>
    [0, 1, 2].map((j) => {
      const low = deviations.slice(-rank).reduce((sum, d) => sum + (d[i] as number) * (d[j] as number), 0);
      const squares = collected.reduce((sum, point) => sum + ((point[i] as number) - (mean[i] as number)) ** 2, 0);
      return low / (2 * (rank - 1)) + (i === j ? squares / collected.length / 2 : 0);
    }),
  );
  const posterior = swagPosterior<Params>(state);

  it("has the mean and the variances of Maddox et al., section 3.2", () => {
    expect(numbers(posterior.points)).toEqual([5]);
    numbers(posterior.mean).forEach((value, at) => expect(value).toBeCloseTo(mean[at] as number, 9));
    numbers(posterior.variances).forEach((value, at) => expect(value).toBeCloseTo(covariance[at]?.[at] as number, 9));
    expect(numbers(evalParams(optimizer, state, params))).toEqual(numbers(posterior.mean));
  });

  it("draws have its covariance, times a scale", () => {
    const count = 4000;
    const scale = 0.5;
    const drawn = vmap((own: Key) => posterior.sample(own, { scale }))(split(key(99), count));
    const [a, b] = treeLeaves<Tensor>(drawn).map((leaf) => numbers(leaf)) as [number[], number[]];
    const rows = Array.from({ length: count }, (_, n) => [a[2 * n], a[2 * n + 1], b[n]] as number[]);
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j <= i; j++) {
        const at = (row: readonly number[], index: number) => (row[index] as number) - (mean[index] as number);
        const found = rows.reduce((sum, row) => sum + at(row, i) * at(row, j), 0) / count;
        const own = (p: number, q: number): number => scale * (covariance[p]?.[q] as number);
        // Five standard errors.
        const error = 5 * Math.sqrt((own(i, i) * own(j, j) + own(i, j) ** 2) / count);
        expect(Math.abs(found - own(i, j))).toBeLessThan(error);
      }
    }
  });

  it("fewer points than its rank have a covariance of those there are, and one has none", () => {
    const two = swagPosterior<Params>(run(4).state);
    const point = points.slice(0, 4).filter((_, step) => step % 2 === 1) as [number[], number[]];
    const half = (at: number): number => ((point[0][at] as number) - (point[1][at] as number)) / 2;
    // Deviations 0 and half the distance; variances half the distance squared.
    numbers(two.variances).forEach((value, at) => expect(value).toBeCloseTo(half(at) ** 2 / 2 + half(at) ** 2 / 2, 9));
    const one = swagPosterior<Params>(run(2).state);
    expect(numbers(one.variances)).toEqual([0, 0, 0]);
    expect(numbers(one.sample(key(1)))).toEqual(numbers(one.mean));
  });

  it("says what is wrong", () => {
    expect(() => swag({ rank: 1 })).toThrow(/swag: rank/);
    expect(() => swagPosterior(sgd().init(first))).toThrow(/has no moments. Put swag last/);
    expect(() => posterior.sample(key(1), { scale: -1 })).toThrow(/scale -1/);
  });
});
