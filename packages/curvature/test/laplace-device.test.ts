import { grad } from "@thalweg/autograd";
import { init, scalar, type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type CurvatureProblem,
  crossEntropy,
  fixedPointHyperparameters,
  gridSearchPriorPrecision,
  type LaplaceHyperparameters,
  laplace,
  largestVariances,
  logPredictiveDensity,
  selectHyperparameters,
} from "../src/index";
import { dataOf, hyperparametersOf, paramsOf, regression } from "./laplace-models";
import { deviceNumbers, distance, norm, type Params, random } from "./numbers";

beforeAll(async () => void (await init()));

const params = paramsOf();
const data = dataOf();
const at = hyperparametersOf();
const start = { logPriorPrecision: scalar(0) };

const slopesAt = (posterior: ReturnType<typeof laplace<Params, Tensor>>, own: LaplaceHyperparameters) =>
  deviceNumbers(grad((each: LaplaceHyperparameters) => posterior.evidence(each).logEvidence)(own));

it("the functional form is the full one in f32", { timeout: 200_000 }, async () => {
  const [full, functional] = (["full", "functional"] as const).map((structure) => {
    const posterior = laplace(regression, params, data, { structure });
    return [posterior.evidence(at).logEvidence, posterior.predictVariance(random(9, [3, 2]), at).variance];
  }) as [Tensor[], Tensor[]];
  const [own, other] = [await deviceNumbers(functional), await deviceNumbers(full)];
  // A few dozen sums of f32, and a condition of about a hundred.
  own.forEach((values, index) => {
    expect(distance(values, other[index] as number[])).toBeLessThan(1e-5 * norm(values));
  });
});

it("a last layer of 104 classes has variances on the device too", { timeout: 200_000 }, async () => {
  const classes = 104;
  const wide: Params = { V: random(13, [classes, 3]), c: random(14, [classes]) };
  const problem: CurvatureProblem<Params> = {
    loss: crossEntropy,
    model: (p, x) => x.matmul((p.V as Tensor).transpose()).add(p.c as Tensor),
  };
  const batch = { inputs: random(15, [4, 3]), targets: tensor(Int32Array.from([3, 50, 103, 0])) };
  const posterior = laplace(problem, wide, batch);
  const { variance } = posterior.predictVariance(batch.inputs, start);
  const exact = evaluateReference([variance])[0]?.values as Float64Array;
  const [found] = (await deviceNumbers([variance])) as [number[]];
  // Eigenvectors of f32 turn by rounding over the gap; the variances feel their error in the norm only.
  expect(distance(found, [...exact])).toBeLessThan(1e-4 * norm(found));
});

it("the widest parameters are found, and a posterior of a single one is a number", { timeout: 200_000 }, async () => {
  const diagonal = laplace(regression, params, data, { structure: "diagonal" });
  const variances = await deviceNumbers(diagonal.variances(at));
  const widest = Math.max(...variances.flat());
  const leaf = variances.findIndex((values) => values.includes(widest));
  const found = await largestVariances(diagonal, at, 1);
  expect(found).toEqual({ [Object.keys(params)[leaf] as string]: [variances[leaf]?.indexOf(widest)] });
  const single = laplace(regression, params, data, { structure: "full", parameters: found });
  const own = (await deviceNumbers(single.variances(at))).flat().filter((value) => value !== 0);
  expect(own).toHaveLength(1);
  expect((own[0] as number) / widest).toBeCloseTo(1, 5);
  const several = await largestVariances(diagonal, at, 7);
  expect(Object.values(several).flat()).toHaveLength(7);
  await expect(largestVariances(diagonal, at, 24)).rejects.toThrow(/24 of 23/);
});

describe("choices after training", { timeout: 240_000 }, () => {
  it.each([
    ["for each tensor", { structure: "diagonal" }, { logPriorPrecision: tensor([0, 0, 0, 0, 0, 0]) }],
    ["for each joint layer", { bias: "joint" }, { logPriorPrecision: tensor([0, 0, 0, 0, 0, 0]) }],
    ["for damped factors", { dampingRule: "sqrtBoth" }, { logPriorPrecision: tensor([0, 0, 0, 0, 0, 0]) }],
    ["for a scalar and the noise", { structure: "full" }, { logPriorPrecision: scalar(0), logNoise: scalar(0) }],
  ] as const)("MacKay's fixed point is where the evidence has no slope, %s", async (_, options, start) => {
    const posterior = laplace(regression, params, data, options);
    const found = await fixedPointHyperparameters(posterior, start, { steps: 1000, tolerance: 1e-5 });
    expect(found.isConverged).toBe(true);
    expect(found.effectiveParameters).toHaveLength(6);
    // ½ (γ - δ ‖θ‖²), and for the noise ‖f - y‖² / σ² - (numbers - γ): both change by no more than the last update.
    const slopes = (await slopesAt(posterior, found.hyperparameters)).flat();
    expect(Math.max(...slopes.map(Math.abs))).toBeLessThan(2e-3);
  });

  it("fixed tensors keep their numbers, and do not count for a scalar", async () => {
    const posterior = laplace(regression, params, data, { structure: "full", parameters: ["V", "c"] });
    const scalarOne = await fixedPointHyperparameters(posterior, { logPriorPrecision: scalar(0) });
    expect(scalarOne.isConverged).toBe(true);
    const [[gamma], [first, second], [log]] = (await deviceNumbers([
      posterior.effectiveParameters(scalarOne.hyperparameters),
      posterior.squaredNorms,
      scalarOne.hyperparameters.logPriorPrecision,
    ])) as [[number], [number, number], [number]];
    expect((Math.exp(log) * (first + second)) / gamma).toBeCloseTo(1, 3);
    const vector = await fixedPointHyperparameters(posterior, { logPriorPrecision: tensor([5, 5, 5, 5, 0, 0]) });
    const [logs] = (await deviceNumbers([vector.hyperparameters.logPriorPrecision])) as [number[]];
    expect(logs.slice(0, 4)).toEqual([5, 5, 5, 5]);
    await expect(fixedPointHyperparameters(posterior, { logPriorPrecision: tensor([1, 2]) })).rejects.toThrow(
      /2 prior precisions/,
    );
  });

  it("a grid search finds the δ of the most probable validation data", async () => {
    const posterior = laplace(regression, params, data, { structure: "diagonal" });
    const inputs = random(61, [4, 2]);
    const validation = { inputs, targets: regression.model(params, inputs) };
    const grid = [0.01, 1, 100];
    const { hyperparameters, scores } = await gridSearchPriorPrecision(posterior, validation, { grid });
    const expected = await deviceNumbers(
      grid.map((delta) =>
        logPredictiveDensity(posterior, validation, { logPriorPrecision: scalar(Math.log(delta)) }).mean(),
      ),
    );
    expect(distance(scores, expected.flat())).toBeLessThan(1e-5 * norm(scores));
    // The validation data are what the mean says: the surer, the better.
    expect(await hyperparameters.logPriorPrecision.item()).toBeCloseTo(Math.log(100), 5);
    await expect(gridSearchPriorPrecision(posterior, validation, { grid: [0] })).rejects.toThrow(/δ 0/);
  });

  it("a cosine ends closer to the maximum than a constant rate", async () => {
    const posterior = laplace(regression, params, data, { structure: "diagonal" });
    const start = { logPriorPrecision: scalar(3), logNoise: scalar(1) };
    const slopeOf = async (schedule: "constant" | "cosine"): Promise<number> => {
      const options = { steps: 60, learningRate: 0.3, schedule };
      const { hyperparameters } = await selectHyperparameters(posterior, start, options);
      return norm((await slopesAt(posterior, hyperparameters)).flat());
    };
    expect(await slopeOf("cosine")).toBeLessThan(await slopeOf("constant"));
  });
});

describe("what can go wrong", { timeout: 200_000 }, () => {
  const spoiled = (x: Tensor): Tensor => x.mul(tensor([Number.NaN, 1]));

  it("NaN in inputs or targets is said, not used", async () => {
    const wrongTargets = { ...data, targets: spoiled(data.targets) };
    const first = laplace(regression, params, wrongTargets, { structure: "diagonal" });
    await expect(selectHyperparameters(first, start)).rejects.toThrow(/the loss is not finite/);
    const wrongInputs = { ...data, inputs: spoiled(data.inputs) };
    const second = laplace(regression, params, wrongInputs, { structure: "diagonal" });
    await expect(fixedPointHyperparameters(second, start)).rejects.toThrow(/is not finite. Look for NaN/);
  });

  it("a model that looks at other examples is refused", async () => {
    const normalized: CurvatureProblem<Params> = {
      ...regression,
      model: (p, x) => {
        const y = regression.model(p, x);
        return y.sub(y.mean({ axis: 0, keepDims: true }));
      },
    };
    await expect(laplace(normalized, params, data, { structure: "diagonal" }).realize()).rejects.toThrow(
      /batch norm with running statistics/,
    );
  });

  it("a class that is ruled out by an infinite logit is none of them", async () => {
    const masked: CurvatureProblem<Params> = {
      loss: crossEntropy,
      model(p, x) {
        const logits = x.matmul((p.W as Tensor).transpose());
        return tensor([true, true, false]).expand(logits.shape).where(logits, Number.NEGATIVE_INFINITY);
      },
    };
    const batch = { inputs: data.inputs, targets: tensor(Int32Array.from([0, 1, 1, 0, 1])) };
    const posterior = laplace(masked, { W: params.W as Tensor }, batch);
    await posterior.realize();
    const [[row]] = (await deviceNumbers([posterior.variances({ logPriorPrecision: scalar(1) }).W])) as [number[]];
    expect(row).toBeGreaterThan(0);
  });

  it("a curvature that f32 cannot resolve comes with a warning", async () => {
    const linear: CurvatureProblem<Params> = { ...regression, model: (p, x) => x.matmul((p.W as Tensor).transpose()) };
    const large = { inputs: data.inputs.mul(1e4), targets: random(74, [5, 3]) };
    const posterior = laplace(linear, { W: params.W as Tensor }, large, { structure: "full" });
    const { warnings } = await selectHyperparameters(posterior, start, { steps: 1 });
    expect(warnings).toEqual([expect.stringMatching(/condition of about .*lost in the rounding of f32/)]);
  });
});
