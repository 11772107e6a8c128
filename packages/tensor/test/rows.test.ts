import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { evaluate } from "../src/compiler/evaluate";
import { compile, logSoftmax, softmax, standardize, type Tensor, tensor } from "../src/index";
import { evaluateReference, expectClose, type NdArray, retarget } from "../src/testing";
import { useDevice } from "./device";

// The kernels in which lanes share a row: what GPUs run, here on whatever adapter there is.
// Compilers of CPU adapters are quicker with loops that they cannot unroll.
const gpu = { isSoftware: false, keepsLoops: true };
const device = useDevice(gpu);
const slow = 240_000;
const unit = 2 ** -24;

/** Numbers in [-1, 1] that look random and repeat, as f32 holds them. */
const values = (shape: readonly number[], seed = 1, scale = 1): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) => {
      const x = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
      return scale * (2 * (x - Math.floor(x)) - 1);
    }),
    { shape },
  );

interface Case {
  readonly label: string;
  readonly output: Tensor;
  /** Allowed error, in unit roundoffs of a magnitude of the order of the largest expected value. */
  readonly roundoffs: number;
  readonly magnitude?: number;
}

async function check(cases: readonly Case[]): Promise<void> {
  const expected = evaluateReference(cases.map(({ output }) => output));
  await evaluate(cases.map(({ output }) => output));
  for (const [index, { label, output, roundoffs, magnitude }] of cases.entries()) {
    const reference = expected[index] as NdArray;
    const largest = reference.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const allowed = roundoffs * unit * (magnitude ?? Math.max(1, largest));
    expectClose({ values: await output.data(), shape: output.shape }, reference, () => allowed, label);
  }
}

/** Terms in all, and what the tree of partial sums allows, for numbers in [-1, 1]. */
const sumCase = (label: string, x: Tensor, axis: number | readonly number[]): Case => {
  const output = x.sum({ axis });
  const terms = x.size / Math.max(1, output.size);
  return { label, output, roundoffs: Math.min(terms, 64 + Math.ceil(Math.log2(terms + 1))) + 4, magnitude: terms };
};

const lengths = [1, 2, 3, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000, 4097];

describe("rows of every length", () => {
  it.each(lengths)(
    "of %d: sums, extremes and their positions, normalization, softmax",
    async (length) => {
      const x = values([5, length], length);
      await check([
        sumCase("sum", x, 1),
        { label: "max", output: x.max({ axis: 1 }), roundoffs: 0 },
        { label: "min", output: x.min({ axis: 1 }), roundoffs: 0 },
        { label: "argmax", output: x.argmax({ axis: 1 }), roundoffs: 0 },
        { label: "prod", output: x.mul(0.05).add(1).prod({ axis: 1 }), roundoffs: 2 * length + 8 },
        { label: "softmax", output: softmax(x), roundoffs: 100, magnitude: 8 / Math.sqrt(length) },
        { label: "logSoftmax", output: logSoftmax(x), roundoffs: 32 },
        { label: "standardize", output: standardize(x, { axis: 1 }), roundoffs: length < 4 ? 2000 : 100 },
        { label: "variance", output: x.add(3).variance({ axis: 1 }), roundoffs: 64 + 24 },
      ]);
    },
    slow,
  );

  it(
    "longer than what stays in registers, and than one partial sum",
    async () => {
      const [x, y] = [values([2, 9001]), values([2, 70_000], 2)];
      await check([
        sumCase("sum of 9001", x, 1),
        sumCase("sum of 70,000", y, 1),
        sumCase("sum of everything", y, [0, 1]),
        { label: "softmax of 9001", output: softmax(x), roundoffs: 100, magnitude: 0.01 },
        { label: "argmin of 70,000", output: y.argmin({ axis: 1 }), roundoffs: 0 },
        { label: "variance of 70,000", output: y.variance({ axis: 1 }), roundoffs: 100 },
      ]);
    },
    slow,
  );
});

describe("columns", () => {
  it.each([
    [40, 4],
    [33, 20],
    [65, 37],
    [129, 64],
    [1000, 3],
    [1025, 17],
    [3, 300],
    [4097, 8],
    [16_411, 4],
  ])(
    "of %d rows and %d columns: sums, extremes and their positions, normalization",
    async (rows, columns) => {
      const x = values([rows, columns], rows + columns);
      await check([
        sumCase("sum", x, 0),
        { label: "max", output: x.max({ axis: 0 }), roundoffs: 0 },
        { label: "argmax", output: x.argmax({ axis: 0 }), roundoffs: 0 },
        { label: "standardize", output: standardize(x, { axis: 0 }), roundoffs: 400 },
        { label: "variance", output: x.add(3).variance({ axis: 0 }), roundoffs: 100 },
      ]);
    },
    slow,
  );
});

describe("axes in the middle, several axes, and views", () => {
  it(
    "give what the reference gives",
    async () => {
      const x = values([3, 70, 5, 36], 3);
      const wide = values([7, 1, 45], 4);
      const vector = values([65], 5);
      await check([
        sumCase("the middle", x, [1, 2]),
        sumCase("first and last", x, [0, 3]),
        sumCase("one of the middle, with a short run behind", values([4, 300, 3], 6), 1),
        sumCase("all but one", x, [0, 1, 3]),
        sumCase("a transposed tensor", x.permute([3, 1, 0, 2]), [1, 3]),
        sumCase("a tensor repeated over the reduced axis", wide.expand([7, 80, 45]), 1),
        sumCase("a tensor repeated over the kept axis", wide.expand([7, 80, 45]), 2),
        sumCase("a flipped slice", x.flip(1).slice([0, 3, 1, 2], [3, 60, 5, 35]), [1, 3]),
        sumCase("padding", vector.pad([[3, 70]]).expand([6, 138]), 1),
        sumCase("a vector as one row", vector.reshape([1, 65]), 1),
        { label: "softmax over the middle", output: softmax(x, { axis: 1 }), roundoffs: 100 },
        {
          label: "gathered rows",
          output: x.gather(tensor(Int32Array.of(1, 0, 69)), { axis: 1 }).max({ axis: [1, 3] }),
          roundoffs: 0,
        },
      ]);
    },
    slow,
  );

  it(
    "of any shape",
    async () => {
      const shapes = fc.array(fc.constantFrom<number[]>(1, 2, 3, 4, 8, 17, 33, 64, 67), { minLength: 1, maxLength: 4 });
      const drawn = fc.tuple(
        shapes.filter((shape) => shape.reduce((a, b) => a * b, 1) <= 20_000),
        fc.nat(15),
      );
      await fc.assert(
        fc.asyncProperty(drawn, async ([shape, mask]) => {
          const axes = shape.flatMap((_, axis) => ((mask >> axis) & 1 ? [axis] : []));
          const x = values(shape, mask);
          const restored = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
          const centered = x.sub(x.mean({ axis: axes }).reshape(restored));
          await check([
            sumCase(`sum of [${shape}] over [${axes}]`, x, axes),
            { label: `centered [${shape}] over [${axes}]`, output: centered, roundoffs: 100 },
          ]);
        }),
        { numRuns: 25, seed: 3 },
      );
    },
    slow,
  );
});

describe("positions of extremes", () => {
  it(
    "are the first ones among equals, in every lane",
    async () => {
      const [rows, columns] = [4, 300];
      const tied = tensor(
        Float32Array.from({ length: rows * columns }, (_, i) => (i * 7) % 5),
        { shape: [rows, columns] },
      );
      const constant = tied.mul(0);
      await check([
        { label: "argmax of rows", output: tied.argmax({ axis: 1 }), roundoffs: 0 },
        { label: "argmin of rows", output: tied.argmin({ axis: 1 }), roundoffs: 0 },
        { label: "argmax of columns", output: tied.T.argmax({ axis: 0 }), roundoffs: 0 },
        { label: "argmin of columns", output: tied.reshape([columns, rows]).argmin({ axis: 0 }), roundoffs: 0 },
        { label: "argmax of constants", output: constant.add(1).argmax({ axis: 1 }), roundoffs: 0 },
        { label: "argmax of integers", output: tied.cast("i32").argmax({ axis: 1 }), roundoffs: 0 },
        { label: "argmin of naturals", output: tied.cast("u32").argmin({ axis: 1 }), roundoffs: 0 },
      ]);
      const least = tensor(new Float32Array(100).fill(Number.NEGATIVE_INFINITY), { shape: [1, 100] });
      expect([...(await least.argmax({ axis: 1 }).data())]).toEqual([0]);
    },
    slow,
  );
});

describe("rows with several members", () => {
  it(
    "compute cross entropy and its gradient in one kernel",
    async () => {
      const [rows, classes] = [9, 130];
      const logits = values([rows, classes], 8, 10);
      const labels = tensor(Int32Array.from({ length: rows }, (_, i) => (i * 37) % classes));
      const both = (x: Tensor, targets: Tensor) => {
        const hot = x.iotaLike(1).equal(targets.expandDims(1));
        const logs = logSoftmax(x);
        return { losses: hot.where(logs, 0).sum({ axis: 1 }).neg(), gradient: logs.exp().sub(hot.cast("f32")) };
      };
      const program = compile(both);
      const { losses, gradient } = program(logits, labels);
      expect(program.statistics().dispatches).toBe(1);
      const [expectedLosses, expectedGradient] = evaluateReference(Object.values(both(logits, labels)));
      const close = (scale: number) => () => scale * unit;
      expectClose({ values: await losses.data(), shape: [rows] }, expectedLosses as NdArray, close(400));
      expectClose({ values: await gradient.data(), shape: [rows, classes] }, expectedGradient as NdArray, close(100));
      program.dispose();
    },
    slow,
  );

  it(
    "replace donated state in place after all lanes have read it",
    async () => {
      const track = compile(
        (state: { mean: Tensor; count: Tensor }, x: Tensor) => {
          const mean = state.mean.mul(0.9).add(x.mean({ axis: 0 }).mul(0.1));
          return { mean, count: state.count.add(x.abs().sum({ axis: 0 }).mul(0)).add(1) };
        },
        { donate: [0] },
      );
      const x = values([200, 24], 5);
      const [mean] = evaluateReference([x.mean({ axis: 0 })]) as [NdArray];
      let state = { mean: tensor(new Float32Array(24)), count: tensor(new Float32Array(24)) };
      for (let step = 0; step < 5; step++) state = track(state, x);
      const moved = [...(await state.mean.data())];
      for (const [i, value] of moved.entries()) {
        expect(value).toBeCloseTo((mean.values[i] as number) * (1 - 0.9 ** 5), 5);
      }
      expect([...(await state.count.data())]).toEqual(new Array(24).fill(5));
      track.dispose();
    },
    slow,
  );

  it(
    "use more accumulators than workgroup memory has room for",
    async () => {
      const x = values([70, 33], 9);
      const outputs = [1, 2, 3].map((power) => x.mul(power).sum({ axis: 0 }));
      try {
        retarget(device(), { ...gpu, maxWorkgroupBytes: 2048 });
        await check([
          ...outputs.map((output, index) => ({ label: `sum ${index}`, output, roundoffs: 80, magnitude: 210 })),
          { label: "largest", output: x.max({ axis: 0 }), roundoffs: 0 },
          { label: "position", output: x.argmax({ axis: 0 }), roundoffs: 0 },
        ]);
      } finally {
        retarget(device(), gpu);
      }
    },
    slow,
  );
});

describe("halves of magnitude 300 to 1000", () => {
  it(
    "do not overflow on the way",
    async (context) => {
      if (!device().features.has("shader-f16")) return context.skip("the adapter has no shader-f16");
      const x = values([6, 257], 2, 350)
        .add(values([6, 1], 3, 600))
        .cast("f16");
      await check([
        { label: "softmax", output: softmax(x), roundoffs: 2 ** 14 },
        { label: "standardize", output: standardize(x, { axis: 1 }), roundoffs: 2 ** 14 },
        { label: "standardize columns", output: standardize(x, { axis: 0 }), roundoffs: 2 ** 14 },
        { label: "mean square", output: x.cast("f32").square().mean({ axis: 1 }), roundoffs: 80 },
      ]);
    },
    slow,
  );
});

describe("results", () => {
  it(
    "repeat bit for bit",
    async () => {
      const program = compile((x: Tensor) => [softmax(x), x.sum({ axis: 0 }), x.variance(), x.sum()]);
      const x = values([33, 517], 7);
      const bits = async () =>
        Promise.all(program(x).map(async (y) => [...new Uint32Array((await y.data()).slice().buffer)]));
      const first = await bits();
      for (let repeat = 0; repeat < 10; repeat++) expect(await bits()).toEqual(first);
      program.dispose();
    },
    slow,
  );
});
