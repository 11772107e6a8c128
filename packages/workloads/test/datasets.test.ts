import { describe, expect, it } from "vitest";
import { loadDataset } from "../src/datasets/registry";
import { sha256 } from "../src/fetch/checksum";
import { dataSources, type SourceName } from "../src/fetch/sources";
import { realFiles } from "./real-data";

/** Facts that the publishers state, or that were read from their files once. */
const facts: readonly {
  readonly name: SourceName;
  readonly trainCounts: readonly number[];
  readonly testCounts: readonly number[];
  readonly firstLabels: readonly number[];
  readonly firstImage: string;
}[] = [
  {
    name: "mnist",
    trainCounts: [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    testCounts: [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    firstLabels: [5, 0, 4, 1, 9, 2, 1, 3],
    firstImage: "23ceaef5eb61f0e70d64ac18fdf0f60df3d5971cf30bbadac7b6ebf07f782d2c",
  },
  {
    name: "fmnist",
    trainCounts: new Array(10).fill(6000),
    testCounts: new Array(10).fill(1000),
    firstLabels: [9, 0, 0, 3, 0, 2, 7, 2],
    firstImage: "5bd44e331a6d6998daf675700cd0c13dcd7af8ab954b7585124124da61459e7b",
  },
];

describe.each(facts)("the files of $name", ({ name, trainCounts, testCounts, firstLabels, firstImage }) => {
  it("hold the published images and labels", async (context) => {
    const real = realFiles(dataSources[name]);
    if ("reason" in real) return context.skip(real.reason);
    const { images, labels, shape, splits, checksums } = await loadDataset(name, { files: real.files });

    expect(shape).toEqual([28, 28, 1]);
    expect(images).toHaveLength(70_000 * 784);
    expect(countClasses(labels.subarray(0, 60_000))).toEqual(trainCounts);
    expect(countClasses(labels.subarray(60_000))).toEqual(testCounts);
    expect([...labels.subarray(0, 8)]).toEqual(firstLabels);
    expect(await sha256(images.subarray(0, 784))).toBe(firstImage);
    expect(splits).toEqual({
      train: { start: 10_000, count: 50_000 },
      trainEval: { start: 10_000, count: 10_000 },
      valid: { start: 0, count: 10_000 },
      test: { start: 60_000, count: 10_000 },
    });
    expect(Object.keys(checksums)).toHaveLength(4);
  });
});

function countClasses(labels: Uint8Array): readonly number[] {
  const counts = new Array<number>(10).fill(0);
  for (const label of labels) counts[label] = (counts[label] as number) + 1;
  return counts;
}
