import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { gunzip } from "./gzip";

const content = Uint8Array.from({ length: 50_000 }, (_, index) => (index * index) >> 3);
const packed = new Uint8Array(gzipSync(content));

/** The packed content with one byte changed; a negative position counts from the end. */
function withByteChanged(position: number): Uint8Array {
  const changed = packed.slice();
  const index = position < 0 ? changed.length + position : position;
  changed[index] = (changed[index] ?? 0) ^ 1;
  return changed;
}

describe("gunzip", () => {
  it("unpacks what gzip packed", async () => {
    expect(await gunzip(packed, { file: "a.gz" })).toEqual(content);
  });

  it("unpacks an empty file", async () => {
    expect(await gunzip(new Uint8Array(gzipSync(new Uint8Array())), { file: "a.gz" })).toHaveLength(0);
  });

  it.each([
    ["an empty file", new Uint8Array(), "not a gzip file (expected bytes 1f 8b, found an empty file)"],
    ["another format", new Uint8Array([80, 75, 3, 4]), "not a gzip file (expected bytes 1f 8b, found bytes 50 4b)"],
    ["a header alone", packed.subarray(0, 12), "gzip file is cut off"],
    ["half a file", packed.subarray(0, packed.length >> 1), "gzip data are cut off or damaged"],
    ["a file without its checks", packed.subarray(0, -8), "gzip data are cut off or damaged"],
    ["a file without its last byte", packed.subarray(0, -1), "gzip data are cut off or damaged"],
    ["a changed checksum", withByteChanged(-6), "gzip data are cut off or damaged"],
    ["a changed length", withByteChanged(-1), "gzip data are cut off or damaged"],
    ["further bytes", new Uint8Array([...packed, 1, 2, 3]), "gzip data are cut off or damaged"],
  ])("refuses %s", async (_, bytes, message) => {
    const unpack = gunzip(bytes, { file: "a.gz", fix: "Fetch it." });
    await expect(unpack).rejects.toThrow(DataError);
    await expect(unpack).rejects.toThrow(`a.gz: ${message}`);
    await expect(unpack).rejects.toThrow(/ Fetch it\.$/);
  });
});
