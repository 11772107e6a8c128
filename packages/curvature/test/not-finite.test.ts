import { init, scalar, type Tensor, tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { atLeast, largest } from "../src/clipping";
import {
  dampingRules,
  fixedPointHyperparameters,
  invertFactors,
  kroneckerCurvature,
  laplace,
  laplaceBridge,
  precondition,
} from "../src/index";
import { dataOf, hyperparametersOf, paramsOf, regression, structures } from "./laplace-models";
import { allNumbers } from "./numbers";

const [params, data, at] = [paramsOf(), dataOf(), hyperparametersOf()];
const broken = { ...data, inputs: data.inputs.mul(tensor([Number.NaN, 1])) };

describe("limits", () => {
  const values = tensor([Number.NaN, -1, 0.5, 2, Number.NEGATIVE_INFINITY]);

  it("of a maximum hide a negative infinity, and those of this package do not", () => {
    expect(allNumbers(values.maximum(1))).toEqual([Number.NaN, 1, 1, 2, 1]);
    expect(allNumbers(atLeast(values, 1))).toEqual([Number.NaN, 1, 1, 2, Number.NEGATIVE_INFINITY]);
  });

  it("the largest of elements that are not finite is NaN", () => {
    const infinite = tensor([1, Number.NEGATIVE_INFINITY, 2]);
    expect(allNumbers(infinite.max(), largest(infinite), largest(values), largest(tensor([1, 3, 2])))).toEqual([
      2,
      Number.NaN,
      Number.NaN,
      3,
    ]);
  });
});

describe("curvature that is not finite", () => {
  it.each(structures)("has no log determinant: %s", (structure) => {
    const { evidence } = laplace(regression, params, broken, { structure });
    expect(allNumbers(evidence(at).logDeterminantRatio)).toEqual([Number.NaN]);
  });

  it.each([
    [["W", "b"], "separate"],
    [["W", "b"], "joint"],
    [["scale", "shift"], "separate"],
    [["scale"], "separate"],
  ] as const)("has none in the blocks of %s, bias %s", (parameters, bias) => {
    const { evidence } = laplace(regression, params, broken, { parameters, bias });
    expect(allNumbers(evidence(at).logDeterminantRatio)).toEqual([Number.NaN]);
  });

  it.each(dampingRules)("makes steps that are not finite: %s", (rule) => {
    const { blocks, evaluate } = kroneckerCurvature(regression, params, broken);
    const { factors } = evaluate(params, broken);
    const { gradients } = evaluate(params, data);
    const lambda = scalar(1e-3);
    const step = precondition(blocks, invertFactors(blocks, factors, lambda, rule), gradients, lambda);
    expect(allNumbers({ ...step, c: null }).every(Number.isNaN)).toBe(true);
  });

  it("a damping that is NaN does too", () => {
    const { blocks, evaluate } = kroneckerCurvature(regression, params, data);
    const { factors, gradients } = evaluate(params, data);
    const lambda = scalar(Number.NaN);
    const step = precondition(blocks, invertFactors(blocks, factors, lambda, "exactKronecker"), gradients, lambda);
    expect(allNumbers(step).every(Number.isNaN)).toBe(true);
  });
});

it("covariances that are not finite make no concentrations", () => {
  const covariance = tensor([Number.NaN, 0, 0, 1]).reshape([1, 2, 2]);
  expect(allNumbers(laplaceBridge(tensor([[1, 2]]), covariance))).toEqual([Number.NaN, Number.NaN]);
});

describe("choices after training", { timeout: 120_000 }, () => {
  beforeAll(async () => void (await init()));

  it("from a NaN are no fixed point", async () => {
    const posterior = laplace(regression, params, data, { structure: "diagonal" });
    const start: Tensor = scalar(Number.NaN);
    await expect(fixedPointHyperparameters(posterior, { logPriorPrecision: start })).rejects.toThrow(/not finite/);
  });
});
