import { describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { parseTar } from "./tar";

interface Member {
  readonly name: string;
  readonly text?: string;
  readonly type?: string;
  readonly prefix?: string;
}

/** A ustar archive of text files, with the two closing blocks of zeros. */
function archive(...members: readonly Member[]): Uint8Array {
  const blocks = members.flatMap(({ name, text = "", type = "0", prefix = "" }) => {
    const header = new Uint8Array(512);
    const put = (at: number, value: string) => header.set(new TextEncoder().encode(value), at);
    const content = new TextEncoder().encode(text);
    put(0, name);
    put(124, `${content.length.toString(8).padStart(11, "0")} `);
    put(148, " ".repeat(8));
    put(156, type);
    put(257, "ustar\u000000");
    put(345, prefix);
    const sum = header.reduce((total, byte) => total + byte, 0);
    put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
    return [...header, ...content, ...new Uint8Array((512 - (content.length % 512)) % 512)];
  });
  return Uint8Array.from([...blocks, ...new Uint8Array(1024)]);
}

const namesAndTexts = (bytes: Uint8Array) =>
  parseTar(bytes, { file: "a.tar" }).map(({ name, data }) => [name, new TextDecoder().decode(data)]);

describe("parseTar", () => {
  it("lists regular files in order and passes over folders and links", () => {
    const bytes = archive(
      { name: "data/", type: "5" },
      { name: "data/one.txt", text: "first" },
      { name: "link", type: "2" },
      { name: "two.txt", text: "x".repeat(600), prefix: "deep/folder" },
    );
    expect(namesAndTexts(bytes)).toEqual([
      ["data/one.txt", "first"],
      ["deep/folder/two.txt", "x".repeat(600)],
    ]);
  });

  it("reads the long names of GNU tar and of pax headers", () => {
    const long = `${"long-".repeat(30)}name`;
    const pathRecord = (path: string) => {
      const rest = ` path=${path}\n`;
      return `${rest.length + 3}${rest}`;
    };
    const bytes = archive(
      { name: "././@LongLink", type: "L", text: `${long}\0` },
      { name: "short", text: "gnu" },
      { name: "pax", type: "x", text: `11 mtime=1\n${pathRecord(long)}` },
      { name: "short", text: "pax" },
      { name: "plain", text: "neither" },
    );
    expect(namesAndTexts(bytes)).toEqual([
      [long, "gnu"],
      [long, "pax"],
      ["plain", "neither"],
    ]);
  });

  const good = archive({ name: "a.txt", text: "hello" });
  const changed = good.slice();
  changed[1] = 0x62;
  it.each([
    ["an empty file", new Uint8Array(), "tar archive is cut off"],
    [
      "an archive without its end",
      good.subarray(0, 1024),
      "expected a closing block of zeros, found the end at byte 1024",
    ],
    [
      "an archive that ends inside a file",
      good.subarray(0, 514),
      "tar archive is cut off inside a.txt (expected 5 bytes",
    ],
    ["a changed header", changed, "wrong tar header checksum at byte 0"],
    ["another format", new Uint8Array(1024).fill(7), "wrong tar header checksum at byte 0"],
  ])("refuses %s", (_, bytes, message) => {
    const parse = () => parseTar(bytes, { file: "a.tar" });
    expect(parse).toThrow(DataError);
    expect(parse).toThrow(message);
  });
});
