import { optimizers } from "@thalweg/optim";
import { init } from "@thalweg/tensor";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { drawHyperparameters, valueAt } from "./search";

beforeAll(async () => {
  await init({ notice: () => {} });
});

describe("draws of a random search", () => {
  it("are in the spaces of the records, and make an optimizer", async () => {
    for (const record of Object.values(optimizers)) {
      for (let index = 0; index < 5; index++) {
        const drawn = await drawHyperparameters(record, { seed: 42, index });
        for (const [name, value] of Object.entries(drawn)) {
          const { low, high, complement } = record.hyperparameters[name]?.tuning ?? { low: 0, high: 0 };
          const own = complement ? 1 - Number(value) : Number(value);
          expect(own, `${record.name}: ${name}`).toBeGreaterThanOrEqual(low * (1 - 1e-12));
          expect(own, `${record.name}: ${name}`).toBeLessThanOrEqual(high);
        }
        expect(() => record.create(drawn)).not.toThrow();
      }
    }
  });

  it("are the same again, others for another index or seed, and paired between optimizers", async () => {
    const draw = (name: string, seed: number, index: number) =>
      drawHyperparameters(optimizers[name] as (typeof optimizers)[string], { seed, index });
    const first = await draw("momentum", 42, 3);
    expect(await draw("momentum", 42, 3)).toEqual(first);
    expect(await draw("momentum", 42, 4)).not.toEqual(first);
    expect(await draw("momentum", 43, 3)).not.toEqual(first);
    expect(await draw("nesterov", 42, 3)).toEqual(first);
    expect((await draw("sgd", 42, 3)).learningRate).toBe(first.learningRate);
  });

  it("cover a logarithmic space evenly in the logarithm", () => {
    const space = { distribution: "logUniform", low: 1e-4, high: 1 } as const;
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (share) => {
        expect(Math.log10(valueAt(space, share))).toBeCloseTo(4 * share - 4, 10);
        expect(valueAt({ ...space, complement: true }, share)).toBeCloseTo(1 - 10 ** (4 * share - 4), 10);
        expect(valueAt({ distribution: "uniform", low: 2, high: 3 }, share)).toBeCloseTo(2 + share, 12);
      }),
    );
  });
});
