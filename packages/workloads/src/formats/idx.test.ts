import { describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { parseIdx } from "./idx";

/** An idx file of unsigned bytes with the given header fields and content. */
function idxFile(shape: readonly number[], data: readonly number[], { zeros = 0, type = 8 } = {}): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * shape.length + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, zeros);
  view.setUint8(2, type);
  view.setUint8(3, shape.length);
  shape.forEach((size, axis) => {
    view.setUint32(4 + 4 * axis, size);
  });
  bytes.set(data, 4 + 4 * shape.length);
  return bytes;
}

describe("parseIdx", () => {
  it("reads shape and elements", () => {
    const { shape, data } = parseIdx(idxFile([2, 1, 3], [1, 2, 3, 4, 5, 6]), { file: "a.idx" });
    expect(shape).toEqual([2, 1, 3]);
    expect([...data]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("reads bytes that lie inside a larger buffer", () => {
    const padded = new Uint8Array([9, 9, ...idxFile([2], [7, 8]), 9]);
    expect([...parseIdx(padded.subarray(2, -1), { file: "a.idx", shape: [2] }).data]).toEqual([7, 8]);
  });

  const labels = idxFile([3], [1, 2, 3]);
  it.each([
    ["an empty file", new Uint8Array(), [3], "idx header is cut off (expected at least 4 bytes, found 0 bytes)"],
    ["images for labels", idxFile([1, 1, 3], [1, 2, 3]), [3], "wrong idx magic number (expected 2049, found 2051)"],
    ["labels for images", labels, [3, 1, 1], "wrong idx magic number (expected 2051, found 2049)"],
    ["floats", idxFile([3], [1, 2, 3], { type: 13 }), [3], "wrong idx magic number (expected 2049, found 3329)"],
    ["text", idxFile([3], [], { zeros: 0x6869 }), undefined, "wrong idx magic number (expected 2049 to 2303"],
    ["a header that ends early", labels.subarray(0, 6), [3], "idx header is cut off (expected 8 bytes of header"],
    ["another count", labels, [4], "wrong idx shape (expected [4], found [3])"],
    ["missing bytes", labels.subarray(0, -1), [3], "idx data are cut off (expected 3 bytes for shape [3], found 2"],
    ["further bytes", new Uint8Array([...labels, 0]), [3], "idx data are followed by trailing bytes (expected 3 bytes"],
  ])("refuses %s", (_, bytes, shape, message) => {
    const parse = () => parseIdx(bytes, { file: "labels.idx", shape, fix: "Fetch it." });
    expect(parse).toThrow(DataError);
    expect(parse).toThrow(`labels.idx: ${message}`);
    expect(parse).toThrow(/ Fetch it\.$/);
  });
});
