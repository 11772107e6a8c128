import { init, softmax, type Tensor, tensor } from "@thalweg/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type Batch,
  type CurvatureProblem,
  crossEntropy,
  type HessianDiagonalOptions,
  hessianDiagonal,
  hessianOperator,
  perSampleHessianDiagonal,
  squaredError,
  toDense,
} from "../src/index";
import { allNumbers, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

/** The diagonal of the dense matrix of Σ ℓ, in float64. */
function denseDiagonal(problem: CurvatureProblem<Params>, params: Params, batch: Batch): number[] {
  const dense = toDense(hessianOperator({ ...problem, reduction: "sum" }, params, batch));
  const size = dense.shape[0] as number;
  const values = allNumbers(dense);
  return Array.from({ length: size }, (_, index) => values[index * size + index] as number);
}

function expectExact(
  problem: CurvatureProblem<Params>,
  params: Params,
  batch: Batch,
  options: HessianDiagonalOptions = {},
): void {
  const expected = denseDiagonal(problem, params, batch);
  const own = allNumbers(hessianDiagonal(problem, params, batch, options));
  const scale = Math.hypot(...expected);
  expect(scale).toBeGreaterThan(0);
  expect(own).toHaveLength(expected.length);
  expect(Math.hypot(...own.map((value, index) => value - (expected[index] as number)))).toBeLessThan(1e-10 * scale);
}

const classes = (count: number): Tensor => tensor(Int32Array.from({ length: count }, (_, index) => index % 3));

describe("the diagonal of the Hessian is that of the dense matrix", () => {
  it("for dense layers of any width, bias or not, in chunks of any size", { timeout: 120_000 }, () => {
    const cases = fc.record({
      ins: fc.integer({ min: 1, max: 5 }),
      hidden: fc.integer({ min: 1, max: 5 }),
      positions: fc.integer({ min: 1, max: 7 }),
      hasBias: fc.boolean(),
      chunk: fc.integer({ min: 1, max: 9 }),
      seed: fc.integer({ min: 0, max: 1000 }),
    });
    fc.assert(
      fc.property(cases, ({ ins, hidden, positions, hasBias, chunk, seed }) => {
        const params: Params = {
          w: random(seed, [ins, hidden]),
          ...(hasBias && { b: random(seed + 1, [hidden]) }),
          head: random(seed + 2, [hidden, 3]),
        };
        const problem: CurvatureProblem<Params> = {
          loss: crossEntropy,
          model(p, x) {
            const s = x.dot(p.w as Tensor);
            const h = (p.b === undefined ? s : s.add(p.b)).tanh().sum({ axis: 1 });
            return h.dot(p.head as Tensor);
          },
        };
        const batch = { inputs: random(seed + 3, [3, positions, ins]), targets: classes(3) };
        expectExact(problem, params, batch, { chunk });
      }),
      { numRuns: 10 },
    );
  });

  it("for a weight used twice, a bias used elsewhere too, norms, a lookup and what the loss ignores", () => {
    const params: Params = {
      table: random(1, [5, 4]),
      twice: random(2, [4, 4]),
      bias: random(3, [4]),
      scale: random(4, [4]),
      shift: random(5, [4]),
      head: random(6, [4, 3]),
      ignored: random(7, [2]),
    };
    const problem: CurvatureProblem<Params> = {
      loss: crossEntropy,
      model(p, tokens) {
        const vectors = (p.table as Tensor).gather(tokens, { axis: 0 });
        const once = vectors
          .dot(p.twice as Tensor)
          .add(p.bias as Tensor)
          .tanh();
        const normed = once
          .sub(once.mean({ axis: -1, keepDims: true }))
          .mul(p.scale as Tensor)
          .add(p.shift as Tensor);
        const again = normed.dot(p.twice as Tensor).mul((p.bias as Tensor).sigmoid());
        return softmax(again, { axis: 1 })
          .mul(again)
          .sum({ axis: 1 })
          .dot(p.head as Tensor);
      },
    };
    const batch = { inputs: tensor(Int32Array.from([0, 1, 1, 4, 2, 0])).reshape([3, 2]), targets: classes(3) };
    expectExact(problem, params, batch, { chunk: 3 });
    const { ignored } = hessianDiagonal(problem, params, batch);
    expect(allNumbers(ignored)).toEqual([0, 0]);
  });

  it("for every example by itself, and on the device", { timeout: 120_000 }, async () => {
    const params: Params = { w: random(1, [4, 3]), b: random(2, [3]), head: random(3, [3, 2]) };
    const problem: CurvatureProblem<Params> = {
      loss: squaredError,
      model: (p, x) =>
        x
          .dot(p.w as Tensor)
          .add(p.b as Tensor)
          .tanh()
          .dot(p.head as Tensor),
    };
    const batch = { inputs: random(4, [3, 4]), targets: random(5, [3, 2]) };
    const single = perSampleHessianDiagonal(problem, params, batch);
    const found = allNumbers(single);
    for (let example = 0; example < 3; example++) {
      const one = {
        inputs: random(4, [3, 4]).slice([example, 0], [example + 1, 4]),
        targets: random(5, [3, 2]).slice([example, 0], [example + 1, 2]),
      };
      const expected = denseDiagonal(problem, params, one);
      const sizes = [12, 3, 6];
      const own = sizes.flatMap((size, leaf) => {
        const start = 3 * sizes.slice(0, leaf).reduce((sum, each) => sum + each, 0) + example * size;
        return found.slice(start, start + size);
      });
      own.forEach((value, index) => expect(value).toBeCloseTo(expected[index] as number, 10));
    }
    const device = await hessianDiagonal(problem, params, batch).w?.data();
    const sums = Array.from({ length: 12 }, (_, index) =>
      [0, 1, 2].reduce((sum, example) => sum + (found[example * 12 + index] as number), 0),
    );
    sums.forEach((value, index) => expect(device?.[index]).toBeCloseTo(value, 4));
  });

  it("says what it would cost where that is too much", () => {
    const params: Params = { w: random(1, [4, 3]), head: random(2, [3, 2]) };
    const problem: CurvatureProblem<Params> = {
      loss: squaredError,
      model: (p, x) =>
        x
          .dot(p.w as Tensor)
          .tanh()
          .dot(p.head as Tensor),
    };
    const batch = { inputs: random(4, [3, 4]), targets: random(5, [3, 2]) };
    expect(() => hessianDiagonal(problem, params, batch, { limit: 4 })).toThrow(
      /5 products with the Hessian for each example \(3 for w, 2 for head\) are more than 4/,
    );
    expect(() => hessianDiagonal(problem, params, batch, { chunk: 0 })).toThrow(/0 products in a chunk/);
  });
});
