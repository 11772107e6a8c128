import { describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { parseCifar } from "./cifar";

/** One record: the labels, then planes in which pixel p of channel c is (p + 50 c) modulo 256. */
function record(...labels: readonly number[]): readonly number[] {
  return [...labels, ...Array.from({ length: 3072 }, (_, index) => (index % 1024) + 50 * Math.floor(index / 1024))];
}

describe("parseCifar", () => {
  it("reads labels and interleaves the planes of CIFAR-10", () => {
    const bytes = Uint8Array.from([...record(3), ...record(9)]);
    const { images, labels, coarseLabels } = parseCifar(bytes, { file: "b.bin", variant: "cifar10", records: 2 });
    expect([...labels]).toEqual([3, 9]);
    expect(coarseLabels).toHaveLength(0);
    expect(images).toHaveLength(2 * 32 * 32 * 3);
    expect([...images.subarray(0, 6)]).toEqual([0, 50, 100, 1, 51, 101]);
    expect([...images.subarray(3072 + 3 * 40, 3072 + 3 * 40 + 3)]).toEqual([40, 90, 140]);
  });

  it("takes the second label of CIFAR-100 as the class", () => {
    const records = parseCifar(Uint8Array.from(record(7, 99)), { file: "b.bin", variant: "cifar100" });
    expect([...records.labels, ...records.coarseLabels]).toEqual([99, 7]);
    expect([...records.images.subarray(0, 3)]).toEqual([0, 50, 100]);
  });

  const good = Uint8Array.from(record(3));
  it.each([
    ["an empty file", new Uint8Array(), undefined, "wrong length of a cifar10 binary file"],
    ["half a record", good.subarray(0, 1000), undefined, "expected a whole number of records of 3073 bytes"],
    ["another count", good, 2, "expected 2 records of 3073 bytes, found 3073 bytes, 1.00 records"],
    ["a label out of range", Uint8Array.from(record(10)), 1, "label of record 0 is out of range (expected 0 to 9"],
  ])("refuses %s", (_, bytes, records, message) => {
    const parse = () => parseCifar(bytes, { file: "b.bin", variant: "cifar10", records });
    expect(parse).toThrow(DataError);
    expect(parse).toThrow(message);
  });
});
