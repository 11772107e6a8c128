import { init } from "@thalweg/tensor";
import { expect, it } from "vitest";
import { decodeLine, memoryStore, parseRecord, race, renderFigure } from "../src";
import { pageTheme } from "../src/report/theme";

it("a race runs in a browser, and its record says in which", { timeout: 120_000 }, async () => {
  const store = memoryStore();
  const { race: results, records } = await race({
    workload: "digits",
    algorithms: [{ optimizer: "adam", hyperparameters: { learningRate: 0.02 } }],
    seeds: [42],
    budget: { steps: 20 },
    evaluationInterval: 20,
    trainLogInterval: 1,
    store,
    openDevice: () => init({ notice: () => {} }),
  });
  const [record] = records;
  if (record === undefined || results === undefined) throw new Error("a race has a result");
  expect(record.end?.status).toBe("finished");
  expect(record.training).toHaveLength(20);
  expect(record.header.environment.runtime).toMatch(/^chrome \d+/);
  expect(record.header.environment.packages["@thalweg/bench"]).toMatch(/^\d+\.\d+\.\d+/);

  const kept = await (await store.open(record.header.configuration)).read();
  const text = new TextDecoder().decode(kept);
  expect(decodeLine(text.slice(0, text.indexOf("\n"))).type).toBe("header");
  expect(parseRecord(text, "kept").end).toEqual(record.end);
  expect(results.contestants[0]?.runs).toHaveLength(1);
  expect(renderFigure(results, pageTheme)).toMatch(/^<svg .*<\/svg>$/s);
});
