import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planWindows, unfold } from "../src/composites/window";
import { compile, type Tensor, tensor } from "../src/index";
import { evaluateReference, expectClose, seededDraw, tolerance } from "../src/testing";
import { useDevice } from "./device";

// Products of all pairs of taps of sliding windows, summed over positions.
useDevice();

const draw = seededDraw(7);
const random = (shape: readonly number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.fround(draw.uniform(-1, 1))),
    { shape },
  );

interface Case {
  readonly extents: readonly number[];
  readonly kernel: readonly number[];
  readonly padding: "same" | "valid" | readonly number[];
  readonly stride?: number;
}

/** x `[n, …extents, channels]` to `[…taps, channels, …taps, channels]`. */
function gramOf({ kernel, padding, stride = 1 }: Case): (x: Tensor) => Tensor {
  return (x) => {
    const axes = planWindows("test", x.shape, 1, kernel, { stride, dilation: 1, padding });
    const { view, taps } = unfold(x, 1, axes);
    const summed = view.shape.map((_, axis) => axis).filter((axis) => axis < view.rank - 1 && !taps.includes(axis));
    return view.dot(view, { contract: [summed, summed] });
  };
}

async function check(
  own: Case,
  channels: number,
  n = 2,
): Promise<ReturnType<ReturnType<typeof compile>["statistics"]>> {
  const x = random([n, ...own.extents, channels]);
  const gram = gramOf(own);
  const graph = gram(x);
  const [expected] = evaluateReference([graph]);
  const program = compile(gram);
  const actual = await program(x).data();
  const terms = n * own.extents.reduce((a, b) => a * b, 1);
  const label = `${JSON.stringify(own)}, ${channels} channels`;
  expectClose(actual, expected?.values as Float64Array, tolerance({ terms: terms + 8, scale: terms }), label);
  const size = Math.sqrt(graph.size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < i; j++) {
      if (actual[i * size + j] !== actual[j * size + i]) expect.fail(`${label}: (${i}, ${j}) is not its mirror image`);
    }
  }
  const statistics = program.statistics();
  program.dispose();
  return statistics;
}

const axis = fc.record({
  extent: fc.integer({ min: 5, max: 8 }),
  taps: fc.integer({ min: 1, max: 5 }),
  padding: fc.integer({ min: 0, max: 2 }),
});

describe("Gram matrices of windows", () => {
  it("are those of the reference over one axis", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(axis, fc.constantFrom(8, 12, 9), async ({ extent, taps, padding }, channels) => {
        await check({ extents: [extent], kernel: [taps], padding: [padding] }, channels);
      }),
      { numRuns: 12 },
    );
  });

  it("are those of the reference over two axes", { timeout: 180_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(axis, axis, async (a, b) => {
        const [extents, kernel] = [
          [a.extent, b.extent],
          [Math.min(a.taps, 3), Math.min(b.taps, 3)],
        ];
        await check({ extents, kernel, padding: [a.padding, b.padding] }, 8);
      }),
      { numRuns: 8 },
    );
  });

  it.each(["same", "valid"] as const)("of 3 x 3 with padding %s take a third of the operations", async (padding) => {
    const { kernels } = await check({ extents: [9, 8], kernel: [3, 3], padding }, 8);
    const flops = kernels.reduce((sum, kernel) => sum + (kernel.label.includes("dot") ? kernel.flops : 0), 0);
    const [n, channels] = [2, 8];
    expect(flops).toBe(2 * n * 9 * 8 * 15 * channels ** 2);
  });

  it("of volumes agree as well", { timeout: 120_000 }, async () => {
    await check({ extents: [4, 5, 4], kernel: [2, 3, 3], padding: [1, 1, 1] }, 8, 1);
    await check({ extents: [4, 5, 4], kernel: [3, 3, 3], padding: "same" }, 8, 1);
  });

  it("with a stride keep their triangle", async () => {
    const { kernels } = await check({ extents: [9, 9], kernel: [3, 3], padding: "same", stride: 2 }, 8);
    expect(kernels.filter(({ label }) => label.includes("dot")).length).toBe(1);
  });
});

describe("sums of windows", () => {
  const sums = (own: Case, isPerExample: boolean) => (x: Tensor) => {
    const axes = planWindows("test", x.shape, 1, own.kernel, { stride: 1, dilation: 1, padding: own.padding });
    const { view, taps } = unfold(x, 1, axes);
    const summed = view.shape.map((_, at) => at).filter((at) => at < view.rank - 1 && !taps.includes(at));
    return view.sum({ axis: isPerExample ? summed.slice(1) : summed });
  };

  it("are those of the reference", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(axis, axis, fc.boolean(), async (a, b, isPerExample) => {
        const own: Case = {
          extents: [a.extent, b.extent],
          kernel: [a.taps, b.taps],
          padding: [a.padding, b.padding],
        };
        const x = random([3, ...own.extents, 5]);
        const [expected] = evaluateReference([sums(own, isPerExample)(x)]);
        const actual = await compile(sums(own, isPerExample))(x).data();
        const terms = 3 * a.extent * b.extent;
        expectClose(actual, expected?.values as Float64Array, tolerance({ terms, scale: terms }), JSON.stringify(own));
      }),
      { numRuns: 12 },
    );
  });

  it("add up examples first, and then one axis after the other", async () => {
    const own: Case = { extents: [9, 9], kernel: [3, 3], padding: "same" };
    const work = async (isPerExample: boolean) => {
      const program = compile(sums(own, isPerExample));
      await program(random([16, 9, 9, 8])).data();
      return program.statistics().kernels.reduce((sum, kernel) => sum + kernel.flops, 0);
    };
    const elements = 9 * 9 * 8;
    // All examples; then for three taps; then for nine.
    expect(await work(false)).toBe(16 * elements + 3 * elements + 9 * 9 * 8);
    expect(await work(true)).toBe(16 * (3 * elements + 9 * 9 * 8));
  });
});
