import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makePlan } from "../src/compiler/plan";
import { compileTarget } from "../src/compiler/target";
import { verifyPlan } from "../src/compiler/verify";
import { compile, type Tensor, tensor } from "../src/index";
import { placeholder } from "../src/tensor";
import { evaluateReference } from "../src/testing/index";
import { useDevice } from "./device";

const device = useDevice();
const rows = 6;
const columns = 8;

/** One step of a random program on a growing list of [rows, columns] tensors. */
type Instruction = { readonly operation: number; readonly a: number; readonly b: number };

const operations: readonly ((a: Tensor, b: Tensor) => Tensor)[] = [
  (a, b) => a.add(b),
  (a, b) => a.mul(b).mul(0.5),
  (a) => a.tanh(),
  (a) => a.sub(a.mean({ axis: 1, keepDims: true })),
  (a, b) => a.add(b.sum({ axis: 0 }).mul(0.1)),
  (a, b) => a.dot(b.T).dot(b).mul(0.02),
  (a) => a.flip(0),
  (a) =>
    a.slice([1, 0]).pad([
      [1, 0],
      [0, 0],
    ]),
  (a, b) => a.max({ axis: 1, keepDims: true }).maximum(b),
  (a, b) => a.greater(b).where(a, b.mul(0.5)),
  (a) => a.reshape([columns, rows]).T,
  (a, b) => a.sum().mul(0.01).add(b),
];

const program = fc.array(fc.record({ operation: fc.nat(operations.length - 1), a: fc.nat(50), b: fc.nat(50) }), {
  minLength: 1,
  maxLength: 12,
});

/** The last values of the program become the next state, in a random order: rows trade places, survive, or are lost. */
function run(instructions: readonly Instruction[], state: readonly Tensor[]): Tensor[] {
  const values = [...state];
  for (const { operation, a, b } of instructions) {
    const [left, right] = [values[a % values.length] as Tensor, values[b % values.length] as Tensor];
    values.push((operations[operation] as (typeof operations)[0])(left, right));
  }
  return state.map((_, index) => values[(values.length - 1 - 2 * index + values.length) % values.length] as Tensor);
}

const start = (): Tensor[] =>
  [0, 1, 2].map((seed) =>
    tensor(
      Float32Array.from({ length: rows * columns }, (_, i) => Math.fround(Math.sin(1 + seed + i * 1.7))),
      {
        shape: [rows, columns],
      },
    ),
  );

describe("random programs with donated state", () => {
  it("have plans in which nothing is read too early, too late or while it is written", () => {
    const target = compileTarget(device());
    fc.assert(
      fc.property(program, (instructions) => {
        const leaves = start().map(({ shape, dtype }) => placeholder(shape, dtype));
        verifyPlan(makePlan(run(instructions, leaves), leaves, target));
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  it("agree with the reference after two steps", async () => {
    await fc.assert(
      fc.asyncProperty(program, async (instructions) => {
        const step = compile((state: readonly Tensor[]) => run(instructions, state), { donate: [0] });
        const expected = evaluateReference(run(instructions, run(instructions, start())));
        const actual = await Promise.all(step(step(start())).map((x) => x.data()));
        for (const [index, values] of actual.entries()) {
          const reference = expected[index]?.values as Float64Array;
          const scale = Math.max(1, ...reference.map(Math.abs));
          // Two rounds of at most 12 operations with sums of 48 terms, each of which amplifies errors moderately.
          for (const [i, value] of values.entries()) {
            expect(Math.abs(value - (reference[i] as number))).toBeLessThan(scale * 2 ** -24 * 48 * 24);
          }
        }
        step.dispose();
      }),
      { numRuns: 12, seed: 11 },
    );
  }, 120_000);
});
