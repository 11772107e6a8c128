import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { makePlan } from "../src/compiler/plan";
import { compileTarget, type Pass } from "../src/compiler/target";
import { verifyPlan } from "../src/compiler/verify";
import { arange, compile, ones, scalar, scan, stack, type Tensor, tensor, zeros } from "../src/index";
import { placeholder } from "../src/tensor";
import { evaluateReference, type NdArray, retarget } from "../src/testing/index";
import { useDevice } from "./device";

const device = useDevice();

const values = (seed: number, shape: readonly number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
      Math.fround(Math.sin(1 + seed + i * 1.7)),
    ),
    { shape },
  );

/** One operation of a random body over matrices [rows, columns]. */
const [rows, columns] = [4, 6];
const operations: readonly ((a: Tensor, b: Tensor, w: Tensor) => Tensor)[] = [
  (a, b) => a.add(b),
  (a, b) => a.mul(b).mul(0.5),
  (a) => a.tanh(),
  (a, _, w) => a.dot(w).tanh(),
  (a, b) => a.sub(b.mean({ axis: 1, keepDims: true })),
  (a) => a.flip(0),
  (a, b) => a.dot(b.T).dot(b).mul(0.05),
  (a) => a.add(w0()),
  (a, b) => a.max({ axis: 0 }).expand([rows, columns]).minimum(b),
  (a) => a.reshape([columns, rows]).T,
  (a, b) =>
    scan(
      (c: Tensor, x: Tensor) => [c.mul(0.5).add(x.mul(b.mean())), c.tanh()],
      a.slice([0, 0], [1]).reshape([columns]),
      b,
    )[1],
  (a) =>
    scan((c: Tensor) => [c.add(a.sum({ axis: 0 }).mul(0.1)).tanh(), null], ones([columns]), null, { length: 3 })[0].add(
      a,
    ),
];
const w0 = () => ones([rows, columns]).mul(0.25);

const instruction = fc.record({ operation: fc.nat(operations.length - 1), a: fc.nat(50), b: fc.nat(50) });
const programs = fc.record({
  body: fc.array(instruction, { minLength: 1, maxLength: 7 }),
  length: fc.integer({ min: 1, max: 5 }),
  carries: fc.integer({ min: 0, max: 3 }),
  reverse: fc.boolean(),
  /** Along which axis of the data the loop runs: what is not the first one is a view. */
  axis: fc.constantFrom(0, 1),
});
type Program = typeof programs extends fc.Arbitrary<infer P> ? P : never;

type Body = (carry: Tensor[], x: Tensor) => readonly [Tensor[], Tensor[]];

const bodyOf =
  ({ body, carries }: Program, w: Tensor): Body =>
  (carry, x) => {
    const seen = [x, ...carry];
    for (const { operation, a, b } of body) {
      const of = (index: number) => seen[seen.length - 1 - (index % seen.length)] as Tensor;
      seen.push((operations[operation] as (typeof operations)[0])(of(a), of(b), w));
    }
    const at = (index: number) => seen[(seen.length - 1 - 2 * index + 4 * seen.length) % seen.length] as Tensor;
    // Carries trade places, stay as they are, or become elements.
    return [Array.from({ length: carries }, (_, index) => at(index)), [seen.at(-1) as Tensor, at(1)]];
  };

const elementsOf = (xs: Tensor, axis: number): Tensor => (axis === 1 ? xs.moveAxis(1, 0) : xs);

function run(program: Program, state: readonly Tensor[], xs: Tensor, w: Tensor): Tensor[] {
  const [last, ys] = scan(bodyOf(program, w), [...state], elementsOf(xs, program.axis), { reverse: program.reverse });
  return [...last, ...ys];
}

function unrolled(program: Program, state: readonly Tensor[], xs: Tensor, w: Tensor): Tensor[] {
  const fn = bodyOf(program, w);
  const all = elementsOf(xs, program.axis);
  const ys: Tensor[][] = [];
  let carry = [...state];
  for (let step = 0; step < program.length; step++) {
    const t = program.reverse ? program.length - 1 - step : step;
    const [next, y] = fn(carry, all.slice([t, 0, 0], [t + 1, rows, columns]).reshape([rows, columns]));
    carry = next;
    ys[t] = y;
  }
  return [...carry, ...[0, 1].map((index) => stack(ys.map((y) => y[index] as Tensor)))];
}

const inputs = ({ carries, length, axis }: Program) => ({
  state: Array.from({ length: carries }, (_, index) => values(index, [rows, columns])),
  xs: values(11, axis === 1 ? [rows, length, columns] : [length, rows, columns]),
  w: values(12, [columns, columns]),
});

function expectClose(actual: ArrayLike<number>, expected: NdArray, terms: number): void {
  const scale = expected.values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  for (const [index, value] of expected.values.entries()) {
    expect(Math.abs((actual[index] as number) - value)).toBeLessThan(scale * 2 ** -24 * terms);
  }
}

// At most five rounds of seven operations with sums of 6 terms, each of which amplifies errors moderately.
const terms = 5 * 7 * 24;

describe("random loops", () => {
  it("have plans in which nothing is read too early, too late or while it is written", () => {
    const target = compileTarget(device());
    fc.assert(
      fc.property(programs, fc.boolean(), (program, donated) => {
        const like = ({ shape, dtype }: Tensor) => placeholder(shape, dtype);
        const { state, xs, w } = inputs(program);
        const leaves = state.map(like);
        const outputs = run(program, leaves, like(xs), like(w));
        verifyPlan(
          makePlan(
            outputs,
            outputs.map((_, index) => (donated ? leaves[index] : undefined)),
            target,
          ),
        );
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  it("agree with their unrolled form, evaluated and compiled with donated state", async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (program) => {
        const { state, xs, w } = inputs(program);
        const expected = evaluateReference(unrolled(program, state, xs, w));
        const eager = run(program, state, xs, w);
        for (const [index, result] of eager.entries())
          expectClose(await result.data(), expected[index] as NdArray, terms);
        const step = compile(
          (own: readonly Tensor[], all: Tensor, weights: Tensor) => {
            const results = run(program, own, all, weights);
            return [results.slice(0, own.length), results.slice(own.length)] as const;
          },
          { donate: [0] },
        );
        const again = inputs(program);
        const [last, ys] = step(again.state, again.xs, again.w);
        for (const [index, result] of [...last, ...ys].entries()) {
          expectClose(await result.data(), expected[index] as NdArray, terms);
        }
        step.dispose();
      }),
      { numRuns: 40, seed: 11 },
    );
  }, 240_000);
});

describe("random loops without one of the compiler's passes", () => {
  afterEach(() => {
    retarget(device(), undefined);
  });

  it.each<Pass>(["rewrites", "parallelize", "fuse", "inPlace", "pack", "reuse"])(
    "without %s",
    async (pass) => {
      const target = retarget(device(), { without: [pass] });
      await fc.assert(
        fc.asyncProperty(programs, async (program) => {
          const { state, xs, w } = inputs(program);
          const leaves = state.map(({ shape, dtype }) => placeholder(shape, dtype));
          const outputs = run(program, leaves, xs, w);
          verifyPlan(makePlan(outputs, [...leaves, undefined, undefined], target));
          const step = compile((own: readonly Tensor[]) => run(program, own, xs, w), { donate: [0] });
          const expected = evaluateReference(unrolled(program, state, values(11, xs.shape), values(12, w.shape)));
          for (const [index, result] of step(state).entries()) {
            expectClose(await result.data(), expected[index] as NdArray, terms);
          }
          step.dispose();
        }),
        { numRuns: 6, seed: 3 },
      );
    },
    120_000,
  );
});

describe("scan", () => {
  it("hands the carry on and stacks what the function returns", async () => {
    const [sum, sums] = scan((c: Tensor, x: Tensor) => [c.add(x), c.add(x)], scalar(0), tensor([1, 2, 3]));
    expect(await sum.item()).toBe(6);
    expect(await sums.array()).toEqual([1, 3, 6]);
  });

  it("runs backwards, and keeps the order of what is stacked", async () => {
    const [, sums] = scan((c: Tensor, x: Tensor) => [c.add(x), c.add(x)], scalar(0), tensor([1, 2, 3]), {
      reverse: true,
    });
    expect(await sums.array()).toEqual([6, 5, 3]);
  });

  it("carries trees, of several dtypes, and runs along trees", async () => {
    type Carry = { readonly count: Tensor; readonly seen: readonly Tensor[] };
    const [{ count, seen }, ys] = scan(
      ({ count: own, seen: [any] }: Carry, x: { readonly value: Tensor; readonly flag: Tensor }) =>
        [
          { count: own.add(1), seen: [(any as Tensor).or(x.flag)] },
          { doubled: x.value.mul(2), none: null },
        ] as never,
      { count: scalar(0, "i32"), seen: [scalar(0).greater(0)] } as Carry,
      { value: tensor([1, 2]), flag: tensor([0, 1]).greater(0) },
    ) as unknown as [Carry, { doubled: Tensor }];
    expect(await count.item()).toBe(2);
    expect(await seen[0]?.item()).toBe(1);
    expect(await ys.doubled.array()).toEqual([2, 4]);
  });

  it("lets carries trade places in every iteration", async () => {
    for (const length of [1, 2, 3]) {
      const [[a, b]] = scan(
        ([x, y]: [Tensor, Tensor]) => [[y, x], null] as [[Tensor, Tensor], null],
        [tensor([1, 2]), tensor([3, 4])],
        null,
        { length },
      );
      expect(await a.array()).toEqual(length % 2 === 0 ? [1, 2] : [3, 4]);
      expect(await b.array()).toEqual(length % 2 === 0 ? [3, 4] : [1, 2]);
    }
  });

  it("gives the start and tensors without elements for length 0", async () => {
    const start = scalar(7);
    const [carry, ys] = scan((c: Tensor, x: Tensor) => [c.add(x.sum()), x.mul(2)], start, zeros([0, 3]));
    expect(await carry.item()).toBe(7);
    expect(ys.shape).toEqual([0, 3]);
    expect(await ys.array()).toEqual([]);
  });

  it("is traced once", () => {
    let calls = 0;
    scan(
      (c: Tensor, x: Tensor) => {
        calls++;
        return [c.add(x), null];
      },
      scalar(0),
      arange(100, { dtype: "f32" }),
    );
    expect(calls).toBe(1);
  });

  it("computes what is the same in all iterations once, outside", async () => {
    const w = values(3, [8, 8]);
    const step = compile((h: Tensor) => scan((c: Tensor) => [c.dot(w.dot(w)).tanh(), null], h, null, { length: 6 })[0]);
    const [h] = [values(1, [2, 8])];
    await step(h).data();
    const { kernels } = step.statistics();
    const products = kernels.filter(({ label }) => label.includes("dot"));
    expect(products.map(({ runs }) => runs).sort()).toEqual([1, 6]);
    step.dispose();
  });

  it("runs one kernel per iteration for a simple recurrence, and allocates nothing per call", async () => {
    const w = values(3, [8, 8]);
    const step = compile(
      (h: Tensor, xs: Tensor) => scan((c: Tensor, x: Tensor) => [c.dot(w).add(x).tanh(), null], h, xs)[0],
      { name: "recurrence" },
    );
    const [h, xs] = [values(1, [2, 8]), values(2, [9, 2, 8])];
    let latest = step(h, xs);
    await latest.data();
    const { runs } = step.statistics().kernels.find(({ label }) => label.startsWith("dot")) as { runs: number };
    expect(runs).toBe(9);
    expect(step.statistics().kernels).toHaveLength(2);
    expect(step.statistics().dispatches).toBe(10);
    expect(step.explain()).toContain("loop of 9 iterations over kernels 1 to 1");
    const before = device().counters.snapshot();
    for (let call = 0; call < 5; call++) {
      latest.dispose();
      latest = step(h, xs);
    }
    const spent = device().counters.since(before);
    expect(spent).toMatchObject({ submits: 5, dispatches: 50, buffersCreated: 0, bindGroupsCreated: 0 });
    step.dispose();
  });

  it("replaces donated state in its own memory", async () => {
    const step = compile(
      (state: { readonly w: Tensor; readonly v: Tensor }, xs: Tensor) =>
        scan(
          ({ w, v }: { readonly w: Tensor; readonly v: Tensor }, x: Tensor) => {
            const next = v.mul(0.9).add(x);
            return [{ w: w.sub(next.mul(0.1)), v: next }, w.sum()];
          },
          state,
          xs,
        ),
      { donate: [0] },
    );
    const [next] = step({ w: ones([64]), v: zeros([64]) }, ones([5, 64]));
    await next.w.data();
    // Nothing but the two kernels of the body: no copy in front of the loop, none behind it.
    expect(step.statistics().kernels.map(({ runs }) => runs)).toEqual(step.statistics().kernels.map(() => 5));
    expect(step.statistics().bytesPeak).toBeLessThan(2 * 64 * 4 + 2 * 2 * 256 + 2 * 256);
    step.dispose();
  });

  it("has names for bad use", () => {
    const id = (c: Tensor) => [c, null] as const;
    expect(() =>
      scan((c: Tensor) => [c.expandDims(0), null] as never, scalar(0), tensor([1])),
    ).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: scan: the carry enters an iteration as [] and leaves it as [1]. Start from a carry of the shape that it keeps.]`,
    );
    expect(() => scan((c: Tensor) => [c.cast("i32"), null], scalar(0), tensor([1]))).toThrowErrorMatchingInlineSnapshot(
      `[DTypeError: scan: the carry enters an iteration as f32 and leaves it as i32. Cast one of them.]`,
    );
    expect(() =>
      scan((c: { a: Tensor }) => [[c.a] as never, null], { a: scalar(0) }, tensor([1])),
    ).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scan: the carry is {"a":*}, the function returned [*]. It must keep its structure.]`,
    );
    expect(() => scan(id as never, scalar(0), { a: zeros([2]), b: zeros([3]) })).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: scan: xs at a [2] has 2 elements along its first axis, xs at b [3] has 3 elements along its first axis. All must have one length.]`,
    );
    expect(() => scan(id as never, scalar(0), zeros([2]), { length: 3 })).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: scan: length is 3, xs [2] has 2 elements along its first axis. All must have one length.]`,
    );
    expect(() => scan(id as never, scalar(0), scalar(1))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: scan: xs is a scalar and has no axis to run along. Close over it instead.]`,
    );
    expect(() => scan(id as never, scalar(0), null)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scan: xs has no tensors, so the number of iterations is unknown. Give \`length\`.]`,
    );
    expect(() => scan(id as never, scalar(0), null, { length: -1 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scan: length is -1. Give an integer of at least 0.]`,
    );
    expect(() => scan(id as never, 0, null, { length: 1 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scan: the carry is a number, not a tensor. Make it one with tensor(…), or close over it.]`,
    );
    expect(() => scan((c: Tensor) => c as never, scalar(0), null, { length: 1 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: scan: the function must return [carry, y].]`,
    );
  });
});
