import { describe, expect, it } from "vitest";
import { sha256 } from "../fetch/checksum";
import { loadDigits } from "./digits";
import { digitSize, generateDigits } from "./digits/generate";
import { integerRandom } from "./digits/random";

describe("integerRandom", () => {
  const draw = (seed: number, stream: number) => {
    const random = integerRandom(seed, stream);
    return Array.from({ length: 20_000 }, () => random.uniform(-1, 1));
  };

  it("is uniform and differs between seeds and streams", () => {
    const numbers = draw(1, 0);
    const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
    // Four standard errors of a mean of uniform numbers on (-1, 1), whose variance is 1/3.
    expect(Math.abs(mean)).toBeLessThan(4 * Math.sqrt(1 / 3 / numbers.length));
    expect(numbers.every((x) => x >= -1 && x < 1)).toBe(true);
    expect(draw(1, 0)).toEqual(numbers);
    expect(draw(1, 1)).not.toEqual(numbers);
    expect(draw(2, 0)).not.toEqual(numbers);
  });

  it("has a bell of variance 1", () => {
    const random = integerRandom(3, 0);
    const squares = Array.from({ length: 20_000 }, () => random.bell() ** 2);
    const variance = squares.reduce((sum, x) => sum + x, 0) / squares.length;
    // The square of a nearly normal number has variance near 2: four standard errors.
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / squares.length));
  });
});

describe("generateDigits", () => {
  it("draws image i from the seed and i alone", () => {
    const many = generateDigits({ count: 30, seed: 5 });
    const few = generateDigits({ count: 12, seed: 5 });
    expect(many.images.subarray(0, few.images.length)).toEqual(few.images);
    expect(generateDigits({ count: 12, seed: 6 }).images).not.toEqual(few.images);
  });

  it("shows each class once in every ten images", () => {
    expect([...generateDigits({ count: 20 }).labels]).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]);
  });

  it("draws the digit inside the picture, brighter than its surroundings", () => {
    const count = 1000;
    const { images } = generateDigits({ count });
    const mean = new Float64Array(digitSize * digitSize);
    images.forEach((value, index) => {
      const pixel = index % mean.length;
      mean[pixel] = (mean[pixel] as number) + value / count;
    });
    const middle = mean[8 * digitSize + 8] as number;
    for (const corner of [0, 15, 240, 255]) expect(mean[corner] as number).toBeLessThan(middle / 2);
  });
});

describe("the digits data set", () => {
  it("has the published bytes", async () => {
    const { images, labels, checksums } = await loadDigits();
    expect(checksums).toEqual({ images: await sha256(images), labels: await sha256(labels) });
    expect(checksums).toMatchInlineSnapshot(`
      {
        "images": "250d8b791b2eb5f10447b0e547ff3e18945d8cd86a8cc02a4c1cae82e52d59de",
        "labels": "a03e70550c1825d27a04fcacd7bc59a0df988963ec9c03c287810b7cf787cc68",
      }
    `);
  });

  it("has disjoint training, validation and test images with even classes", async () => {
    const { images, labels, splits, shape, classes } = await loadDigits();
    expect([...shape, classes]).toEqual([16, 16, 1, 10]);
    expect(images).toHaveLength(12_000 * 256);
    expect(splits).toEqual({
      train: { start: 2000, count: 8000 },
      trainEval: { start: 2000, count: 2000 },
      valid: { start: 0, count: 2000 },
      test: { start: 10_000, count: 2000 },
    });
    for (const { start, count } of Object.values(splits)) {
      const counts = new Array<number>(10).fill(0);
      for (const label of labels.subarray(start, start + count)) counts[label] = (counts[label] as number) + 1;
      expect(new Set(counts)).toEqual(new Set([count / 10]));
    }
  });
});
