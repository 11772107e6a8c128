import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compile, type Tensor, tensor } from "../src/index";
import { evaluateReference, expectClose, tolerance } from "../src/testing";
import { useDevice } from "./device";

// Reductions over per-sample gradients as vmap and grad leave them, and what the compiler makes of them.
useDevice();

const wave = (shape: readonly number[], phase: number): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(phase + 1.7 * i)),
    { shape },
  );

/** u[n, i, j] = Σ_r a[n, r, i] b[n, r, j]. */
const gradients = (a: Tensor, b: Tensor): Tensor => a.dot(b, { batch: [[0], [0]], contract: [[1], [1]] });

const reductions: Readonly<Record<string, (u: Tensor) => Tensor>> = {
  "squared norms": (u) => u.square().sum({ axis: [1, 2] }),
  "squared norms of the transpose": (u) =>
    u
      .permute([0, 2, 1])
      .square()
      .sum({ axis: [1, 2] }),
  "squared norms of rows": (u) =>
    u
      .reshape([u.shape[0] as number, -1])
      .square()
      .sum({ axis: 1 }),
  "second moment": (u) => u.square().sum({ axis: 0 }),
  "second moment of the transpose": (u) => u.permute([2, 0, 1]).square().sum({ axis: 1 }),
  "second moment, reshaped": (u) =>
    u
      .reshape([u.shape[0] as number, -1])
      .square()
      .sum({ axis: 0 }),
  "sums over one side": (u) => u.square().sum({ axis: [0, 2] }),
  "products of pairs": (u) => {
    const rows = u.reshape([u.shape[0] as number, -1]);
    return rows.dot(rows, { contract: [[1], [1]] });
  },
  "products of pairs, unshaped": (u) =>
    u.dot(u, {
      contract: [
        [1, 2],
        [1, 2],
      ],
    }),
};

const sizes = fc.record({
  n: fc.integer({ min: 1, max: 6 }),
  r: fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 5 })),
  i: fc.integer({ min: 1, max: 12 }),
  j: fc.integer({ min: 1, max: 12 }),
});

describe.each(Object.entries(reductions))("%s", (_name, reduce) => {
  it("are those of the reference, whatever the shapes", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ n, r, i, j }) => {
        const [a, b] = [wave([n, r, i], 0.3), wave([n, r, j], 1.1)];
        const [expected] = evaluateReference([reduce(gradients(a, b))]);
        const actual = await compile((x: Tensor, y: Tensor) => reduce(gradients(x, y)))(a, b).data();
        // Sums of n · i · j squares of sums of r products, all of magnitude 1 at most.
        const bound = tolerance({ terms: n * i * j + 2 * r + 8, scale: n * i * j * r * r });
        expectClose(actual, (expected as { values: Float64Array }).values, bound);
      }),
      { numRuns: 12 },
    );
  });
});

/** Bytes of temporaries and results. */
async function bytesOf(
  reduce: (u: Tensor) => Tensor,
  shape: { n: number; r: number; i: number; j: number },
): Promise<number> {
  const program = compile((x: Tensor, y: Tensor) => reduce(gradients(x, y)));
  await program(wave([shape.n, shape.r, shape.i], 0.3), wave([shape.n, shape.r, shape.j], 1.1)).data();
  const { bytesPeak } = program.statistics();
  program.dispose();
  return bytesPeak;
}

describe("memory", () => {
  const outer = { n: 64, r: 1, i: 256, j: 128 };
  const whole = 4 * outer.n * outer.i * outer.j;

  it.each(["squared norms", "second moment", "products of pairs"])(
    "%s of outer products never hold them",
    async (name) => {
      const own = reductions[name] as (u: Tensor) => Tensor;
      expect(await bytesOf(own, outer)).toBeLessThan(whole / 8);
    },
  );

  it("of squared norms with few positions is that of Gram matrices", async () => {
    expect(await bytesOf(reductions["squared norms"] as (u: Tensor) => Tensor, { ...outer, r: 4 })).toBeLessThan(
      whole / 8,
    );
  });

  it("of second moments with positions is bounded, however many examples there are", async () => {
    const large = { n: 64, r: 3, i: 512, j: 256 };
    const bytes = await bytesOf(reductions["second moment"] as (u: Tensor) => Tensor, large);
    expect(4 * large.n * large.i * large.j).toBeGreaterThan(2 ** 24);
    expect(bytes).toBeLessThanOrEqual(2 ** 24 + 3 * 4 * large.i * large.j);
  });
});
