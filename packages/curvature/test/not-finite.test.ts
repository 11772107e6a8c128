import { init, scalar, type Tensor, tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { withGpuMaxima } from "../../../test/gpu-maxima";
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

const asOnGpus = (...trees: readonly unknown[]): number[] => withGpuMaxima(tensor([0, 1]), () => allNumbers(...trees));

const [params, data, at] = [paramsOf(), dataOf(), hyperparametersOf()];
const broken = { ...data, inputs: data.inputs.mul(tensor([Number.NaN, 1])) };

describe("limits", () => {
  const values = tensor([Number.NaN, -1, 0.5, 2, Number.NEGATIVE_INFINITY]);

  it("of a maximum hide NaN here, and those of this package do not", () => {
    expect(asOnGpus(values.maximum(1))).toEqual([1, 1, 1, 2, 1]);
    expect(asOnGpus(atLeast(values, 1))).toEqual([Number.NaN, 1, 1, 2, Number.NEGATIVE_INFINITY]);
  });

  it("the largest of elements that are not finite is NaN", () => {
    expect(asOnGpus(values.max(), largest(values), largest(tensor([1, 3, 2])))).toEqual([2, Number.NaN, 3]);
  });
});

describe("curvature that is not finite", () => {
  it.each(structures)("has no log determinant: %s", (structure) => {
    const { evidence } = laplace(regression, params, broken, { structure });
    expect(asOnGpus(evidence(at).logDeterminantRatio)).toEqual([Number.NaN]);
  });

  it.each([
    [["W", "b"], "separate"],
    [["W", "b"], "joint"],
    [["scale", "shift"], "separate"],
    [["scale"], "separate"],
  ] as const)("has none in the blocks of %s, bias %s", (parameters, bias) => {
    const { evidence } = laplace(regression, params, broken, { parameters, bias });
    expect(asOnGpus(evidence(at).logDeterminantRatio)).toEqual([Number.NaN]);
  });

  it.each(dampingRules)("makes steps that are not finite: %s", (rule) => {
    const { blocks, evaluate } = kroneckerCurvature(regression, params, broken);
    const { factors } = evaluate(params, broken);
    const { gradients } = evaluate(params, data);
    const lambda = scalar(1e-3);
    const step = precondition(blocks, invertFactors(blocks, factors, lambda, rule), gradients, lambda);
    expect(asOnGpus({ ...step, c: null }).every(Number.isNaN)).toBe(true);
  });

  it("a damping that is NaN does too", () => {
    const { blocks, evaluate } = kroneckerCurvature(regression, params, data);
    const { factors, gradients } = evaluate(params, data);
    const lambda = scalar(Number.NaN);
    const step = precondition(blocks, invertFactors(blocks, factors, lambda, "exactKronecker"), gradients, lambda);
    expect(asOnGpus(step).every(Number.isNaN)).toBe(true);
  });
});

it("covariances that are not finite make no concentrations", () => {
  const covariance = tensor([Number.NaN, 0, 0, 1]).reshape([1, 2, 2]);
  expect(asOnGpus(laplaceBridge(tensor([[1, 2]]), covariance))).toEqual([Number.NaN, Number.NaN]);
});

describe("choices after training", { timeout: 120_000 }, () => {
  beforeAll(async () => void (await init()));

  it("from a NaN are no fixed point", async () => {
    const posterior = laplace(regression, params, data, { structure: "diagonal" });
    const start: Tensor = scalar(Number.NaN);
    await expect(fixedPointHyperparameters(posterior, { logPriorPrecision: start })).rejects.toThrow(/not finite/);
  });
});
