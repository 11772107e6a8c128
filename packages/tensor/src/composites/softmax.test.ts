import { describe, expect, it } from "vitest";
import { tensor } from "../create";
import { elementAt, type NdArray, ndarray } from "../reference/array";
import { evaluateReference } from "../reference/interpreter";
import { placeholder, type Tensor } from "../tensor";
import { expectClose, randomInputs, seededDraw } from "../testing";
import { moments, standardize } from "./norm";
import { logSoftmax, softmax } from "./softmax";

const exact = { relative: 1e-12, absolute: 1e-13 };

function onRandom(shape: readonly number[], f: (x: Tensor) => Tensor): { value: NdArray; result: NdArray } {
  const sample = { inputs: [{ shape, dtype: "f32" as const, domain: [-6, 6] as const }], params: undefined };
  const [value] = randomInputs(sample, seededDraw(1)) as [NdArray];
  const x = placeholder(shape, "f32");
  return { value, result: evaluateReference([f(x)], new Map([[x, value]]))[0] as NdArray };
}

/** All elements of `x` that differ from a position along the axes only. */
function along(x: NdArray, c: readonly number[], axes: readonly number[]): number[] {
  const values: number[] = [];
  ndarray(x.shape, "f32", (other) => {
    if (other.every((own, axis) => axes.includes(axis) || own === c[axis])) values.push(elementAt(x, other));
    return 0;
  });
  return values;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe.each([0, 1, 2, -1])("along axis %d", (axis) => {
  const own = axis < 0 ? axis + 3 : axis;

  it("softmax is exp(x) / Σ exp(x)", () => {
    const { value, result } = onRandom([3, 4, 5], (x) => softmax(x, { axis }));
    const expected = ndarray(
      value.shape,
      "f32",
      (c) => Math.exp(elementAt(value, c)) / sum(along(value, c, [own]).map(Math.exp)),
    );
    expectClose(result, expected, exact);
  });

  it("logSoftmax is x - log Σ exp(x)", () => {
    const { value, result } = onRandom([3, 4, 5], (x) => logSoftmax(x, { axis }));
    const expected = ndarray(
      value.shape,
      "f32",
      (c) => elementAt(value, c) - Math.log(sum(along(value, c, [own]).map(Math.exp))),
    );
    expectClose(result, expected, exact);
  });
});

describe("softmax", () => {
  it("neither overflows nor divides by 0", () => {
    const x = tensor([[1e30, 1e30, -1e30]]);
    const [probabilities, logs] = evaluateReference([softmax(x), logSoftmax(x.mul(1e-27))]) as [NdArray, NdArray];
    expect([...probabilities.values]).toEqual([0.5, 0.5, 0]);
    expectClose(logs, [-Math.LN2, -Math.LN2, -2000 - Math.LN2], { relative: 1e-6, absolute: 0 });
  });
});

describe("standardize", () => {
  it("has mean 0 and variance 1 - epsilon / (variance + epsilon)", () => {
    const { value, result } = onRandom([3, 4, 5], (x) => standardize(x, { axis: [0, 2], epsilon: 0.1 }));
    const expected = ndarray(value.shape, "f32", (c) => {
      const values = along(value, c, [0, 2]);
      const mean = sum(values) / values.length;
      const variance = sum(values.map((v) => (v - mean) ** 2)) / values.length;
      return (elementAt(value, c) - mean) / Math.sqrt(variance + 0.1);
    });
    expectClose(result, expected, exact);
  });

  it("does not cancel: the variance of large numbers is that of their deviations", () => {
    const { variance } = moments(tensor([16777216, 16777218, 16777220]), { axis: 0 });
    expectClose(evaluateReference([variance])[0] as NdArray, [8 / 3], exact);
  });
});
