import { describe, expect, it } from "vitest";
import { zeros } from "../create";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { evaluateReference } from "../reference/interpreter";
import { placeholder } from "../tensor";
import { expectClose, randomInputs, seededDraw } from "../testing";
import { einsum } from "./einsum";

const extents: Readonly<Record<string, number>> = { i: 2, j: 3, k: 4, l: 2, b: 3 };

/** The definition: a sum over all letters that the result lacks. */
function einsumByLoops(inputs: readonly string[], output: string, values: readonly NdArray[]): NdArray {
  const letters = [...new Set(inputs.join(""))];
  const summed = letters.filter((letter) => !output.includes(letter));
  const extentsOf = (names: readonly string[]) => names.map((name) => extents[name] as number);
  return ndarray(extentsOf([...output]), "f32", (outer) => {
    let total = 0;
    ndarray(extentsOf(summed), "f32", (inner) => {
      const at = (letter: string) =>
        (output.includes(letter) ? outer[output.indexOf(letter)] : inner[summed.indexOf(letter)]) as number;
      total += inputs.reduce(
        (product, term, index) => product * elementAt(values[index] as NdArray, [...term].map(at)),
        1,
      );
      return 0;
    });
    return total;
  });
}

/** `full` is the same with `...` written out, for the loops. */
const cases: { subscripts: string; full?: string }[] = [
  { subscripts: "ij,jk->ik" },
  { subscripts: "ij,jk", full: "ij,jk->ik" },
  { subscripts: "kj,ji", full: "kj,ji->ik" },
  { subscripts: "bij,bjk->bik" },
  { subscripts: "bij,bjk->kb" },
  { subscripts: "ij,kj->ki" },
  { subscripts: "i,j->ij" },
  { subscripts: "ij,ij->ij" },
  { subscripts: "ij,i->ji" },
  { subscripts: "ij,ij->" },
  { subscripts: "ijk->ki" },
  { subscripts: "ijk->" },
  { subscripts: "ii->i" },
  { subscripts: "ii->" },
  { subscripts: "iij->ji" },
  { subscripts: "iji,j->i" },
  { subscripts: "bibi->ib" },
  { subscripts: "i,ij,jk,k->" },
  { subscripts: "ij,jk,kl->il" },
  { subscripts: "bi,bj,bk->ijk" },
  { subscripts: "ij,k->j" },
  { subscripts: "...ij,...jk->...ik", full: "bij,bjk->bik" },
  { subscripts: "i...,i...->...", full: "ibj,ibj->bj" },
  { subscripts: "...j,jk", full: "bij,jk->bik" },
  { subscripts: " i j , j k -> i k ", full: "ij,jk->ik" },
];

describe("einsum", () => {
  it.each(cases)("$subscripts equals its definition", ({ subscripts, full = subscripts }) => {
    const [left, output] = full.replaceAll(" ", "").split("->") as [string, string];
    const terms = left.split(",");
    const shapes = terms.map((term) => [...term].map((letter) => extents[letter] as number));
    const sample = { inputs: shapes.map((shape) => ({ shape, dtype: "f32" as const })), params: undefined };
    const values = randomInputs(sample, seededDraw(2));
    const operands = shapes.map((shape) => placeholder(shape, "f32"));
    const bindings = new Map(operands.map((operand, index) => [operand, values[index] as NdArray]));
    const [actual] = evaluateReference([einsum(subscripts, ...operands)], bindings) as [NdArray];
    const expected = einsumByLoops(terms, output, values);
    expect(actual.shape).toEqual(expected.shape);
    expectClose(actual, expected, { relative: 1e-12, absolute: 1e-12 });
  });

  it("is one dot where two operands share summed letters, and no dot where nothing is summed", () => {
    expect(einsum("bij,bjk->bik", zeros([2, 3, 4]), zeros([2, 4, 5])).primitive.name).toBe("dot");
    expect(einsum("i,j->ij", zeros([2]), zeros([3])).primitive.name).toBe("mul");
  });

  it("multiplies the pair with the smallest result first", () => {
    const chain = einsum("ij,jk,k->i", zeros([50, 60]), zeros([60, 70]), zeros([70]));
    expect(chain.inputs.map(({ shape }) => shape.length).sort()).toEqual([1, 2]);
  });

  it("explains what is wrong", () => {
    const [a, b] = [zeros([2, 3]), zeros([4, 5])];
    expect(() => einsum("ij,jk->ik", a, b)).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: einsum: "j" in "ij,jk->ik" is 3 at axis 1 of operand 0 [2, 3] and 4 at axis 0 of operand 1 [4, 5]. Axes of one letter must agree.]`,
    );
    expect(() => einsum("ij->ik", a)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: einsum: "ij->ik" has "k" in the result and in no operand. Write it like "ij,jk->ik".]`,
    );
    expect(() => einsum("ij,jk->ik", a)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: einsum: "ij,jk->ik" names 2 operands, 1 were given. Write it like "ij,jk->ik".]`,
    );
    expect(() => einsum("ijk->i", a)).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: einsum: "ijk" in "ijk->i" does not fit operand 0, which is [2, 3]. Give one letter per axis.]`,
    );
    expect(() => einsum("i1->i", a)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: einsum: "i1->i" has "i1", which is not made of letters and one "...". Write it like "ij,jk->ik".]`,
    );
    expect(() => einsum("ij->ii", a)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: einsum: "ij->ii" has "i" twice in the result. Write it like "ij,jk->ik".]`,
    );
    expect(() => einsum("ij->i->j", a)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: einsum: "ij->i->j" has two arrows. Write it like "ij,jk->ik".]`,
    );
  });
});
