import { evaluate, type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference, expectClose, tolerance } from "@thalweg/tensor/testing";
import { grad, hvp, jvp, vmap } from "../src/index";
import type { FunctionCase } from "./functions";
import { randomArrays, weighted } from "./support";

const batch = 3;

/** Derivatives of one function in all the ways that transformations nest, computed together on the device. */
export async function checkOnDevice(example: FunctionCase): Promise<void> {
  const [x, v, rows] = [example.shapes, example.shapes, example.shapes.map((shape) => [batch, ...shape])].map(
    (shapes, seed) =>
      randomArrays(seed + 1, shapes, example.domain).map(({ values, shape }) =>
        tensor(Float32Array.from(values), { shape }),
      ),
  ) as [Tensor[], Tensor[], Tensor[]];
  const g = weighted(example);
  const argnums = x.map((_, index) => index);
  const gradient = (...args: Tensor[]): Tensor[] => grad(g, { argnums })(...args) as Tensor[];
  const total = (...args: Tensor[]): Tensor => vmap((...inner: Tensor[]) => g(...inner))(...args).sum();
  const results: Record<string, Tensor[]> = {
    value: [example.f(...x)],
    grad: gradient(...x),
    "jvp of grad": jvp((...args: Tensor[]) => gradient(...args), x, v)[1],
    "grad of grad": grad((args: Tensor[]) =>
      gradient(...args).reduce((sum, part, i) => sum.add(part.mul(v[i] as Tensor).sum()), g(...args)),
    )(x),
    hvp: hvp((args: Tensor[]) => g(...args), x, v),
    "vmap of grad": vmap(gradient)(...rows),
    "grad of vmap": grad(total, { argnums })(...rows) as Tensor[],
  };
  const names = Object.entries(results).flatMap(([name, tensors]) => tensors.map((_, index) => `${name} ${index}`));
  const tensors = Object.values(results).flat();
  const expected = evaluateReference(tensors);
  await evaluate(tensors);
  for (const [index, result] of tensors.entries()) {
    const array = expected[index] as (typeof expected)[number];
    const scale = array.values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
    // Some dozens of rounded steps with intermediate values a few times larger than the result.
    const bound = tolerance({ terms: 32, ulp: 4, condition: 4, scale });
    expectClose(await result.data(), array, bound, `${example.name}, ${names[index]}`);
  }
}
