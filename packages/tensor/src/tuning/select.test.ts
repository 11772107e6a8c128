import { describe, expect, it } from "vitest";
import { type Candidate, differenceOf, type Measurer, type Results, selectVariant } from "./select";

/** A kernel that is told how long it takes and what it computes. */
interface Fake {
  readonly times: readonly number[];
  readonly values?: readonly number[];
  readonly compiles?: string;
  readonly throws?: string;
}

const single = (values: readonly number[], isExact = false): readonly Results[] => [
  { values, isExact, unitRoundoff: 2 ** -24 },
];

/** Counts runs by kernel; time number n of a kernel is the n-th of its list, the last one ever after. */
class FakeMeasurer implements Measurer<Fake> {
  readonly runs = new Map<Fake, number>();
  readonly order: Fake[] = [];

  async prepare(kernels: readonly Fake[]) {
    return kernels.map(({ compiles }) => compiles);
  }
  async results({ values = [1, 2, 3], throws }: Fake) {
    if (throws !== undefined) throw new Error(throws);
    return single(values);
  }
  async time(kernel: Fake) {
    const run = this.runs.get(kernel) ?? 0;
    this.runs.set(kernel, run + 1);
    this.order.push(kernel);
    return kernel.times[Math.min(run, kernel.times.length - 1)] as number;
  }
}

const candidates = (...kernels: readonly Fake[]): Candidate<Fake>[] =>
  kernels.map((kernel, index) => ({ variant: { number: index }, kernel }));

async function select(...kernels: readonly Fake[]) {
  const measurer = new FakeMeasurer();
  const selection = await selectVariant(candidates(...kernels), measurer, 100);
  return { selection, measurer };
}

describe("the choice among variants", () => {
  it("takes the one with the shortest median", async () => {
    const { selection } = await select({ times: [10] }, { times: [7, 12, 7, 7, 7] }, { times: [6, 9, 9, 9, 9] });
    expect(selection?.chosen).toEqual({ number: 1 });
    expect(selection?.nanoseconds).toBe(7);
    expect(selection?.untunedNanoseconds).toBe(10);
  });

  it("stays with the first where another one is faster by noise only", async () => {
    const { selection } = await select({ times: [100] }, { times: [99] });
    expect(selection?.chosen).toEqual({ number: 0 });
  });

  it("drops a fast variant whose numbers are wrong, and says which", async () => {
    const { selection } = await select({ times: [10] }, { times: [1], values: [1, 2.5, 3] }, { times: [8] });
    expect(selection?.chosen).toEqual({ number: 2 });
    expect(selection?.candidates.map(({ outcome }) => outcome)).toEqual(["measured", "wrong", "measured"]);
    expect(selection?.candidates[1]?.reason).toMatch(/element 1 is 2.5 and not 2/);
  });

  it("drops variants that were not made, do not compile, or fail when run", async () => {
    const measurer = new FakeMeasurer();
    const selection = await selectVariant(
      [
        ...candidates({ times: [10] }, { times: [1], compiles: "line 3" }, { times: [1], throws: "lost" }),
        { variant: { number: 3 }, kernel: undefined, reason: "too large" },
      ],
      measurer,
      100,
    );
    expect(selection?.chosen).toEqual({ number: 0 });
    expect(selection?.candidates.map(({ outcome, reason }) => `${outcome} ${reason ?? ""}`.trim())).toEqual([
      "measured",
      "failed line 3",
      "failed lost",
      "failed too large",
    ]);
    expect([...measurer.runs.values()]).toEqual([5]);
  });

  it("runs a hopeless variant once, and every other one as often as the first, in turn", async () => {
    const [first, slow, other]: [Fake, Fake, Fake] = [{ times: [10] }, { times: [50] }, { times: [9] }];
    const { selection, measurer } = await select(first, slow, other);
    expect(measurer.order.map((kernel) => [first, slow, other].indexOf(kernel))).toEqual([
      0, 1, 2, 0, 2, 0, 2, 0, 2, 0, 2,
    ]);
    expect(selection?.candidates[1]).toMatchObject({ outcome: "slow", nanoseconds: null });
  });

  it("measures a slow first variant to the end: it is what the others are compared with", async () => {
    const { selection } = await select({ times: [100] }, { times: [10] });
    expect(selection).toMatchObject({ chosen: { number: 1 }, untunedNanoseconds: 100, nanoseconds: 10 });
  });

  it("chooses nothing if the first variant cannot be run", async () => {
    const { selection } = await select({ times: [10], throws: "lost" }, { times: [1] });
    expect(selection).toBeUndefined();
  });
});

describe("the comparison of results", () => {
  it("allows rounding that grows with the root of the number of terms", () => {
    const off = (by: number) => differenceOf(single([1000, 1]), single([1000, 1 + by]), 10_000);
    expect(off(0.04)).toBeUndefined();
    expect(off(0.1)).toMatch(/element 1/);
  });

  it("takes equal infinities and NaN as agreement, and nothing else for them", () => {
    const odd = [Number.NaN, Number.POSITIVE_INFINITY];
    expect(differenceOf(single(odd), single(odd), 1)).toBeUndefined();
    expect(differenceOf(single(odd), single([0, Number.POSITIVE_INFINITY]), 1)).toMatch(/element 0/);
    expect(differenceOf(single([1]), single([Number.NaN]), 1)).toMatch(/element 0/);
  });

  it("wants integers to be equal, and results to be there", () => {
    expect(differenceOf(single([1e6], true), single([1e6 + 1], true), 1e6)).toMatch(/element 0/);
    expect(differenceOf(single([1]), [], 1)).toMatch(/missing/);
  });
});
