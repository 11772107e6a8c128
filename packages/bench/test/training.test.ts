import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { init, tensor } from "@thalweg/tensor";
import { findProblem, type TestProblem } from "@thalweg/workloads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSession, type RaceOptions, race } from "../src/race";
import { folderStore } from "../src/records/folder.node.js";
import type { RunRecord } from "../src/records/reader";
import { aggregate } from "../src/report/aggregate";
import { runKeys } from "../src/run/programs";
import { linear } from "./linear-problem";

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "thalweg-training-"));
  await init({ notice: () => {} });
});
afterAll(() => rmSync(root, { recursive: true }));

let folders = 0;
const newStore = () => folderStore(join(root, String(folders++)));

// The problem's parameter type does not matter to a race, which hands them back to the problem they came from.
const workload = linear as unknown as TestProblem;

/** A race of one optimizer and one seed, in a store of its own unless one is given. */
async function train(options: Partial<RaceOptions> = {}): Promise<RunRecord> {
  const algorithms = [{ optimizer: "momentum", hyperparameters: { learningRate: 0.1 } }];
  const { records } = await race({ workload, algorithms, seeds: [1], store: newStore(), ...options });
  return records[0] as RunRecord;
}

const losses = ({ training }: RunRecord) => training.map(({ step, loss, accuracy }) => [step, loss, accuracy]);
const evaluations = ({ evaluations: all }: RunRecord) =>
  all.map(({ step, regularizer, phases }) => ({ step, regularizer, phases }));

describe("a run", () => {
  it("records losses at every interval, and evaluates before training, at every interval and at the end", async () => {
    const record = await train({ budget: { steps: 50 }, evaluationInterval: 20, trainLogInterval: 5 });
    expect(record.evaluations.map(({ step }) => step)).toEqual([0, 20, 40, 50]);
    expect(record.training.map(({ step }) => step)).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40, 45]);
    expect(record.end).toMatchObject({ status: "finished", step: 50, epoch: 50 / 16, timeToTarget: null });
    const [first, last] = [record.evaluations.at(0), record.evaluations.at(-1)];
    expect(last?.phases.test?.loss).toBeLessThan((first?.phases.test?.loss ?? 0) - 0.5);
    expect(record.end?.seconds.training).toBe(last?.trainingSeconds);
  });

  it("reports losses with the regularizer and without", async () => {
    const { evaluations: all } = await train({ budget: { steps: 1 } });
    for (const { regularizer, phases } of all) {
      expect(regularizer).toBeGreaterThan(0);
      for (const { loss, dataLoss } of Object.values(phases)) expect(loss).toBe(dataLoss + regularizer);
    }
  });

  it("loses no entry of the history, however many steps lie between evaluations", async () => {
    const record = await train({ budget: { steps: 300 }, evaluationInterval: 300, trainLogInterval: 1 });
    expect(record.training.map(({ step }) => step)).toEqual(Array.from({ length: 300 }, (_, step) => step));
    expect(record.training.every(({ loss }) => Number.isFinite(loss) && loss > 0)).toBe(true);
  });

  it("gives the same bits again from the same seed, and others from another", async () => {
    const options = { budget: { steps: 24 }, trainLogInterval: 1 };
    const [once, again] = [await train(options), await train(options)];
    expect(losses(again)).toEqual(losses(once));
    expect(evaluations(again)).toEqual(evaluations(once));
    expect(losses(await train({ ...options, seeds: [2] }))).not.toEqual(losses(once));
  });

  it("starts from the same parameters and examples, whatever the optimizer", async () => {
    const options = { budget: { steps: 1 }, trainLogInterval: 1 };
    const [momentum, adam] = [await train(options), await train({ ...options, algorithms: ["adam"] })];
    expect(adam.evaluations[0]?.phases).toEqual(momentum.evaluations[0]?.phases);
    expect(losses(adam)).toEqual(losses(momentum));
  });

  it("does in its first step what the definition says", async () => {
    const session = await openSession({ workload });
    const record = await train({ budget: { steps: 1 }, trainLogInterval: 1 });
    // The first batch by hand: the loss of the initial parameters on the examples that the record's seed draws.
    const { trainingIndices, gatherBatch } = await import("@thalweg/workloads");
    const { data } = await session.upload();
    const keys = runKeys(1);
    const indices = trainingIndices(session.dataset, { key: keys.shuffling, step: 0, batchSize: 500 });
    const { params, state } = workload.init(keys.initialization);
    const batch = gatherBatch(data, session.dataset.shape, indices);
    const { perExample } = workload.losses(params, state, batch, "train", keys.sampling);
    const expected = await perExample.mean().add(workload.regularizer(params)).item();
    // Sums over 500 examples in another order: a few units in the last place of f32.
    expect(record.training[0]?.loss).toBeCloseTo(expected, 5);
  });

  it("follows a schedule: with a factor of 0 nothing changes any more", async () => {
    const schedule = { epochs: [1, 2], factors: [0.5, 0] };
    const algorithms = [{ optimizer: "sgd", hyperparameters: { learningRate: 0.1 }, schedule }];
    const record = await train({ algorithms, budget: { epochs: 4 } });
    const [, first, second, third, fourth] = evaluations(record).map(({ phases }) => phases.test?.loss);
    expect(second).not.toBe(first);
    expect(third).toBe(second);
    expect(fourth).toBe(second);
    expect(record.header.configuration.schedule).toBe("x0.5 from epoch 1, x0 from epoch 2");
  });
});

describe("a run ends", () => {
  it("at the first evaluation that meets the target, with the time and the steps until then", async () => {
    const target = { phase: "valid", metric: "accuracy", value: 0.5 } as const;
    const record = await train({ target, budget: { steps: 400 }, evaluationInterval: 4 });
    const accuracies = record.evaluations.map(({ phases }) => phases.valid?.accuracy ?? 0);
    expect(accuracies.findIndex((accuracy) => accuracy >= 0.5)).toBe(accuracies.length - 1);
    const { step: steps, trainingSeconds: seconds, epoch: epochs } = record.evaluations.at(-1) ?? {};
    expect(record.end).toMatchObject({ status: "reached", timeToTarget: { steps, seconds, epochs } });
  });

  it("out of budget where the target is not met", async () => {
    const record = await train({ target: { value: 0.999 }, budget: { epochs: 2 } });
    expect(record.end).toMatchObject({ status: "budget", step: 32, timeToTarget: null });
  });

  it("after the seconds of its budget, with an evaluation", async () => {
    const record = await train({ budget: { seconds: 0.3 }, evaluationInterval: 100_000 });
    expect(record.end?.status).toBe("finished");
    expect(record.end?.seconds.training).toBeGreaterThanOrEqual(0.3);
    expect(record.evaluations.at(-1)?.step).toBe(record.end?.step);
  });

  it("diverged at the very step whose loss is not finite, and never wins", async () => {
    const wild = { optimizer: "sgd", hyperparameters: { learningRate: 1e30 } };
    const tame = { optimizer: "sgd", hyperparameters: { learningRate: 1e-4 } };
    const { records } = await race({
      workload,
      algorithms: [wild, tame],
      seeds: [1],
      store: newStore(),
      budget: { steps: 40 },
      trainLogInterval: 1,
    });
    const diverged = records.find(({ end }) => end?.status === "diverged");
    const last = diverged?.training.at(-1);
    expect(Number.isFinite(last?.loss)).toBe(false);
    expect(diverged?.training.slice(0, -1).every(({ loss }) => Number.isFinite(loss))).toBe(true);
    expect(diverged?.end?.divergedStep).toBe(last?.step);
    const [winner] = aggregate(records)[0]?.contestants ?? [];
    expect(winner?.hyperparameters.learningRate).toBe(1e-4);
  });
});

describe("a run that is held", () => {
  it("waits, goes on with the same bits, and does not count the time", async () => {
    const options = { budget: { steps: 40 }, evaluationInterval: 20, trainLogInterval: 1 };
    const whole = await train(options);
    let asked = 0;
    let waited = 0;
    const hold = () => {
      if (asked++ !== 2) return undefined;
      const from = performance.now();
      return new Promise<void>((resolve) => {
        setTimeout(() => {
          waited = (performance.now() - from) / 1000;
          resolve();
        }, 2500);
      });
    };
    const start = performance.now();
    const held = await train({ ...options, hold });
    const seconds = (performance.now() - start) / 1000;
    expect(waited).toBeGreaterThan(2.4);
    expect(losses(held)).toEqual(losses(whole));
    expect(held.end?.status).toBe("finished");
    expect(held.end?.seconds.training).toBeLessThanOrEqual(seconds - waited);
  });

  it("can be stopped meanwhile", async () => {
    const stop = new AbortController();
    const hold = () => {
      stop.abort();
      return Promise.resolve();
    };
    const record = await train({ budget: { steps: 40 }, hold, signal: stop.signal });
    expect(record.end).toMatchObject({ status: "killed", reason: "stopped by a signal", step: 0 });
  });
});

describe("an inspected run", () => {
  it("shows after every evaluation what the model says of examples", async () => {
    const seen: { step: number; right: number }[] = [];
    const indices = Uint32Array.from({ length: 200 }, (_, index) => index);
    const record = await train({
      workload: findProblem("digits"),
      algorithms: [{ optimizer: "adam", hyperparameters: { learningRate: 0.01 } }],
      budget: { steps: 40 },
      evaluationInterval: 20,
      inspect: async ({ step, state, programs, data, keys }) => {
        using indexTensor = tensor(indices);
        const { outputs, targets } = programs.predict(state.params, state.model, data, indexTensor, keys.evaluation);
        const right = outputs.argmax({ axis: 1 }).equal(targets).cast("f32").mean();
        seen.push({ step, right: await right.item() });
      },
    });
    expect(record.end?.status).toBe("finished");
    expect(seen.map(({ step }) => step)).toEqual([0, 20, 40]);
    expect(seen[2]?.right).toBeGreaterThan((seen[0]?.right ?? 1) + 0.1);
  });

  it("says so if the problem has no outputs apart from its loss", async () => {
    const inspect: RaceOptions["inspect"] = async ({ state, programs, data, keys }) => {
      programs.predict(state.params, state.model, data, tensor(Uint32Array.of(0)), keys.evaluation);
    };
    const opaque: TestProblem = { ...workload, predictor: undefined };
    await expect(train({ workload: opaque, budget: { steps: 1 }, inspect })).rejects.toThrow(
      "linear_digits has no outputs to show",
    );
  });
});

describe("a run that was stopped", () => {
  it("goes on from its last checkpoint with the same bits", async () => {
    const options = { budget: { steps: 60 }, evaluationInterval: 10, trainLogInterval: 1 };
    const whole = await train(options);
    const store = newStore();
    for (const stopAt of [15, 35]) {
      const stop = new AbortController();
      const stopped = await train({
        ...options,
        store,
        signal: stop.signal,
        onProgress: ({ step }) => step >= stopAt && stop.abort(),
      });
      expect(stopped.end).toMatchObject({ status: "killed", reason: "stopped by a signal" });
    }
    const resumed = await train({ ...options, store });
    expect(resumed.resumes).toHaveLength(2);
    expect(resumed.end?.status).toBe("finished");
    expect(losses(resumed)).toEqual(losses(whole));
    expect(evaluations(resumed)).toEqual(evaluations(whole));
  });

  it("is not repeated once it is complete", async () => {
    const store = newStore();
    const options = { store, budget: { steps: 5 } };
    const first = await train(options);
    const steps: number[] = [];
    const second = await train({ ...options, onProgress: ({ step }) => steps.push(step) });
    expect(second).toEqual(first);
    expect(steps).toEqual([]);
  });

  it("has its error in the record, if an error stopped it", async () => {
    const store = newStore();
    const fail = () => {
      throw new Error("the disk is on fire");
    };
    await expect(
      train({ store, budget: { steps: 5 }, onProgress: ({ step }) => step > 0 && fail() }),
    ).rejects.toThrow();
    const resumed = await train({ store, budget: { steps: 5 } });
    expect(resumed.end?.status).toBe("finished");
  });
});

describe("a race", () => {
  it("alternates the algorithms, starting with another one for every seed", async () => {
    const { records, race: result } = await race({
      workload,
      algorithms: ["sgd", "adam"],
      seeds: [1, 2],
      store: newStore(),
      budget: { steps: 2 },
    });
    const order = records.map(({ header: { configuration } }) => [configuration.seed, configuration.optimizer]);
    expect(order).toEqual([
      [1, "sgd"],
      [1, "adam"],
      [2, "adam"],
      [2, "sgd"],
    ]);
    expect(result?.contestants.map(({ runs }) => runs.length)).toEqual([2, 2]);
    // Compilation and data are paid once, and counted where they were paid.
    expect(records.filter(({ end }) => (end?.seconds.data ?? 0) > 0)).toHaveLength(1);
  });

  it("leaves no memory on the device behind", async () => {
    const device = await init();
    // Users never free anything by hand, so seeds and other small tensors wait for the garbage collector.
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const liveAfterRace = async () => {
      await train({ budget: { steps: 4 } });
      for (let round = 0; round < 3; round++) {
        collect();
        await new Promise((done) => setTimeout(done, 20));
      }
      return device.memory().liveBytes;
    };
    const before = await liveAfterRace();
    expect(await liveAfterRace()).toBeLessThanOrEqual(before);
  });
});
