import { describe, expect, it } from "vitest";
import { loweringOf } from "../primitives/definition";
import { placeholder, type Tensor } from "../tensor";
import { ExpressionLines } from "./signature";

const linesOf = (...nodes: readonly Tensor[]): string => {
  const expressions = new ExpressionLines((node) => loweringOf(node, "leaf") !== undefined);
  const numbers = nodes.map((node) => expressions.add(node));
  return [...expressions.lines, numbers.join()].join("\n");
};

const input = (...shape: number[]) => placeholder(shape, "f32");

describe("lines of expressions", () => {
  it("are equal for the same function of other tensors", () => {
    const [x, y] = [input(3, 4), input(3, 4)];
    expect(linesOf(x.add(1).exp())).toBe(linesOf(y.add(1).exp()));
  });

  it.each<[string, (x: Tensor) => Tensor]>([
    ["another operation", (x) => x.add(1).log()],
    ["another constant", (x) => x.add(2).exp()],
    ["another order of operands", (x) => x.neg().sub(x.exp())],
  ])("differ for %s", (_, other) => {
    const x = input(3, 4);
    expect(linesOf(other(x))).not.toBe(linesOf(x.add(1).exp()));
    expect(linesOf(other(x))).toBe(linesOf(other(input(3, 4))));
  });

  it("differ by shape and dtype of what is read", () => {
    const texts = [input(3, 4), input(4, 3), placeholder([3, 4], "f16")].map((x) => linesOf(x.exp()));
    expect(new Set(texts).size).toBe(3);
  });

  it("tell one tensor read twice from two that are alike", () => {
    const [x, y] = [input(3), input(3)];
    expect(linesOf(x.mul(x))).not.toBe(linesOf(x.mul(y)));
    expect(linesOf(x.mul(y))).toBe(linesOf(y.mul(x)));
    const once = x.exp();
    expect(linesOf(once, once)).not.toBe(linesOf(x.exp(), x.exp()));
  });

  it("end where something is read", () => {
    const [x, middle] = [input(3), input(3).exp()];
    const expressions = new ExpressionLines((node) => node === middle);
    expressions.add(middle.neg());
    expect(expressions.lines).toEqual([expect.stringMatching(/^read:f32\[3\]$/), expect.stringContaining("neg(0)")]);
    expect(linesOf(x.neg())).toContain("neg(0)");
  });
});
