import { describe, expect, it } from "vitest";
import type { AdapterDescription } from "../device/adapter";
import { documentName, formatTable, parseTable, type TunedEntry } from "./table";

const adapter: AdapterDescription = {
  vendor: "nvidia",
  architecture: "ampere",
  device: "",
  description: "NVIDIA: 550.54",
  backend: "vulkan",
  isSoftware: false,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
};

const entries = new Map<string, TunedEntry>([
  ["contraction.1 {rows:2^7}", { variant: { kind: "registers", rows: 8 }, nanoseconds: 10, untunedNanoseconds: 12.5 }],
  ["contraction.1 {rows:2^3}", { variant: { kind: "registers", rows: 4 }, nanoseconds: 3, untunedNanoseconds: 3 }],
]);

describe("the table of measurements", () => {
  it("reads what it wrote", () => {
    expect(parseTable(adapter, formatTable(adapter, entries))).toEqual(entries);
  });

  it("is the same text whatever the order in which entries came", () => {
    expect(formatTable(adapter, new Map([...entries].reverse()))).toBe(formatTable(adapter, entries));
  });

  it("has a name that tells drivers apart and says which adapter it is", () => {
    const updated = { ...adapter, description: "NVIDIA: 560.35" };
    expect(documentName(adapter)).toMatch(/^nvidia-ampere-nvidia-550-54-[0-9a-f]{8}$/);
    expect(documentName(updated)).not.toBe(documentName(adapter));
    const nameless = { ...adapter, vendor: "", architecture: "", description: "" };
    expect(documentName(nameless)).toMatch(/^adapter-[0-9a-f]{8}$/);
  });

  it("does not take the measurements of another adapter or driver", () => {
    expect(parseTable({ ...adapter, description: "NVIDIA: 560.35" }, formatTable(adapter, entries)).size).toBe(0);
  });

  it.each([
    ["nothing", undefined],
    ["an empty file", ""],
    ["half a file", formatTable(adapter, entries).slice(0, 100)],
    ["another document", '{"hello": [1, 2]}'],
    ["a list", "[]"],
    ["null", "null"],
    ["a later form", formatTable(adapter, entries).replace('"version": 1', '"version": 2')],
    ["entries that are none", formatTable(adapter, entries).replace(/"entries": \{.*/s, '"entries": 7}')],
  ])("reads %s as empty", (_, text) => {
    expect(parseTable(adapter, text).size).toBe(0);
  });

  it("leaves out damaged entries and keeps the others", () => {
    const document = JSON.parse(formatTable(adapter, entries));
    Object.assign(document.entries, {
      text: "fast",
      list: { variant: [], nanoseconds: 1, untunedNanoseconds: 1 },
      negative: { variant: {}, nanoseconds: -1, untunedNanoseconds: 1 },
      absent: { variant: {}, nanoseconds: 1 },
    });
    expect(parseTable(adapter, JSON.stringify(document))).toEqual(entries);
  });
});
