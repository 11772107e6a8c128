import { describe, expect, it } from "vitest";
import { compile, type DType, evaluate, type Tensor, tensor } from "../src/index";
import { evaluateReference, seededDraw } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();

const slow = 120_000;

/** Small integers, whose sums are exact in any order. */
function updatesOf(shape: readonly number[], dtype: DType = "f32"): Tensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  return tensor(
    Float32Array.from({ length: count }, (_, i) => ((i * 37) % 11) - 5),
    { shape },
  ).cast(dtype);
}

/** Rows, some below 0 and some beyond the last one; every `often`-th update goes to one row. */
function rowsOf(count: number, extent: number, often = count): Tensor {
  const draw = seededDraw(count);
  return tensor(Int32Array.from({ length: count }, (_, i) => (i % often === 1 ? 7 : draw.integer(-2, extent + 1))));
}

function labels(fn: (x: Tensor, rows: Tensor) => Tensor, x: Tensor, rows: Tensor): string {
  const program = compile(fn);
  program(x, rows);
  return program
    .statistics()
    .kernels.map(({ label }) => label)
    .join();
}

async function agrees(results: readonly Tensor[]): Promise<void> {
  const expected = evaluateReference(results);
  await evaluate(results);
  for (const [index, result] of results.entries()) {
    const actual = await result.data();
    const wrong = expected[index]?.values.findIndex((value, i) => value !== actual[i]);
    expect(wrong, `result ${index}: the first element that is wrong`).toBe(-1);
  }
}

describe("scatterSum", () => {
  it.each([
    ["compares few indices", 12, 30, 4, undefined],
    ["sums one sorted block", 200, 150, 160, "bitonic_words_256"],
    ["sums sorted blocks, and then their sums", 1500, 300, 16, "bitonic_words_512"],
    ["sorts all at once for many rows, and sums chunks of one row ahead", 32_768, 40_000, 1, "chunk_sums"],
  ] as const)(
    "%s",
    async (_name, count, extent, width, kernel) => {
      const rows = rowsOf(count, extent, 2);
      const x = updatesOf([2, count, width]);
      const scatter = (a: Tensor, at: Tensor) => a.scatterSum(at, { axis: 1, extent });
      await agrees([scatter(x, rows), scatter(x, rowsOf(count, extent)), scatter(x.cast("i32"), rows.cast("u32"))]);
      const found = labels(scatter, x, rows);
      if (kernel === undefined) expect(found).not.toContain("segment");
      else expect(found).toContain(kernel);
    },
    slow,
  );

  it("takes indices of several axes, and halves, whose sums it rounds once", async () => {
    const dtypes: DType[] = device().features.has("shader-f16") ? ["f32", "f16"] : ["f32"];
    const rows = rowsOf(600, 100).reshape([20, 30]);
    await agrees(dtypes.map((dtype) => updatesOf([20, 30, 100], dtype).scatterSum(rows, { axis: 0, extent: 100 })));
  });

  it("keeps NaN and infinities in their rows, and gives the same bits again", async () => {
    const [count, extent, width] = [1000, 200, 32];
    const draw = seededDraw(1);
    const values = Float32Array.from({ length: count * width }, () => draw.uniform(-1, 1));
    values[5 * width] = Number.NaN;
    values[6 * width] = Number.POSITIVE_INFINITY;
    const indices = Int32Array.from({ length: count }, (_, i) => (i < 10 ? i : draw.integer(10, extent - 1)));
    const run = () => {
      const x = tensor(values, { shape: [count, width] });
      return x.scatterSum(tensor(indices), { axis: 0, extent }).data();
    };
    const [first, second] = [await run(), await run()];
    expect([...first.keys()].filter((i) => !Number.isFinite(first[i] as number))).toEqual([5 * width, 6 * width]);
    expect(new Uint8Array(second.buffer)).toEqual(new Uint8Array(first.buffer));
  });
});
