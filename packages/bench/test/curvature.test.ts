import { hvp, valueAndGrad } from "@thalweg/autograd";
import { crossEntropy, flattenTree, ggnOperator } from "@thalweg/curvature";
import { kfac, optimizers, type Refresh } from "@thalweg/optim";
import { init, key, normal, type Tensor, tensor, treeLeaves, uniform } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { datasetTensors, findProblem, loadDataset, type TensorTree, type TestProblem } from "@thalweg/workloads";
import { describe, expect, it } from "vitest";
import { configureRun } from "../src/run/configuration";
import { problemCurvature } from "../src/run/curvature";
import { createPrograms, initialState, runKeys } from "../src/run/programs";
import { linear } from "./linear-problem";

const numbers = (tree: unknown): number[] =>
  evaluateReference(treeLeaves<Tensor>(tree)).flatMap(({ values }) => Array.from(values));

const distance = (a: readonly number[], b: readonly number[]): number =>
  Math.hypot(...a.map((value, index) => value - (b[index] as number)));

const problem = linear as unknown as TestProblem;
const dataset = await loadDataset("digits");

describe("a step with curvature", () => {
  const l2 = 0.3;
  const curvature = problemCurvature({ problem, dataset, optimizer: kfac({ fisher: "empirical" }), l2 });
  const params: TensorTree = { kernel: normal(key(1), [256, 10]).mul(0.1), bias: normal(key(2), [10]) };
  const batch = {
    images: uniform(key(3), [4, 16, 16, 1]),
    labels: tensor(Int32Array.from([3, 1, 4, 1])),
  };
  const step = curvature?.at({ params, model: {}, batch, key: key(4) });
  const lossOf = (at: TensorTree): Tensor =>
    problem.losses(at, {}, batch, "train", key(4)).perExample.mean().add(problem.regularizer(at, l2));

  it("has loss, gradient and accuracy of the usual one, regularizer included", () => {
    const [loss, gradients] = valueAndGrad(lossOf)(params);
    const expected = numbers([loss, gradients, problem.losses(params, {}, batch, "train", key(4)).accuracy]);
    const actual = numbers([step?.loss, step?.gradients, step?.accuracy]);
    expect(distance(actual, expected)).toBeLessThan(1e-10 * Math.hypot(...expected));
  });

  it("has the quadratic forms of the exact Gauss-Newton matrix with the regularizer", () => {
    const direction: TensorTree = { kernel: normal(key(5), [256, 10]), bias: normal(key(6), [10]) };
    const [actual] = numbers(step?.curvature.forms([direction]));
    const data = {
      loss: crossEntropy,
      model: (p: TensorTree, x: Tensor) => problem.predictor?.outputs(p, {}, x, "train", key(4)) as Tensor,
    };
    const product = ggnOperator(data, params, { inputs: batch.images, targets: batch.labels }).apply(direction);
    const penalty = hvp((at: TensorTree) => problem.regularizer(at, l2), params, direction);
    const flat = flattenTree(direction);
    const [expected] = numbers(flat.dot(flattenTree(product).add(flattenTree(penalty))));
    expect(actual).toBeCloseTo(expected as number, 6);
  });

  it("measures the first examples alone where an optimizer asks for so many", () => {
    const few = { images: batch.images.slice([0], [2]), labels: batch.labels.slice([0], [2]) };
    const of = (factorExamples: number, own: typeof batch) => {
      const optimizer = kfac({ fisher: "empirical", factorExamples });
      const measuring = problemCurvature({ problem, dataset, optimizer, l2 });
      return measuring?.at({ params, model: {}, batch: own, key: key(4) });
    };
    const [part, alone] = [of(2, batch), of(0, few)];
    const expected = numbers(alone?.curvature.factors);
    expect(distance(numbers(part?.curvature.factors), expected)).toBeLessThan(1e-12 * Math.hypot(...expected));
    expect(numbers([part?.loss, part?.gradients])).toEqual(numbers([step?.loss, step?.gradients]));
  });

  it("is refused before anything runs where a problem cannot give it", () => {
    const ask = (own: TestProblem) => () => problemCurvature({ problem: own, dataset, optimizer: kfac(), l2: 0 });
    expect(ask({ ...problem, predictor: undefined })).toThrow(/loss sees more than outputs and targets/);
    expect(ask({ ...problem, coupled: true })).toThrow(/see their batch/);
    expect(problemCurvature({ problem, dataset, optimizer: optimizers.sgd?.create() as never, l2: 0 })).toBeUndefined();
  });
});

describe("the programs of K-FAC on the digits' network", () => {
  it("share one forward and one backward pass with the gradient: what is added are the products of the factors", {
    timeout: 120_000,
  }, async () => {
    await init({ notice: () => {} });
    const digits = findProblem("digits");
    const hyperparameters = { fisher: "empirical", factorInterval: 2 };
    const { batchSize } = configureRun(digits, dataset, { optimizer: "kfac", hyperparameters }, {}, 0);
    const optimizer = kfac({ fisher: "empirical", factorInterval: 2 });
    const programs = createPrograms({ problem: digits, dataset, optimizer, batchSize, l2: 0, trainLogInterval: 10 });
    const [keys, data] = [runKeys(0), datasetTensors(dataset)];
    const state = initialState(programs.parts, keys);
    const work = async (refresh: Refresh) => {
      await programs.step.prepare(state, data, keys, refresh);
      const { dispatches, kernels } = programs.step.statistics();
      return { dispatches, flops: kernels.reduce((sum, { flops, runs }) => sum + flops * runs, 0) };
    };
    const [plain, measuring] = [await work(false), await work("only factors")];
    // Positions times squares of the sides of every layer, a multiplication and an addition each: the first counts pixels.
    const positions = [14 * 14 * batchSize, 5 * 5 * batchSize, batchSize] as const;
    const sides = [
      [9, 8],
      [72, 16],
      [144, 10],
    ] as const;
    const products = sides.reduce(
      (sum, [ins, outs], layer) => sum + 2 * (positions[layer] as number) * (ins ** 2 + outs ** 2),
      0,
    );
    // A second forward pass would be a quarter of these products.
    expect(measuring.flops - plain.flops).toBeLessThan(1.15 * products);
    expect(measuring.flops - plain.flops).toBeGreaterThan(0.5 * products);
    expect(measuring.dispatches - plain.dispatches).toBeLessThan(10);
    expect(await work(false)).toEqual(plain);
    programs.dispose();
  });
});
