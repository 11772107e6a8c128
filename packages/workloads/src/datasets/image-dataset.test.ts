import { ArgumentError } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { divide } from "./image-dataset";
import { loadMnist } from "./mnist";

describe("divide", () => {
  it("keeps the first examples for validation in split 1.2", () => {
    expect(divide(60, 10, "1.2")).toEqual({
      train: { start: 10, count: 50 },
      trainEval: { start: 10, count: 10 },
      valid: { start: 0, count: 10 },
      test: { start: 60, count: 10 },
    });
  });

  it("trains on everything in split 1.1", () => {
    expect(divide(60, 10, "1.1")).toEqual({
      train: { start: 0, count: 60 },
      trainEval: { start: 0, count: 10 },
      valid: { start: 0, count: 0 },
      test: { start: 60, count: 10 },
    });
  });

  it("refuses to leave less for training than for tests", () => {
    expect(() => divide(19, 10, "1.2")).toThrow(ArgumentError);
    expect(() => divide(19, 10, "1.2")).toThrow("leave 9 for training after 10 for validation");
  });
});

describe("a data set of files", () => {
  it("asks for a reader", async () => {
    await expect(loadMnist()).rejects.toThrow("mnist: this data set is read from files. Pass { files: localFiles() }");
  });
});
