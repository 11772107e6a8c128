import { describe, expect, it } from "vitest";
import { parseAssignment, parseBudget, parseChoice, parseNames, parseNumber, parseSeeds, parseTarget } from "./parse";

describe("what people type", () => {
  it.each([
    [parseSeeds("3"), [42, 43, 44]],
    [parseSeeds("7,9"), [7, 9]],
    [parseSeeds("43,"), [43]],
    [parseBudget("60s"), { seconds: 60 }],
    [parseBudget("1.5min"), { seconds: 90 }],
    [parseBudget("20epochs, 2000 steps"), { epochs: 20, steps: 2000 }],
    [parseTarget("0.9"), { value: 0.9 }],
    [parseTarget("92.5%"), { value: 0.925 }],
    [parseTarget("valid-loss=87.5"), { phase: "valid", metric: "loss", value: 87.5 }],
    [parseTarget("87.7"), { value: 87.7 }],
    [parseAssignment("adam=0.001", "--lr"), ["adam", "0.001"]],
    [parseNames("sgd, adam", "--optimizers"), ["sgd", "adam"]],
    [parseNumber("1e-3", { option: "--lr", min: 0 }), 1e-3],
  ])("%j", (found, expected) => {
    expect(found).toEqual(expected);
  });

  it.each<[() => unknown, string]>([
    [() => parseSeeds("0"), '--seeds: "0" is not an integer from 1 to 1000.'],
    [() => parseSeeds("1.5"), '--seeds: "1.5" is not an integer from 1 to 1000.'],
    [() => parseSeeds("42,42"), "--seeds: 42 is given twice. Each seed is one run."],
    [() => parseSeeds(","), '--seeds: "," holds no seed. Write 3, or 42,43,44.'],
    [() => parseSeeds("-1,2"), '--seeds: "-1" is not an integer from 0 to 4294967295.'],
    [() => parseBudget("60"), '--budget: "60" has no known unit. Write 60s, 5min, 20epochs or 2000steps.'],
    [() => parseBudget("s"), '--budget: "s" has no known unit. Write 60s, 5min, 20epochs or 2000steps.'],
    [
      () => parseBudget("5 parsecs"),
      '--budget: "5 parsecs" has no known unit. Write 60s, 5min, 20epochs or 2000steps.',
    ],
    [() => parseBudget("1.5epochs"), '--budget: "1.5" is not an integer.'],
    [() => parseBudget("0s"), "--budget: 0s leaves nothing to train. Give more than 0."],
    [() => parseBudget("1s,2min"), '--budget: seconds are limited twice in "1s,2min". Give each limit once.'],
    [() => parseTarget("high"), '--target: "high" is not a number.'],
    [
      () => parseTarget("test-accuracy=90"),
      "--target: an accuracy of test-accuracy=90 does not exist. Give a fraction from 0 to 1, such as 0.9 or 90%.",
    ],
    [
      () => parseTarget("speed=3"),
      '--target: "speed" is no quantity. Use one of trainEval-accuracy, trainEval-loss, valid-accuracy, valid-loss, test-accuracy, test-loss.',
    ],
    [
      () => parseAssignment("adam", "--lr"),
      '--lr: "adam" assigns nothing. Write --lr NAME=VALUE, such as --lr adam=0.001.',
    ],
    [
      () => parseNames("a,,b", "--optimizers"),
      '--optimizers: "a,,b" has an empty name. Write a,b,c without spare commas.',
    ],
    [() => parseNames("a,a", "--optimizers"), "--optimizers: a is given twice."],
    [() => parseNumber("", { option: "--lr" }), '--lr: "" is not a number.'],
    [() => parseNumber("Infinity", { option: "--lr" }), '--lr: "Infinity" is not a number.'],
    [
      () => parseChoice("digist", ["digits", "mnist_mlp"], "workload", "`thalweg list` shows them all."),
      'unknown workload "digist". Did you mean "digits"? `thalweg list` shows them all.',
    ],
  ])("a mistake is answered with the right form (%#)", (parse, message) => {
    expect(parse).toThrow(message);
  });
});
