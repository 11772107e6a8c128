import { compile, evaluate, init, key, type Tensor, tensor, treeLeaves } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { batchCount, type DataTensors, datasetTensors, gatherBatch, trainingIndices } from "../src/batching";
import { loadDigits } from "../src/datasets/digits";

describe("a compiled epoch", () => {
  it("reads every training example of the digits once, with the position as device state", async () => {
    await init();
    const dataset = await loadDigits();
    const data = datasetTensors(dataset);
    const batchSize = 1000;
    const shuffling = key(11);
    const program = compile(
      (step: Tensor, from: DataTensors) => {
        const indices = trainingIndices(dataset, { key: shuffling, step, batchSize });
        return { step: step.add(1), indices, batch: gatherBatch(from, dataset.shape, indices) };
      },
      { donate: [0] },
    );

    let step = tensor(Uint32Array.of(0)).reshape([]);
    await evaluate([step, shuffling]);
    const seen: number[] = [];
    for (let position = 0; position < batchCount(dataset, "train", batchSize); position++) {
      const { step: next, indices, batch } = program(step, data);
      step = next;
      const [positions, pixels, labels] = await Promise.all([indices.data(), batch.images.data(), batch.labels.data()]);
      const size = 16 * 16;
      for (const row of [0, 1, batchSize - 1]) {
        const example = positions[row] as number;
        expect(labels[row]).toBe(dataset.labels[example]);
        const stored = dataset.images.subarray(example * size, (example + 1) * size);
        // One multiplication by a rounded 1/255.
        const expected = Array.from(stored, (byte) => Math.fround(byte * Math.fround(1 / 255)));
        expect(Array.from(pixels.subarray(row * size, (row + 1) * size))).toEqual(expected);
      }
      for (const leaf of treeLeaves<Tensor>([indices, batch])) leaf.dispose();
      seen.push(...positions);
    }
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 8000 }, (_, index) => 2000 + index));
    for (const leaf of treeLeaves<Tensor>([step, data])) leaf.dispose();
  });
});
