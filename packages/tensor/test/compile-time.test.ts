import { afterEach, expect, it } from "vitest";
import { arange, compile, key, type Tensor, uniform } from "../src/index";
import { retarget } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();
afterEach(() => void retarget(device(), undefined));

const random = (...shape: number[]): Tensor => uniform(key(shape.length), shape, { low: -1, high: 1 });

/** Text of all kernels of a function, and its results. */
async function compiled(keepsLoops: boolean, fn: (...args: readonly Tensor[]) => Tensor, ...args: Tensor[]) {
  retarget(device(), { keepsLoops });
  const program = compile(fn);
  const values = await program(...args).data();
  return { code: program.statistics().kernels.map((kernel) => kernel.code), values };
}

it("loops with hidden bounds compute the same bits as loops with plain ones", async () => {
  const rows = (x?: Tensor) => (x as Tensor).sum({ axis: 1 });
  const x = random(37, 24);
  const plain = await compiled(false, rows, x);
  const hidden = await compiled(true, rows, x);
  expect(plain.code.join()).toMatch(/< 6;/);
  expect(hidden.code.join()).not.toMatch(/for \(.*< \d+;/);
  expect(hidden.values).toEqual(plain.values);
});

it("where loops are kept, an epilogue is one text for all elements of a tile", async () => {
  const update = (a?: Tensor, b?: Tensor, c?: Tensor) =>
    (a as Tensor)
      .dot(b as Tensor)
      .mul(2)
      .add(c as Tensor);
  for (const [rows, columns] of [
    [8, 8],
    [5, 3],
  ] as const) {
    const operands = [random(rows, 12), random(12, columns), arange(rows * columns).reshape([rows, columns])];
    const plain = await compiled(false, update, ...operands);
    const looped = await compiled(true, update, ...operands);
    expect(looped.code.join().match(/out\d\[.*\] = /g)).toHaveLength(1);
    expect(looped.values).toEqual(plain.values);
  }
});
