import { describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { parseText } from "./text";

const encode = (text: string) => new TextEncoder().encode(text);

describe("parseText", () => {
  const mixed = encode("\u{feff}één\r\ntwo\nthree\rend");
  it.each([
    ["lf", "één\ntwo\nthree\nend"],
    ["crlf", "één\r\ntwo\r\nthree\r\nend"],
    ["keep", "één\r\ntwo\nthree\rend"],
  ] as const)("gives line ends as asked: %s", (lineEnds, text) => {
    expect(parseText(mixed, { file: "a.txt", lineEnds })).toBe(text);
  });

  it.each([
    ["a stray byte", [...encode("naïve "), 0xff, 0x41], "found bytes ff 41 at byte 7"],
    ["a sequence that is cut off", [...encode("ab"), 0xe2, 0x82], "not a UTF-8 text"],
  ])("refuses %s", (_, bytes, message) => {
    const parse = () => parseText(Uint8Array.from(bytes), { file: "a.txt" });
    expect(parse).toThrow(DataError);
    expect(parse).toThrow(message);
  });
});
