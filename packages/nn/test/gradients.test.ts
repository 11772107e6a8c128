import { grad, jvp, vmap } from "@thalweg/autograd";
import { placeholder, type Tensor, tensor } from "@thalweg/tensor";
import {
  type Bindings,
  directionalDerivative,
  evaluateReference,
  expectClose,
  innerProduct,
  type NdArray,
  randomInputs,
  seededDraw,
} from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { activations, type Case, convolutions, layers, losses } from "./functions";

/** Rules and differences agree up to the error of the latter. */
const close = { relative: 1e-7, absolute: 1e-8 };

/** A function at a random point, with a random direction. */
interface Prepared extends Case {
  readonly inputs: readonly Tensor[];
  readonly at: Bindings;
  readonly along: Bindings;
  readonly direction: readonly Tensor[];
  /** The output times fixed random weights, summed. */
  readonly value: (...inputs: Tensor[]) => Tensor;
}

function prepare(example: Case, seed = 11): Prepared {
  const draw = seededDraw(seed);
  const inputs = example.shapes.map((shape) => placeholder(shape, "f32"));
  const valuesOf = (shapes: readonly (readonly number[])[], distinct = false): NdArray[] =>
    randomInputs(
      {
        inputs: shapes.map((shape) => ({
          shape,
          dtype: "f32",
          distinct,
          ...(example.domain && { domain: example.domain }),
        })),
        params: undefined,
      },
      draw,
    );
  const points = valuesOf(example.shapes, example.distinct);
  const directions = valuesOf(example.shapes);
  const output = example.f(...inputs);
  const [weights] = valuesOf([output.shape]) as [NdArray];
  const weight = tensor(Float32Array.from(weights.values), { shape: output.shape });
  const zip = (values: readonly NdArray[]): Bindings =>
    new Map(inputs.map((input, i) => [input, values[i] as NdArray]));
  return {
    ...example,
    inputs,
    at: zip(points),
    along: zip(directions),
    direction: directions.map(({ values, shape }) => tensor(Float32Array.from(values), { shape })),
    value: (...args) =>
      example
        .f(...args)
        .mul(weight)
        .sum(),
  };
}

const gradientOf = ({ value, shapes }: Prepared) =>
  grad(value, { argnums: shapes.map((_, i) => i) }) as (...inputs: Tensor[]) => Tensor[];

describe("derivatives against finite differences in float64", () => {
  it.each([...convolutions, ...layers, ...losses, ...activations])("first: $name", (example) => {
    const prepared = prepare(example);
    const { inputs, at, along } = prepared;
    const gradients = evaluateReference(gradientOf(prepared)(...inputs), at);
    const [slope] = directionalDerivative([prepared.value(...inputs)], at, along, 2 ** -12) as [NdArray];
    const product = gradients.reduce(
      (sum, g, i) => sum + innerProduct(g, along.get(inputs[i] as Tensor) as NdArray),
      0,
    );
    expect(Math.abs(product)).toBeGreaterThan(1e-3);
    expectClose([product], slope.values, close);
  });

  it.each([
    ...convolutions,
    ...layers.filter(({ distinct }) => !distinct),
    ...losses.filter(({ distinct }) => !distinct),
  ])("second: $name", (example) => {
    const prepared = prepare(example);
    const { inputs, at, along, direction } = prepared;
    const gradient = gradientOf(prepared);
    const [, tangents] = jvp((...args: Tensor[]) => gradient(...args), [...inputs], [...direction]);
    const expected = directionalDerivative(gradient(...inputs), at, along, 2 ** -10);
    evaluateReference(tangents as Tensor[], at).forEach((tangent, i) =>
      expectClose(tangent, expected[i] as NdArray, { relative: 1e-6, absolute: 1e-7 }, `argument ${i}`),
    );
  });

  it.each([...convolutions, ...layers, ...losses])("per example, vmap of grad is a loop of grad: $name", (example) => {
    const [first, second] = [prepare(example, 21), prepare(example, 22)];
    const gradient = gradientOf(first);
    const values = ({ inputs, at }: Prepared) => inputs.map((input) => at.get(input) as NdArray);
    const pairs = values(first).map((array, i) => [array, values(second)[i] as NdArray] as const);
    const rows = pairs.map(([a, b]) =>
      tensor(Float32Array.from([...a.values, ...b.values]), { shape: [2, ...a.shape] }),
    );
    const batched = evaluateReference(vmap(gradient)(...rows));
    const one = evaluateReference(gradient(...first.inputs), first.at);
    const other = evaluateReference(
      gradient(...first.inputs),
      new Map(first.inputs.map((input, i) => [input, values(second)[i] as NdArray])),
    );
    for (const [i, array] of batched.entries()) {
      const expected = [...(one[i] as NdArray).values, ...(other[i] as NdArray).values];
      expectClose(array, { values: expected, shape: array.shape }, { relative: 1e-11, absolute: 1e-12 });
    }
  });
});
