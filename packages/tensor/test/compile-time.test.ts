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

it("operands that lanes load for each other give the same bits, whatever does not fill a tile", async ({ skip }) => {
  const { features, adapter } = device();
  const lanes = adapter.subgroupMinSize;
  if (!features.has("subgroups") || lanes !== adapter.subgroupMaxSize) skip("the adapter has no fixed subgroups");
  const product = (a?: Tensor, b?: Tensor, c?: Tensor) => (a as Tensor).dot(b as Tensor).add(c as Tensor);
  const transposed = (a?: Tensor, b?: Tensor, c?: Tensor) => (c as Tensor).sub((a as Tensor).T.dot(b as Tensor));
  const run = async (broadcastLanes: number, fn: typeof product, args: Tensor[]) => {
    retarget(device(), { broadcastLanes, isSoftware: true });
    const program = compile(fn, { donate: [2] });
    // Added twice to where it lies: what is stored twice would show.
    const values = await program(args[0], args[1], program(args[0], args[1], (args[2] as Tensor).mul(1))).data();
    return {
      values,
      code: program
        .statistics()
        .kernels.map((kernel) => kernel.code)
        .join(),
    };
  };
  for (const [rows, columns] of [
    [16, 32],
    [21, 100],
    [9, 4 * lanes + 6],
    [40, 10],
  ] as const) {
    const c = random(rows, columns);
    for (const [fn, a] of [
      [product, random(rows, 12)],
      [transposed, random(12, rows)],
    ] as const) {
      const plain = await run(0, fn, [a, random(12, columns), c]);
      const shared = await run(lanes, fn, [a, random(12, columns), c]);
      expect(shared.values).toEqual(plain.values);
      expect(plain.code).not.toContain("subgroup");
      expect(shared.code.includes("subgroupBroadcast")).toBe(columns > 2 * lanes);
    }
  }
});
