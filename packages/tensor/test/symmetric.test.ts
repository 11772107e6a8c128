import fc from "fast-check";
import { expect, it } from "vitest";
import { compile, type Tensor, tensor } from "../src/index";
import { evaluateReference, expectClose, seededDraw, tolerance } from "../src/testing";
import { useDevice } from "./device";

// Products of an operand with itself: one triangle is computed, and every result written once.
useDevice();

const draw = seededDraw(11);
const random = (shape: readonly number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.fround(draw.uniform(-1, 1))),
    { shape },
  );

/** x[batch, depth, n] to its Gram matrices [batch, n, n]. */
const gram = (x: Tensor): Tensor => x.dot(x, { batch: [[0], [0]], contract: [[1], [1]] });

function expectSymmetric(values: ArrayLike<number>, batch: number, n: number): void {
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < i; j++) {
        if (values[(b * n + i) * n + j] !== values[(b * n + j) * n + i]) {
          expect.fail(`(${i}, ${j}) of matrix ${b} of ${n} x ${n} is not its mirror image`);
        }
      }
    }
  }
}

const sizes = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  depth: fc.integer({ min: 1, max: 40 }),
  n: fc.integer({ min: 15, max: 90 }),
});

it("agree with the reference and are bitwise symmetric, whatever the sizes", { timeout: 180_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(sizes, async ({ batch, depth, n }) => {
      const x = random([batch, depth, n]);
      const [expected] = evaluateReference([gram(x)]);
      const actual = await compile(gram)(x).data();
      expectClose(actual, expected?.values as Float64Array, tolerance({ terms: depth + 2, scale: depth }));
      expectSymmetric(actual, batch, n);
    }),
    { numRuns: 12 },
  );
});

it.each([37, 41, 63])("of %d columns of longer rows, loaded four at a time beyond the last one", async (n) => {
  const [depth, stored] = [13, Math.ceil(n / 4) * 4];
  const part = (x: Tensor): Tensor => x.slice([0, 0, 0], [2, depth, n]);
  const x = random([2, depth, stored]);
  const y = random([2, depth, n]);
  const product = (a: Tensor, b: Tensor): Tensor => a.dot(b, { batch: [[0], [0]], contract: [[1], [1]] });
  const both = (a: Tensor, b: Tensor) => [gram(part(a)), product(b, part(a))] as const;
  const expected = evaluateReference([...both(x, y)]);
  const program = compile(both);
  const actual = program(x, y);
  const { kernels } = program.statistics();
  expect(kernels.some(({ code }) => code.includes("array<vec4<f32>>"))).toBe(true);
  for (const [index, own] of actual.entries()) {
    const values = await own.data();
    expectClose(values, expected[index]?.values as Float64Array, tolerance({ terms: depth + 2, scale: depth }));
    if (index === 0) expectSymmetric(values, 2, n);
  }
});

it.each([40, 41])("of %d columns replace a running mean that is not symmetric, in place", async (n) => {
  const update = (mean: Tensor, x: Tensor) => mean.mul(0.9).add(gram(x).mul(0.1));
  const [x, before] = [random([1, 21, n]), random([1, n, n])];
  const [expected] = evaluateReference([update(before, x)]);
  const values = await before.data();
  const step = compile(update, { donate: [0] });
  const actual = await step(tensor(values, { shape: [1, n, n] }), x).data();
  expect(step.statistics().dispatches).toBe(1);
  expectClose(actual, expected?.values as Float64Array, tolerance({ terms: 26, scale: 22 }));
});

it("with long sums are added up in parts that are symmetric as well", async () => {
  const [depth, n] = [9000, 20];
  const x = random([1, depth, n]);
  const [expected] = evaluateReference([gram(x)]);
  const program = compile(gram);
  const actual = await program(x).data();
  expect(program.statistics().kernels.length).toBeGreaterThan(1);
  expectClose(actual, expected?.values as Float64Array, tolerance({ terms: depth, scale: depth }));
  expectSymmetric(actual, 1, n);
});

it("count for half of the operations of other products", async () => {
  const flops = async (f: (x: Tensor, y: Tensor) => Tensor) => {
    const program = compile(f);
    await program(random([1, 32, 64]), random([1, 32, 64])).data();
    return program.statistics().kernels.reduce((sum, kernel) => sum + kernel.flops, 0);
  };
  const whole = 2 * 64 * 64 * 32;
  expect(await flops((x, y) => x.dot(y, { batch: [[0], [0]], contract: [[1], [1]] }))).toBe(whole);
  expect(await flops((x) => gram(x))).toBe((whole * 65) / 128);
});
