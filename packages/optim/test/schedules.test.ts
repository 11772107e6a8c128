import { init, tensor } from "@thalweg/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  cosine,
  crowdedValleyFactors,
  crowdedValleySchedule,
  crowdedValleySchedules,
  everyEpoch,
  reduceOnPlateau,
  type Schedule,
  setHyperparameters,
  sgd,
  tableSchedule,
} from "../src/index";

beforeAll(async () => {
  await init({ notice: () => {} });
});

const valuesAt = async (schedule: Schedule, steps: readonly number[]) =>
  Array.from(await schedule(tensor(Uint32Array.from(steps))).data());

describe("a table", () => {
  it("holds its last value past the end, and is one value for one step", async () => {
    const schedule = tableSchedule([0.5, 0.25, 0.125]);
    expect(await valuesAt(schedule, [0, 1, 2, 3, 1000])).toEqual([0.5, 0.25, 0.125, 0.125, 0.125]);
    expect(await schedule(tensor(Uint32Array.of(1), { shape: [] })).item()).toBe(0.25);
  });

  it("refuses what is no rate", () => {
    expect(() => tableSchedule([])).toThrow("the table is empty");
    expect(() => tableSchedule([1, -1])).toThrow("values[1] is -1, expected a number in [0, ∞)");
  });
});

describe("epochs", () => {
  it("keep a value for all their steps, and its numbers stay hyperparameters", async () => {
    const schedule = everyEpoch(cosine({ peak: 1, totalSteps: 4 }), { stepsPerEpoch: 3 });
    const epochs = await valuesAt(cosine({ peak: 1, totalSteps: 4 }), [0, 1, 2, 3]);
    expect(await valuesAt(schedule, [0, 2, 3, 5, 6, 9])).toEqual([0, 0, 1, 1, 2, 3].map((epoch) => epochs[epoch]));
    const optimizer = sgd({ learningRate: schedule });
    const state = optimizer.init({ x: tensor([1]) });
    expect(() => setHyperparameters(optimizer, state, { "learningRate.peak": 0.5 })).not.toThrow();
  });
});

describe("the schedules of Crowded Valley", () => {
  it.each([50, 100, 160, 200, 350])("are never 0, and begin and end as published, for %i epochs", (epochs) => {
    for (const name of crowdedValleySchedules) {
      const factors = crowdedValleyFactors(name, epochs);
      expect(factors).toHaveLength(epochs);
      expect(Math.min(...factors), name).toBeGreaterThan(0);
      expect(Math.max(...factors), name).toBe(1);
    }
    const tenth = Math.round(epochs / 10);
    const trapezoidal = crowdedValleyFactors("trapezoidal", epochs);
    expect(trapezoidal.slice(0, tenth)).toEqual(Array.from({ length: tenth }, (_, index) => (index + 1) / tenth));
    expect(trapezoidal.slice(-tenth)).toEqual(Array.from({ length: tenth }, (_, j) => 1 - (j + 1) / (tenth + 1)));
    expect(trapezoidal.slice(tenth, -tenth).every((factor) => factor === 1)).toBe(true);
    // Restarts after T and after 3T epochs.
    const restarts = crowdedValleyFactors("cosineRestarts", epochs);
    const first = Math.round(epochs / 7);
    expect(restarts.flatMap((factor, epoch) => (factor === 1 ? [epoch] : [])).slice(0, 3)).toEqual([
      0,
      first,
      3 * first,
    ]);
    expect(crowdedValleyFactors("cosine", epochs)[epochs / 2]).toBeCloseTo(0.5, 12);
  });

  it("change once per epoch", async () => {
    const schedule = crowdedValleySchedule({ name: "trapezoidal", learningRate: 0.5, epochs: 20, stepsPerEpoch: 5 });
    expect(await valuesAt(schedule, [0, 4, 5, 9, 10, 95, 99])).toEqual(
      [0.25, 0.25, 0.5, 0.5, 0.5].concat(Array.from({ length: 2 }, () => Math.fround(0.5 * (1 - 2 / 3)))),
    );
  });

  it("names what it knows", () => {
    expect(() => crowdedValleyFactors("linear" as "cosine", 10)).toThrow(
      "there is no linear. Known: constant, cosine, cosineRestarts, trapezoidal",
    );
  });
});

describe("a plateau", () => {
  it("reduces the rate when nothing has improved for longer than its patience", () => {
    const plateau = reduceOnPlateau({ learningRate: 1, factor: 0.5, patience: 2 });
    const rates = [3, 2, 2, 2, 2, 2, 1, 1, 1, 1].map((loss) => plateau.observe(loss));
    expect(rates).toEqual([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]);
  });

  it("never raises it, and counts NaN as no improvement", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.double(), fc.constant(Number.NaN)), { maxLength: 40 }), (metrics) => {
        const plateau = reduceOnPlateau({ learningRate: 1, factor: 0.5, patience: 1, minRate: 0.2, mode: "max" });
        const rates = [1, ...metrics.map((metric) => plateau.observe(metric))];
        rates.slice(1).forEach((rate, index) => {
          expect(rate).toBeLessThanOrEqual(rates[index] as number);
          expect(rate).toBeGreaterThanOrEqual(0.2);
        });
      }),
    );
  });

  it("refuses factors that do not reduce", () => {
    expect(() => reduceOnPlateau({ learningRate: 1, factor: 1 })).toThrow("factor is 1, expected a number in (0, 1)");
  });
});
