import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { configuration, end, evaluation, header, training } from "../../test/example-records";
import { configurationId, decodeLine, encodeLine } from "./codec";
import type { RecordLine } from "./schema";

describe("lines", () => {
  it.each<RecordLine>([
    header(),
    header({ target: null, budget: { seconds: 3, steps: 7 } }),
    evaluation(50, 1.25, 0.5),
    training(10, 2.5),
    { type: "checkpoint", step: 50, file: "a.safetensors", bytes: 12 },
    { type: "resume", step: null, at: "2026-11-23T20:00:00.000Z", environment: header().environment },
    end(50, { timeToTarget: { seconds: 1.5, steps: 50, epochs: 1 }, status: "reached", gpuSeconds: 0.25 }),
  ])("a $type line comes back as it was", (line) => {
    expect(decodeLine(encodeLine(line))).toEqual(line);
  });

  it("every number comes back bit for bit, those that JSON lacks too", () => {
    fc.assert(
      fc.property(fc.double(), (loss) => {
        const line = decodeLine(encodeLine(training(1, loss)));
        expect(line.type === "training" && Object.is(line.loss, loss)).toBe(true);
      }),
      { examples: [[Number.NaN], [-0], [Number.POSITIVE_INFINITY], [Number.NEGATIVE_INFINITY]] },
    );
  });

  it.each([
    ["{", "not JSON: {"],
    ["[1]", "line: expected an object, found [1]"],
    ["{}", "type: expected text, found nothing"],
    ['{"type":"lap"}', 'unknown line type "lap"'],
    ['{"type":"training","step":"one","loss":1,"accuracy":null}', 'step: expected a number, found "one"'],
    [
      '{"type":"header","version":99}',
      "record format version 99, this release reads version 1. Read it with the release that wrote it.",
    ],
    [
      encodeLine(end(1)).replace('"budget"', '"bored"'),
      'status: expected one of finished, reached, budget, diverged, killed, found "bored"',
    ],
    [encodeLine(header()).replace('"seed":42', '"seed":true'), "configuration.seed: expected a number, found true"],
  ])("%s is refused with the field's name", (text, message) => {
    expect(() => decodeLine(text)).toThrow(message);
  });
});

describe("configurationId", () => {
  it("does not depend on the order of keys", () => {
    const reversed = Object.fromEntries(Object.entries(configuration).reverse()) as unknown as typeof configuration;
    expect(configurationId(reversed)).toBe(configurationId(configuration));
  });

  it("changes with every hyperparameter and with the seed", () => {
    const ids = [
      configurationId(configuration),
      configurationId({ ...configuration, seed: 43 }),
      configurationId({ ...configuration, hyperparameters: { ...configuration.hyperparameters, epsilon: 1e-7 } }),
    ];
    expect(new Set(ids).size).toBe(3);
  });
});
