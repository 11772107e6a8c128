import { type CurvatureProblem, squaredError } from "@thalweg/curvature";
import { init, key, normal, scalar, type Tensor, tensor } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { adam, trainWithEvidence } from "../src/index";

beforeAll(async () => void (await init()));

describe("training with evidence", () => {
  // y = 2 x₀ - x₁ + noise of 0.3; x₂ … x₅ say nothing, and have a weight of their own.
  const examples = 64;
  const inputs = normal(key(1), [examples, 6]);
  const column = (index: number): Tensor => inputs.slice([0, index], [examples, index + 1]);
  const targets = column(0)
    .mul(2)
    .sub(column(1))
    .add(normal(key(2), [examples, 1]).mul(0.3));
  const params = { useful: normal(key(3), [2, 1]), useless: normal(key(4), [4, 1]) };
  const problem: CurvatureProblem<typeof params> = {
    loss: squaredError,
    model: (p, x) =>
      x
        .slice([], [x.shape[0] as number, 2])
        .dot(p.useful)
        .add(x.slice([0, 2]).dot(p.useless)),
  };
  const batches = [0, 32].map((start) => ({
    inputs: inputs.slice([start, 0], [start + 32, 6]),
    targets: targets.slice([start, 0], [start + 32, 1]),
  }));

  it("finds the noise, and shrinks what the data do not need", { timeout: 240_000 }, async () => {
    const found = await trainWithEvidence({
      problem,
      params,
      optimizer: adam({ learningRate: 0.05 }),
      batches,
      epochs: 60,
      fitEvery: 5,
      start: { logPriorPrecision: tensor([0, 0]), logNoise: scalar(0) },
    });
    const noise = await (found.hyperparameters.logNoise as Tensor).exp().item();
    expect(noise).toBeGreaterThan(0.2);
    expect(noise).toBeLessThan(0.4);
    const [useful, useless] = await found.hyperparameters.logPriorPrecision.data();
    expect(useless as number).toBeGreaterThan((useful as number) + 1);
    expect(found.logEvidence.at(-1) as number).toBeGreaterThan(found.logEvidence[0] as number);
    expect([...(await found.params.useful.data())].map(Math.round)).toEqual([2, -1]);
    expect([...(await found.weightDecay.data())].every((value) => value > 0)).toBe(true);
  });

  it("says what is missing", async () => {
    const options = {
      problem,
      params,
      optimizer: adam(),
      batches,
      epochs: 2,
      burnIn: 2,
      start: { logPriorPrecision: scalar(0) },
    };
    await expect(trainWithEvidence(options)).rejects.toThrow(/2 epochs after a burn-in of 2/);
  });
});
