import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ArgumentError,
  type DType,
  DTypeError,
  evaluate,
  placeholder,
  pullback,
  ShapeError,
  type Tensor,
  tensor,
} from "../src/index";
import { evaluateReference, retarget, seededDraw } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();

/** Sorting is exact: the device has to give what the float64 reference gives, element by element. */
async function agrees(results: readonly Tensor[]): Promise<void> {
  const expected = evaluateReference(results);
  await evaluate(results);
  for (const [index, result] of results.entries()) {
    expect([...(await result.data())], `result ${index}`).toEqual([...(expected[index]?.values ?? [])]);
  }
}

/** Few distinct values, so that stability shows, and all kinds of numbers. */
function values(count: number, seed: number): Float32Array {
  const draw = seededDraw(seed);
  const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0, 3.4e38, -3.4e38];
  return Float32Array.from({ length: count }, () =>
    draw.integer(0, 9) === 0 ? draw.pick(special) : draw.integer(-9, 9) / 4,
  );
}

const everyWay = (x: Tensor, axis: number): Tensor[] =>
  [false, true].flatMap((descending) => [x.argsort({ axis, descending }), x.sort({ axis, descending })]);

describe("sorting", () => {
  it("is stable, puts NaN last and does not tell -0 from 0, in rows of any length", async () => {
    for (const [rows, length] of [
      [5, 1],
      [3, 2],
      [4, 33],
      [2, 300],
      [1, 2048],
    ] as const) {
      const x = tensor(values(rows * length, length), { shape: [rows, length] });
      const sortedValues = x.sort({ axis: 1 });
      const [sorted] = evaluateReference([sortedValues]);
      await agrees([x.argsort({ axis: 1 }), x.argsort({ axis: 1, descending: true })]);
      const actual = await sortedValues.data();
      // Which NaN, and which zero, is no matter.
      expect([...actual].map((value) => value + 0)).toEqual([...(sorted?.values ?? [])].map((value) => value + 0));
    }
  });

  it("takes rows longer than one workgroup's memory digit by digit", async () => {
    for (const [rows, length] of [
      [1, 2049],
      [3, 4500],
    ] as const) {
      const x = tensor(values(rows * length, length), { shape: [rows, length] });
      await agrees([x.argsort({ axis: 1 }), x.argsort({ axis: 1, descending: true })]);
    }
  }, 120_000);

  it("orders integers of both kinds over their whole range", async () => {
    const signed = tensor(Int32Array.of(5, -1, 2 ** 31 - 1, -(2 ** 31), 0, 5, -1));
    const unsigned = tensor(Uint32Array.of(5, 2 ** 32 - 1, 2 ** 31, 0, 2 ** 31 - 1, 5));
    await agrees([...everyWay(signed, 0), ...everyWay(unsigned, 0)]);
  });

  it("follows any axis of any view", async () => {
    const x = tensor(
      Float32Array.from({ length: 60 }, (_, i) => (i * 37) % 17),
      { shape: [3, 4, 5] },
    );
    await agrees([0, 1, 2].flatMap((axis) => everyWay(x.transpose(0, 2).flip(1), axis)));
  });

  it("of random rows is a permutation that the sorted values come from", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 70 }), async (row) => {
        const x = tensor(row, { dtype: "i32" });
        const [order, sorted] = [await x.argsort({ axis: 0 }).data(), await x.sort({ axis: 0 }).data()];
        expect(new Set(order).size).toBe(row.length);
        expect([...order].map((position) => row[position])).toEqual([...sorted]);
        for (let i = 1; i < row.length; i++) {
          const [before, here] = [sorted[i - 1] as number, sorted[i] as number];
          expect(before < here || (before === here && (order[i - 1] as number) < (order[i] as number))).toBe(true);
        }
      }),
      { numRuns: 12, seed: 5 },
    );
  });

  it("gives the k largest elements, the first of equal ones", async () => {
    const x = tensor([
      [1, 7, 3, 7],
      [0, -1, -1, -2],
    ]);
    const { values: largest, indices } = x.topK(3, { axis: 1 });
    expect(await largest.array()).toEqual([
      [7, 7, 3],
      [0, -1, -1],
    ]);
    expect(await indices.array()).toEqual([
      [1, 3, 2],
      [0, 1, 2],
    ]);
    expect((await x.topK(0, { axis: 0 }).values.data()).length).toBe(0);
    expect(() => x.topK(5, { axis: 1 })).toThrow(ArgumentError);
    expect(() => x.greater(0).sort({ axis: 0 })).toThrow(DTypeError);
    expect(() => x.gatherAlong(tensor([0], { dtype: "i32" }), { axis: 1 })).toThrow(ShapeError);
  });
});

describe("the largest elements", () => {
  it("of long rows come from tournaments of blocks, and are the first ones in descending order", async () => {
    const [rows, length] = [2, 9000];
    const x = tensor(values(rows * length, 3), { shape: [rows, length] });
    // Nearly all elements are NaN: what fills the last block up stays behind them.
    const few = tensor(Float32Array.from({ length: 2050 }, (_, i) => (i % 700 === 0 ? i : Number.NaN)));
    const order = (own: Tensor, k: number, axis: number) =>
      own.argsort({ axis, descending: true }).slice([0, 0], [rows, k]);
    const found = [1, 10, 512, 600].map((k) => x.topK(k, { axis: 1 }).indices);
    const expected = [1, 10, 512, 600].map((k) => order(x, k, 1));
    await evaluate([...found, ...expected]);
    for (const [index, own] of found.entries()) {
      expect([...(await own.data())], `case ${index}`).toEqual([...((await expected[index]?.data()) ?? [])]);
    }
    expect([...(await few.topK(6, { axis: 0 }).indices.data())]).toEqual([1400, 700, 0, 1, 2, 3]);
  }, 120_000);

  it("pass derivatives to where they were", () => {
    const x = placeholder([2, 5], "f32");
    const { values: largest } = x.topK(2, { axis: 1 });
    const [pulled] = pullback(
      [x],
      [largest],
    )([
      tensor([
        [1, 2],
        [3, 4],
      ]),
    ]) as [Tensor];
    const at = { shape: [2, 5], dtype: "f32", values: Float64Array.of(1, 5, 2, 4, 3, 9, 7, 8, 0, 1) } as const;
    const [gradient] = evaluateReference([pulled], new Map([[x, at]]));
    expect([...(gradient?.values ?? [])]).toEqual([0, 1, 0, 2, 0, 3, 0, 4, 0, 0]);
  });
});

describe("cumulative sums", () => {
  /** Small integers: every sum is exact in f32, whatever its order. */
  const cumulated = (shape: readonly number[], dtype: DType = "f32"): Tensor[] => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const x = tensor(
      Float32Array.from({ length: count }, (_, i) => ((i * 37) % 11) - 5),
      { shape },
    ).cast(dtype);
    return [x.cumsum({ axis: 1 }), x.cumsum({ axis: 1, reverse: true })];
  };

  it("run through blocks of rows", async () => {
    for (const isSoftware of [true, false]) {
      retarget(device(), { isSoftware });
      const longer = [...cumulated([1, 4096]), ...cumulated([2, 4100]), ...cumulated([1, 9000], "i32")];
      await agrees([...cumulated([2, 32]), ...cumulated([3, 33], "i32"), ...cumulated([2, 2500]), ...longer]);
    }
    retarget(device(), undefined);
  }, 120_000);

  it("run through blocks of columns, and blocks of blocks", async () => {
    const some = [63, 64, 65, 200].flatMap((length) => cumulated([2, length, 3]));
    await agrees([...some, ...cumulated([2, 64 * 64 + 1, 2])]);
  }, 120_000);
});
