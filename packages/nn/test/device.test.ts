import { grad } from "@thalweg/autograd";
import { evaluate, type Tensor, tensor } from "@thalweg/tensor";
import {
  evaluateReference,
  expectClose,
  type NdArray,
  randomInputs,
  seededDraw,
  tolerance,
} from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { activations, type Case, convolutions, layers, losses } from "./functions";

async function check({ name, shapes, f, distinct = false, domain = [-2, 2] }: Case): Promise<void> {
  const sample = {
    inputs: shapes.map((shape) => ({ shape, dtype: "f32" as const, distinct, domain })),
    params: undefined,
  };
  const inputs = randomInputs(sample, seededDraw(5)).map(({ values, shape }) =>
    tensor(Float32Array.from(values), { shape }),
  );
  const gradient = grad(
    (...args: Tensor[]) =>
      f(...args)
        .square()
        .sum(),
    { argnums: inputs.map((_, index) => index) },
  );
  const results = [f(...inputs), ...(gradient(...inputs) as Tensor[])];
  const expected = evaluateReference(results) as NdArray[];
  await evaluate(results);
  for (const [index, result] of results.entries()) {
    const array = expected[index] as NdArray;
    const scale = array.values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
    // Some dozens of rounded steps with intermediate values a few times larger than the result.
    const bound = tolerance({ terms: 32, ulp: 4, condition: 4, scale });
    expectClose(await result.data(), array, bound, index === 0 ? name : `${name}, gradient of argument ${index - 1}`);
  }
}

/** One case per kind of computation: on a software adapter compiling the shaders takes most of the time. */
const names = [
  "conv2d, stride 2, padding 1",
  "conv2d, groups",
  "convTranspose2d, stride 2",
  "maxPool, overlapping, same",
  "averagePool",
  "layerNorm",
  "batchNorm in training",
  "embedding",
  "dropout",
  "scaledDotProductAttention, causal",
  "lstmCell",
  "softmaxCrossEntropy with all options",
  "gelu",
];

const chosen = [...convolutions, ...layers, ...losses, ...activations].filter(({ name }) => names.includes(name));

describe("on the device", () => {
  it("all chosen cases exist", () => {
    expect(chosen.map(({ name }) => name).sort()).toEqual([...names].sort());
  });

  it.each(chosen)("$name: value and gradient are those of the float64 reference", check, 120_000);
});
