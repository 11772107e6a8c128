import { describe, expect, it } from "vitest";
import { compileValue } from "./evaluate";
import { FormulaError, parseFormula } from "./parse";

const at = (formula: string, x: number, y: number): number => compileValue(parseFormula(formula))(x, y);

describe("a formula", () => {
  it.each([
    ["1 + 2 * 3", 7],
    ["(1 + 2) * 3", 9],
    ["8 / 4 / 2", 1],
    ["2 - 3 - 4", -5],
    ["2^3^2", 512],
    ["-2^2", -4],
    ["2^-1", 0.5],
    ["--3", 3],
    ["2 ** 3", 8],
    ["3x", 6],
    ["3 x y", 30],
    ["2(x + 1)(y - 1)", 24],
    ["x(y)", 10],
    ["1/2x", 1],
    ["5.1/(4 pi^2) x^2", (5.1 / (4 * Math.PI ** 2)) * 4],
    ["x²y", 20],
    ["x¹²", 4096],
    ["2·x − y×3 ÷ 1", -11],
    ["u + 10 v", 52],
    ["e^x", Math.E ** 2],
    ["2e3 + 1e-1", 2000.1],
    [".5", 0.5],
    ["π", Math.PI],
    ["sin(x) + cos(y)", Math.sin(2) + Math.cos(5)],
    ["min(x, y, 1) + max(x, y)", 6],
    ["abs(-x) sqrt(y - 1)", 4],
    ["log(exp(x))", 2],
    ["tanh(x) + sinh(x) + cosh(x) + tan(x)", Math.tanh(2) + Math.exp(2) + Math.tan(2)],
  ])("%s is %d at (2, 5)", (formula, value) => {
    expect(at(formula, 2, 5)).toBeCloseTo(value, 12);
  });

  it("without variables is a constant", () => {
    expect(parseFormula("min(3, 2) + sin(0)")).toEqual({ kind: "constant", value: 2 });
  });
});

describe("what cannot be read is refused with its place", () => {
  it.each([
    ["", 0, "The formula is empty. Try x^2 + 3 y^2."],
    ["x +", 3, "The formula ends too early: a number, x, y or ( is missing."],
    ["x + * y", 4, "A number, x, y or ( is missing before “*”."],
    ["(x + 1", 0, "This ( is never closed."],
    ["x + 1)", 5, "There is no ( for this )."],
    ["x $ y", 2, "“$” has no meaning in a formula."],
    ["[x]", 0, "“[” has no meaning in a formula. Use ( and )."],
    ["x + 😀", 4, "“😀” has no meaning in a formula."],
    ["sn(x)", 0, "“sn” is not known. Did you mean sin?"],
    ["x + tahn(y)", 4, "“tahn” is not known. Did you mean tanh?"],
    ["ln(x)", 0, "“ln” is not known. Log is the natural logarithm."],
    ["xy", 0, "“xy” is not known. For a product put a space or * between: x y."],
    ["x + u", 4, "The variables are x and y so far, so “u” cannot be one."],
    ["sin x", 0, "Write sin with parentheses: sin(x)."],
    ["sin(x, y)", 0, "sin takes one operand, not 2."],
    ["min(x)", 0, "min takes two operands or more: min(x, y)."],
    ["(x, y)", 2, "A comma separates the operands of min and max only."],
    ["x^", 2, "The formula ends too early: a number, x, y or ( is missing."],
    ["x, y", 1, "“,” cannot stand here."],
  ])("%j at character %d: %s", (formula, position, message) => {
    const error = errorOf(formula);
    expect({ position: error.position, message: error.message }).toEqual({ position, message });
  });

  it("marks the whole of an unknown name", () => {
    expect(errorOf("x + foo").length).toBe(3);
  });

  it("has an end: long and deeply nested formulas are refused, not run out of stack", () => {
    expect(errorOf("x+".repeat(600)).message).toContain("up to 1000");
    expect(errorOf("(".repeat(400)).message).toContain("nested");
    expect(errorOf(`x${"^x".repeat(400)}`).message).toContain("nested");
    expect(at(`${"-".repeat(500)}x`, 2, 5)).toBe(2);
  });
});

function errorOf(formula: string): FormulaError {
  try {
    parseFormula(formula);
  } catch (error) {
    if (error instanceof FormulaError) return error;
    throw error;
  }
  throw new Error(`${formula} was read.`);
}
