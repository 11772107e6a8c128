import { type CurvatureProblem, crossEntropy, laplace, squaredError } from "@thalweg/curvature";
import { evaluate, init, key, normal, scalar, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { adam, type EvidenceCheckpoint, sgd, trainWithEvidence } from "../src/index";

beforeAll(async () => void (await init()));

async function numbers(tree: unknown): Promise<number[]> {
  const leaves = treeLeaves<Tensor>(tree);
  await evaluate(leaves);
  return (await Promise.all(leaves.map(async (leaf) => Array.from(await leaf.data())))).flat();
}

describe("training with evidence", { timeout: 240_000 }, () => {
  // y = 2 x₀ - x₁ + noise of 0.3; x₂ … x₅ say nothing, and have a weight of their own.
  const examples = 64;
  const inputs = normal(key(1), [examples, 6]);
  const column = (index: number): Tensor => inputs.slice([0, index], [examples, index + 1]);
  const targets = column(0)
    .mul(2)
    .sub(column(1))
    .add(normal(key(2), [examples, 1]).mul(0.3));
  const params = { useful: normal(key(3), [2, 1]), useless: normal(key(4), [4, 1]) };
  type Params = typeof params;
  const problem: CurvatureProblem<Params> = {
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
  const optimizer = adam({ learningRate: 0.05 });

  it("finds the noise, and shrinks what the data do not need, and says so of each layer", async () => {
    const found = await trainWithEvidence({ problem, params, optimizer, batches, epochs: 60, fitEvery: 5 });
    const noise = await (found.hyperparameters.logNoise as Tensor).exp().item();
    expect(noise).toBeGreaterThan(0.2);
    expect(noise).toBeLessThan(0.4);
    const [useful, useless] = await found.hyperparameters.logPriorPrecision.data();
    expect(useless as number).toBeGreaterThan((useful as number) + 1);
    expect(found.logEvidence.at(-1) as number).toBeGreaterThan(found.logEvidence[0] as number);
    expect(found.logEvidence[found.bestEpoch / 5 - 1]).toBe(Math.max(...found.logEvidence));
    expect([...(await found.params.useful.data())].map(Math.round)).toEqual([2, -1]);

    const [first, second] = found.layers as [(typeof found.layers)[0], (typeof found.layers)[0]];
    expect([first.name, first.parameters, second.name, second.parameters]).toEqual(["useful", 2, "useless", 4]);
    expect(first.effectiveParameters).toBeGreaterThan(1.9);
    expect(second.effectiveParameters).toBeLessThan(3);
    const decay = await found.weightDecay.data();
    for (const [index, layer] of found.layers.entries()) {
      expect(layer.weightDecay / (decay[index] as number)).toBeCloseTo(1, 5);
      expect(layer.weightDecay / ((layer.priorPrecision * noise ** 2) / examples)).toBeCloseTo(1, 5);
    }
    expect(found.warnings).toEqual([]);
  });

  it("the evidence of the best fit is that of a posterior there", async () => {
    const found = await trainWithEvidence({ problem, params, optimizer, batches, epochs: 2 });
    const posterior = laplace(problem, found.params, batches);
    const value = await posterior.evidence(found.hyperparameters).logEvidence.item();
    expect(value / Math.max(...found.logEvidence)).toBeCloseTo(1, 5);
  });

  it("goes on from a checkpoint as if it had not stopped", async () => {
    const kept: EvidenceCheckpoint<Params>[] = [];
    const common = { problem, params, optimizer, batches, fitEvery: 2 };
    const onFit = (checkpoint: EvidenceCheckpoint<Params>): void => void kept.push(checkpoint);
    const whole = await trainWithEvidence({ ...common, epochs: 6, onFit });
    expect(kept.map(({ epoch }) => epoch)).toEqual([2, 4, 6]);
    const resumed = await trainWithEvidence({ ...common, epochs: 6, from: kept[0] as EvidenceCheckpoint<Params> });
    expect(resumed.logEvidence).toEqual(whole.logEvidence);
    expect(await numbers(resumed.params)).toEqual(await numbers(whole.params));
  });

  it("frozen tensors stay as they are, and the others have one δ each", async () => {
    const found = await trainWithEvidence({ problem, params, optimizer, batches, epochs: 2, frozen: ["useless"] });
    expect(await numbers(found.params.useless)).toEqual(await numbers(params.useless));
    expect(await numbers(found.params.useful)).not.toEqual(await numbers(params.useful));
    expect(found.hyperparameters.logPriorPrecision.shape).toEqual([1]);
    expect(found.layers.map(({ name }) => name)).toEqual(["useful"]);
  });

  it("weight and bias of a joint block have one δ", async () => {
    const own = { w: normal(key(7), [6, 1]), b: normal(key(8), [1]) };
    const found = await trainWithEvidence({
      problem: { loss: squaredError, model: (p: typeof own, x: Tensor) => x.dot(p.w).add(p.b) },
      params: own,
      optimizer: sgd({ learningRate: 0 }),
      batches: [batches[0] as (typeof batches)[0]],
      epochs: 1,
      posterior: { bias: "joint" },
    });
    const [weight, bias] = found.layers as [(typeof found.layers)[0], (typeof found.layers)[0]];
    expect(weight.priorPrecision).not.toBe(1);
    expect(bias.priorPrecision).toBe(weight.priorPrecision);
    expect(await numbers(found.params)).toEqual(await numbers(own));
  });

  it("one step is that of the mean loss with δ / N for weight decay", async () => {
    const learningRate = 0.1;
    const start = { logPriorPrecision: tensor([1, 2]), logNoise: scalar(-0.5) };
    const [batch] = batches as [(typeof batches)[0]];
    const found = await trainWithEvidence({
      problem,
      params,
      optimizer: sgd({ learningRate }),
      batches: [batch],
      epochs: 1,
      start,
    });
    const errors = problem.model(params, batch.inputs).sub(batch.targets);
    const slope = (rows: Tensor): Tensor => rows.transpose().matmul(errors).div(32);
    const decay = (log: number): number => (Math.exp(log) * Math.exp(-1)) / 32;
    const left = batch.inputs.slice([0, 0], [32, 2]);
    const right = batch.inputs.slice([0, 2], [32, 6]);
    const moved = (p: Tensor, rows: Tensor, log: number) =>
      p.sub(
        slope(rows)
          .add(p.mul(decay(log)))
          .mul(learningRate),
      );
    const expected = await numbers([moved(params.useful, left, 1), moved(params.useless, right, 2)]);
    const own = await numbers(found.params);
    own.forEach((value, index) => expect(value).toBeCloseTo(expected[index] as number, 5));
  });

  it("targets of padding count neither in the loss nor in the evidence", async () => {
    const weights = { w: normal(key(5), [3, 4]) };
    const tokens: CurvatureProblem<typeof weights> = {
      loss: crossEntropy,
      model: (p, x) => x.dot(p.w, { contract: [[2], [0]] }),
    };
    const x = normal(key(6), [4, 3, 3]);
    const classes = [0, 1, -1, 2, -1, -1, 3, 3, 0, 1, -1, 2];
    const run = (own: Tensor) =>
      trainWithEvidence({
        problem: tokens,
        params: weights,
        optimizer: adam({ learningRate: 0.1 }),
        batches: [{ inputs: own, targets: tensor(Int32Array.from(classes), { shape: [4, 3] }) }],
        epochs: 2,
        posterior: { ignoreIndex: -1 },
      });
    const isReal = tensor(
      Float32Array.from(classes, (own) => Number(own >= 0)),
      { shape: [4, 3, 1] },
    );
    // Whatever stands where there is no target, the same comes out.
    const [first, second] = [await run(x), await run(x.mul(isReal).sub(isReal.neg().add(1)))];
    expect(second.logEvidence).toEqual(first.logEvidence);
    expect(await numbers(second.params)).toEqual(await numbers(first.params));
    // δ over the number of real targets.
    const [layer] = first.layers as [(typeof first.layers)[0]];
    expect((layer.weightDecay * 8) / layer.priorPrecision).toBeCloseTo(1, 5);
  });

  it("says what is missing or wrong", async () => {
    const common = { problem, params, optimizer, batches };
    await expect(trainWithEvidence({ ...common, epochs: 2, burnIn: 2 })).rejects.toThrow(
      /2 epochs after a burn-in of 2/,
    );
    await expect(trainWithEvidence({ ...common, batches: [] })).rejects.toThrow(/0 batches/);
    await expect(trainWithEvidence({ ...common, fitEvery: 0 })).rejects.toThrow(/every 0 epochs/);
    await expect(trainWithEvidence({ ...common, frozen: ["usefull"] })).rejects.toThrow(/Did you mean "useful"/);
    await expect(trainWithEvidence({ ...common, frozen: ["useful", "useless"] })).rejects.toThrow(/all .* are frozen/);
    const spoiled = batches.map((batch) => ({ ...batch, targets: batch.targets.mul(Number.NaN) }));
    await expect(trainWithEvidence({ ...common, batches: spoiled, epochs: 1 })).rejects.toThrow(
      /log evidence is NaN after epoch 1/,
    );
    const normalized: typeof problem = {
      ...problem,
      model: (p, x) => {
        const y = problem.model(p, x);
        return y.sub(y.mean({ axis: 0, keepDims: true }));
      },
    };
    await expect(trainWithEvidence({ ...common, problem: normalized, epochs: 1 })).rejects.toThrow(/batch norm/);
  });
});
