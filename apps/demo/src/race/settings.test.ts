import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeCatalogue } from "../worker/catalogue";
import { decodeSettings, defaultSettings, encodeSettings, parseSeeds, type RaceSettings, requestOf } from "./settings";

const catalogue = describeCatalogue();

/** Any settings that the page can have. */
const anySettings: fc.Arbitrary<RaceSettings> = fc.record({
  workload: fc.constantFrom(...catalogue.workloads.map(({ name }) => name)),
  entrants: fc.array(
    fc.constantFrom(...catalogue.optimizers).chain(({ name, hyperparameters }) =>
      fc
        .record(
          Object.fromEntries(
            Object.entries(hyperparameters).map(([key, spec]) => {
              if (spec.type === "boolean") return [key, fc.boolean()];
              if (spec.type === "choice") return [key, fc.constantFrom(...spec.choices)];
              return [key, fc.constantFrom(spec.default)];
            }),
          ),
          { requiredKeys: [] },
        )
        .map((values) => ({
          optimizer: name,
          hyperparameters: values as RaceSettings["entrants"][0]["hyperparameters"],
        })),
    ),
    { minLength: 1, maxLength: 6 },
  ),
  seeds: fc.uniqueArray(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 1, maxLength: 5 }),
  target: fc.option(fc.double({ min: 0.01, max: 1, noNaN: true })),
  epochs: fc.double({ min: 0.1, max: 1e4, noNaN: true }),
  seconds: fc.option(fc.integer({ min: 1, max: 10_000 })),
  batchSize: fc.option(fc.integer({ min: 1, max: 1024 })),
  every: fc.option(fc.integer({ min: 1, max: 1000 })),
});

describe("links", () => {
  it("reproduce any settings", () => {
    fc.assert(
      fc.property(anySettings, (settings) => {
        expect(decodeSettings(encodeSettings(settings), catalogue)).toEqual({ settings, problems: [] });
      }),
    );
  });

  it("are empty for the race that visitors arrive at", () => {
    expect(encodeSettings(defaultSettings("digits"))).toBe("");
  });

  it("can be read and written by hand", () => {
    const query = "target=0.9&seeds=1,2&run=adam,learningRate:0.003,beta1:0.8&run=sgd,learningRate:1e-2";
    const { settings, problems } = decodeSettings(query, catalogue);
    expect(problems).toEqual([]);
    expect(settings).toEqual({
      ...defaultSettings("digits"),
      target: 0.9,
      seeds: [1, 2],
      entrants: [
        { optimizer: "adam", hyperparameters: { learningRate: 0.003, beta1: 0.8 } },
        { optimizer: "sgd", hyperparameters: { learningRate: 0.01 } },
      ],
    });
    expect(encodeSettings(settings)).toBe(query.replace("1e-2", "0.01"));
  });

  it.each([
    ["workload=cats", "The link asks for a workload “cats”, which does not exist."],
    ["run=adamm", "The link asks for an optimizer “adamm”, which does not exist."],
    ["run=adam,speed:2", "The link sets “speed” of adam, which it does not have."],
    ["run=adam,beta1:1", "The link has beta1 1 for adam: Give a number below 1."],
    ["run=adam,beta1:", "The link has beta1  for adam: Give a number."],
    ["seeds=1,1", "The link has seeds=1,1: A seed stands there twice."],
    ["seeds=-1", "The link has seeds=-1: -1 is no seed. Seeds are whole numbers from 0 to 4294967295."],
    ["epochs=-2", "The link has epochs=-2, which is no value for it."],
    ["batch=1.5", "The link has batch=1.5, which is no value for it."],
  ])("with what does not exist say so and keep the rest: %s", (query, problem) => {
    const { settings, problems } = decodeSettings(`${query}&target=0.5`, catalogue);
    expect(problems).toEqual([problem]);
    expect(settings.target).toBe(0.5);
    expect(settings.entrants.length).toBeGreaterThan(0);
  });
});

describe("seeds", () => {
  it("are read as people type them", () => {
    expect(parseSeeds(" 42, 43;44 ")).toEqual([42, 43, 44]);
    expect(parseSeeds("")).toBe("Give at least one whole number.");
  });
});

describe("a request", () => {
  const entry = catalogue.workloads.find(({ name }) => name === "digits")!;

  it("is that of the command line for the standard race", () => {
    expect(requestOf(defaultSettings("digits"), entry)).toMatchObject({
      workload: "digits",
      target: { value: 0.95 },
      budget: { epochs: 5 },
      evaluationInterval: 25,
      trainLogInterval: 10,
    });
  });

  it("keeps records of long runs bounded", () => {
    const interval = requestOf({ ...defaultSettings("digits"), epochs: 100_000 }, entry).trainLogInterval!;
    expect((100_000 * 60_000) / 64 / interval).toBeLessThanOrEqual(5000);
  });
});
