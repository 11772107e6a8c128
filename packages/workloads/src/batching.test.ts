import { ArgumentError, key, ShapeError, type Tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { batchCount, datasetTensors, gatherBatch, phaseIndices, trainingIndices } from "./batching";
import { divide } from "./datasets/image-dataset";

const valuesOf = (x: Tensor): number[] => Array.from(evaluateReference([x])[0]?.values ?? []);

/** 40 training and 10 test images of 3 x 3 pixels, a size that is no multiple of four. Pixel p of image i is 5 i + p. */
const toy = {
  name: "toy",
  shape: [3, 3, 1] as const,
  splits: divide(40, 10, "1.2"),
  images: Uint8Array.from({ length: 50 * 9 }, (_, index) => 5 * Math.floor(index / 9) + (index % 9)),
  labels: Uint8Array.from({ length: 50 }, (_, index) => index % 10),
};

describe("gatherBatch", () => {
  it("gives the pixels over 255 and the labels of the wanted examples", () => {
    const indices = phaseIndices(toy, "test", { batch: 1, batchSize: 4 });
    const { images, labels } = gatherBatch(datasetTensors(toy), toy.shape, indices);
    expect(images.shape).toEqual([4, 3, 3, 1]);
    expect([images.dtype, labels.dtype]).toEqual(["f32", "i32"]);
    const expected = [44, 45, 46, 47].flatMap((image) =>
      Array.from({ length: 9 }, (_, pixel) => (5 * image + pixel) / 255),
    );
    valuesOf(images).forEach((value, index) => {
      expect(value).toBeCloseTo(expected[index] as number, 12);
    });
    expect(valuesOf(labels)).toEqual([4, 5, 6, 7]);
  });

  it("packs four pixels into a word", () => {
    expect(datasetTensors(toy).images.shape).toEqual([50, 3]);
    expect(valuesOf(datasetTensors(toy).images).slice(3, 6)).toEqual([0x08070605, 0x0c0b0a09, 0x0d]);
  });

  it("refuses images of another shape", () => {
    const gather = () =>
      gatherBatch(datasetTensors(toy), [4, 4, 1], phaseIndices(toy, "test", { batch: 0, batchSize: 4 }));
    expect(gather).toThrow(ShapeError);
    expect(gather).toThrow("images u32 [50, 3] do not hold images of shape [4, 4, 1], which take 4 words each");
  });
});

describe("trainingIndices", () => {
  const epoch = (number: number, seed: number, batchSize: number): number[] => {
    const steps = batchCount(toy, "train", batchSize);
    return Array.from({ length: steps }, (_, position) =>
      valuesOf(trainingIndices(toy, { key: key(seed), step: number * steps + position, batchSize })),
    ).flat();
  };

  it("passes through every training example once in an epoch", () => {
    const examples = Array.from({ length: 30 }, (_, index) => 10 + index);
    expect(epoch(0, 1, 10).sort((a, b) => a - b)).toEqual(examples);
    expect(epoch(3, 1, 10).sort((a, b) => a - b)).toEqual(examples);
  });

  it("drops the incomplete last batch, of other examples in each epoch", () => {
    const [first, second] = [new Set(epoch(0, 1, 8)), new Set(epoch(1, 1, 8))];
    expect([first.size, second.size]).toEqual([24, 24]);
    expect(first).not.toEqual(second);
  });

  it("orders each epoch and each seed anew, and the same seed alike", () => {
    expect(epoch(0, 1, 10)).toEqual(epoch(0, 1, 10));
    expect(epoch(1, 1, 10)).not.toEqual(epoch(0, 1, 10));
    expect(epoch(0, 2, 10)).not.toEqual(epoch(0, 1, 10));
  });

  it("gives a batch size one order: larger batches are joined smaller ones", () => {
    expect(epoch(0, 1, 10)).toEqual(epoch(0, 1, 5));
  });
});

describe("phaseIndices", () => {
  it.each([
    ["trainEval", 10],
    ["valid", 0],
    ["test", 40],
  ] as const)("reads %s in the order of the data set", (phase, start) => {
    expect(batchCount(toy, phase, 4)).toBe(2);
    const batches = [0, 1].flatMap((batch) => valuesOf(phaseIndices(toy, phase, { batch, batchSize: 4 })));
    expect(batches).toEqual(Array.from({ length: 8 }, (_, index) => start + index));
  });
});

describe("batchCount", () => {
  it.each([0, 11, 2.5])("refuses batch size %d for ten examples", (batchSize) => {
    expect(() => batchCount(toy, "valid", batchSize)).toThrow(ArgumentError);
    expect(() => batchCount(toy, "valid", batchSize)).toThrow("does not fit the 10 examples of valid");
  });

  it("is 0 for a phase without examples", () => {
    expect(batchCount({ name: "toy", splits: divide(40, 10, "1.1") }, "valid", 4)).toBe(0);
  });
});
