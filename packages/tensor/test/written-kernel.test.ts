import { expect, it } from "vitest";
import { compile, tensor } from "../src/index";
import { definePrimitive } from "../src/primitives/definition";
import { apply, type Tensor } from "../src/tensor";
import { useDevice } from "./device";

useDevice();

/** `[n]` and `[n]` to `[n]`: the sum of a and the reversed b, through workgroup memory. */
const addReversed = definePrimitive<Record<string, never>>({
  name: "addReversed",
  shape: ([a]) => ({ shape: (a as Tensor).shape, dtype: "f32" }),
  lowering: {
    kind: "kernel",
    kernel([a]) {
      const length = a?.shape[0] as number;
      return {
        label: "add_reversed",
        declarations: `var<workgroup> staged: array<f32, ${length}>;`,
        body: ({ inputs: [x, y], output }) => `
  for (var i = local; i < ${length}u; i += 8u) { staged[i] = ${y}[i]; }
  workgroupBarrier();
  for (var i = local; i < ${length}u; i += 8u) { ${output}[i] = ${x}[i] + staged[${length - 1}u - i]; }`,
        workgroupSize: 8,
        workgroups: 1,
        flops: length,
      };
    },
  },
  reference: () => {
    throw new Error("not asked for");
  },
  vjp: () => [null, null],
  jvp: () => null,
  batch: ([x]) => x as Tensor,
  sample: () => ({ inputs: [], params: {} }),
});

const combine = (a: Tensor, b: Tensor): Tensor => apply(addReversed, [a, b], {}) as Tensor;

it("stores what a written kernel reads, views included, and lets others read its result", async () => {
  const x = tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3] });
  const flat = x.T.reshape([6]);
  // flat is [1, 4, 2, 5, 3, 6].
  expect(await combine(flat, flat.mul(10)).add(1).array()).toEqual([62, 35, 53, 26, 44, 17]);
});

it("binds a tensor that is passed twice once", async () => {
  const x = tensor([1, 2, 3]);
  expect(await combine(x, x).array()).toEqual([4, 4, 4]);
});

it("is never computed in place of what it reads", async () => {
  const step = compile((x: Tensor) => combine(x, x.mul(2)), { donate: [0] });
  let x = tensor([1, 2, 3]);
  for (let call = 0; call < 3; call++) x = step(x);
  const expected = [1, 2, 3];
  for (let call = 0; call < 3; call++) {
    const before = [...expected];
    for (const i of [0, 1, 2]) expected[i] = (before[i] as number) + 2 * (before[2 - i] as number);
  }
  expect(await x.array()).toEqual(expected);
});
