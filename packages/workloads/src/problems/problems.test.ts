import { softmaxCrossEntropy } from "@thalweg/nn";
import { key, type Tensor, tensor, treeFlatten } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import type { Batch } from "../batching";
import { datasets } from "../datasets/registry";
import { describeProblem, parameterCount } from "../describe";
import { constant, dense, flatten, truncatedNormal } from "../models/network";
import { classification } from "./classification";
import { digits } from "./digits";
import { findProblem, problems } from "./registry";

const valuesOf = (x: Tensor): Float64Array => Float64Array.from(evaluateReference([x])[0]?.values ?? []);

/** A batch of images with grey values from a fixed formula. */
function batchFor(shape: readonly number[], count: number): Batch {
  const pixels = shape.reduce((product, extent) => product * extent, count);
  const images = Float32Array.from({ length: pixels }, (_, index) => ((index * 7919) % 256) / 255);
  const labels = Int32Array.from({ length: count }, (_, index) => index % 10);
  return { images: tensor(images, { shape: [count, ...shape] }), labels: tensor(labels) };
}

describe("the problems", () => {
  it.each([
    ["digits", 2_698],
    ["mnist_logreg", 7_850],
    ["mnist_mlp", 1_336_610],
    ["mnist_2c2d", 3_274_634],
    ["fmnist_logreg", 7_850],
    ["fmnist_mlp", 1_336_610],
    ["fmnist_2c2d", 3_274_634],
  ])("%s has %i parameters", (name, count) => {
    const problem = findProblem(name);
    expect(parameterCount(problem)).toBe(count);
    const { leaves } = treeFlatten<Tensor>(problem.init(key(1)).params);
    expect(leaves.reduce((sum, { size }) => sum + size, 0)).toBe(count);
  });

  it.each(Object.values(problems))("$name describes the parameters that it makes", (problem) => {
    const { leaves, paths } = treeFlatten<Tensor>(problem.init(key(1)).params);
    const made = leaves.map(({ shape }, index) => [paths[index]?.join("."), shape]);
    const described = problem.layers.flatMap(({ parameters }) => parameters.map(({ path, shape }) => [path, shape]));
    expect(described).toEqual(made);
    expect(Object.keys(datasets)).toContain(problem.dataset);
  });

  it.each([findProblem("digits"), findProblem("mnist_logreg")])(
    "$name gives the same losses by its outputs as by itself",
    ({ init, losses, predictor, dataset }) => {
      const { params, state } = init(key(1));
      const batch = batchFor(dataset === "digits" ? [16, 16, 1] : [28, 28, 1], 6);
      const whole = losses(params, state, batch, "eval", key(0)).perExample;
      if (predictor?.loss !== "crossEntropy") throw new Error("a classification has a predictor");
      const outputs = predictor.outputs(params, state, predictor.inputs(batch), "eval", key(0));
      const apart = softmaxCrossEntropy(outputs, predictor.targets(batch));
      expect(valuesOf(apart)).toEqual(valuesOf(whole));
    },
  );

  it("have the layers of the benchmark", () => {
    const shapes = (name: string) => findProblem(name).layers.map((layer) => [layer.name, ...layer.outputShape]);
    expect(shapes("mnist_mlp").filter(([name]) => String(name).startsWith("dense"))).toEqual([
      ["dense1", 1000],
      ["dense2", 500],
      ["dense3", 100],
      ["dense4", 10],
    ]);
    expect(shapes("fmnist_2c2d")).toEqual([
      ["conv1", 28, 28, 32],
      ["relu1", 28, 28, 32],
      ["pool1", 14, 14, 32],
      ["conv2", 14, 14, 64],
      ["relu2", 14, 14, 64],
      ["pool2", 7, 7, 64],
      ["flatten", 3136],
      ["dense1", 1024],
      ["relu3", 1024],
      ["dense2", 10],
    ]);
  });

  it("have the batch sizes and epochs of the benchmark", () => {
    const defaults = Object.values(problems).map(({ name, defaults: { batchSize, epochs, l2 } }) => [
      name,
      batchSize,
      epochs,
      l2,
    ]);
    expect(defaults).toEqual([
      ["digits", 64, 10, 0],
      ["mnist_logreg", 128, 50, 0],
      ["mnist_mlp", 128, 100, 0],
      ["mnist_2c2d", 128, 100, 0],
      ["fmnist_logreg", 128, 50, 0],
      ["fmnist_mlp", 128, 100, 0],
      ["fmnist_2c2d", 128, 100, 0],
    ]);
  });

  it("are described in words", () => {
    expect(describeProblem(findProblem("mnist_logreg"))).toMatchInlineSnapshot(`
      "mnist_logreg 1.2.0: logistic regression on MNIST
      data set mnist, batch size 128, 50 epochs, no L2
      flatten: flatten -> [784]
      dense: dense, 10 features -> [10]
        dense.kernel [784, 10] 7,840, constant 0
        dense.bias [10] 10, constant 0
      7,850 parameters"
    `);
  });

  it("are found by name, and unknown names get a suggestion", () => {
    expect(findProblem("digits")).toBe(digits);
    expect(() => findProblem("fmnist_mpl")).toThrow(
      'unknown workload "fmnist_mpl". Did you mean "fmnist_mlp"? Known are',
    );
    expect(() => findProblem("constructor")).toThrow('unknown workload "constructor". Known are digits,');
  });
});

describe("the initial parameters", () => {
  it("of logistic regression are 0", () => {
    const { leaves } = treeFlatten<Tensor>(findProblem("mnist_logreg").init(key(42)).params);
    expect(leaves.every((leaf) => valuesOf(leaf).every((value) => value === 0))).toBe(true);
  });

  it("differ between keys and agree for one key", () => {
    const first = (seed: number) => valuesOf(treeFlatten<Tensor>(digits.init(key(seed)).params).leaves[0] as Tensor);
    expect(first(1)).toEqual(first(1));
    expect(first(1)).not.toEqual(first(2));
  });
});

describe("the accuracy", () => {
  it("counts an example as right when its label has the largest logit", () => {
    const problem = findProblem("mnist_logreg");
    const bias = tensor(Float32Array.from({ length: 10 }, (_, index) => (index === 3 ? 5 : 0)));
    const params = { dense: { kernel: tensor(new Float32Array(7840), { shape: [784, 10] }), bias } };
    const { accuracy, perExample } = problem.losses(params, {}, batchFor([28, 28, 1], 20), "eval", key(0));
    // Labels run from 0 to 9 twice: two of twenty are 3.
    expect(valuesOf(accuracy as Tensor)[0]).toBeCloseTo(0.1, 6);
    const total = Math.log(9 + Math.exp(5));
    expect(valuesOf(perExample)[3]).toBeCloseTo(total - 5, 6);
    expect(valuesOf(perExample)[4]).toBeCloseTo(total, 6);
  });
});

describe("the regularizer", () => {
  const withL2 = (l2: number) =>
    classification({
      name: "toy",
      title: "toy",
      version: "1.0.0",
      dataset: "digits",
      defaults: { batchSize: 1, epochs: 1, l2 },
      inputShape: [2, 1, 1],
      layers: { flatten, dense: dense(2, { kernel: truncatedNormal(1), bias: constant(3) }) },
    });
  const params = {
    dense: {
      kernel: tensor([
        [1, 2],
        [3, 4],
      ]),
      bias: tensor([5, 6]),
    },
  };

  it("is half the factor times the squares of the kernels, never of the biases", () => {
    expect(valuesOf(withL2(0.1).regularizer(params))[0]).toBeCloseTo(0.5 * 0.1 * 30, 6);
    expect(valuesOf(withL2(0.1).regularizer(params, 2))[0]).toBeCloseTo(30, 5);
    expect(withL2(0.1).layers[1]?.parameters.map(({ decayed }) => decayed)).toEqual([true, false]);
  });

  it("is 0 for problems without L2, whatever the factor", () => {
    expect(valuesOf(withL2(0).regularizer(params, 2))[0]).toBe(0);
    expect(withL2(0).layers[1]?.parameters.map(({ decayed }) => decayed)).toEqual([false, false]);
  });
});
