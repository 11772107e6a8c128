import { describe, expect, it } from "vitest";
import type { CompileTarget } from "../compiler/target";
import type { ContractionProblem } from "../kernels/contraction/variants";
import { askingTarget, classKey, tunedTarget } from "./family";

/** What the variants of contractions look at. */
const target = {
  isSoftware: true,
  invocations: 64,
  operandReuse: 4,
  likesTallTiles: false,
  maxBindings: 8,
  maxWorkgroups: 65_535,
  maxInvocationsPerWorkgroup: 256,
  maxWorkgroupBytes: 16_384,
  hasF16: false,
  maxBindingBytes: 2 ** 27,
  maxBufferBytes: 2 ** 28,
} as Partial<CompileTarget> as CompileTarget;

const problem: ContractionProblem = {
  batch: 1,
  rows: 128,
  columns: 100,
  depth: 784,
  dtype: "f32",
  a: { contracted: true, free: false },
  b: { contracted: false, free: true },
  gathers: false,
  epilogue: true,
  isSymmetric: false,
};

const keyOf = (own: object) => classKey({ name: "contraction", version: 1 }, own);

describe("classes of problems", () => {
  it("gather numbers by their power of two", () => {
    expect(keyOf({ ...problem, rows: 255 })).toBe(keyOf(problem));
    expect(keyOf({ ...problem, rows: 256 })).not.toBe(keyOf(problem));
    expect(keyOf({ ...problem, depth: 512 })).toBe(keyOf(problem));
  });

  it.each([
    { dtype: "f16" },
    { epilogue: false },
    { gathers: true },
    { isSymmetric: true },
    { a: { contracted: false, free: true } },
  ])("tell %j apart", (change) => {
    expect(keyOf({ ...problem, ...change })).not.toBe(keyOf(problem));
  });

  it("do not depend on the order of fields, and name family and version", () => {
    const reversed = Object.fromEntries(Object.entries(problem).reverse());
    expect(keyOf(reversed)).toBe(keyOf(problem));
    expect(classKey({ name: "contraction", version: 2 }, problem)).not.toBe(keyOf(problem));
  });
});

describe("a target with a table", () => {
  const { target: asking, asked } = askingTarget(target);
  const { chooseContraction: ask } = asking;

  it("asks about each class once", () => {
    expect(ask?.(problem)).toBeUndefined();
    ask?.({ ...problem, rows: 140 });
    ask?.({ ...problem, rows: 1 });
    expect(asked.map(({ key }) => key)).toEqual([keyOf(problem), keyOf({ ...problem, rows: 1 })]);
  });

  it("answers with the entry of the class, and leaves other classes to heuristics", () => {
    const variant = asked[0]?.variants.at(-1) as Readonly<Record<string, unknown>>;
    const entries = new Map([[keyOf(problem), { variant, nanoseconds: 1, untunedNanoseconds: 2 }]]);
    const { chooseContraction: choose } = tunedTarget(target, entries);
    expect(choose?.(problem)).toEqual(variant);
    expect(choose?.({ ...problem, batch: 64 })).toBeUndefined();
  });

  it("passes over an entry that the engine would not offer", () => {
    const entry = { variant: { kind: "registers", rows: 1e9 }, nanoseconds: 1, untunedNanoseconds: 2 };
    const { chooseContraction: choose } = tunedTarget(target, new Map([[keyOf(problem), entry]]));
    expect(choose?.(problem)).toBeUndefined();
  });

  it("can be forced to one answer for one class", () => {
    const variant = asked[0]?.variants[1] as Readonly<Record<string, unknown>>;
    const forced = asked[0]?.forced(variant);
    expect(forced?.chooseContraction?.(problem)).toEqual(variant);
    expect(forced?.chooseContraction?.({ ...problem, depth: 3 })).toBeUndefined();
  });
});
