import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placeholder, type Tensor } from "../tensor";
import { alignment, alignUp, type MemoryPlan, peakBytes, planMemory, type Step, tensorBytes } from "./plan-memory";

/** A tensor of so many whole units of alignment. */
const block = (units: number): Tensor => placeholder([(units * alignment) / 4], "f32");

const noLimit = 2 ** 40;
const total = ({ arenas }: MemoryPlan): number => arenas.reduce((sum, bytes) => sum + bytes, 0);

/** A chain of steps; every step reads some of what earlier ones wrote. */
const programs = fc
  .array(fc.record({ units: fc.integer({ min: 1, max: 40 }), reads: fc.array(fc.nat({ max: 7 }), { maxLength: 3 }) }), {
    minLength: 1,
    maxLength: 30,
  })
  .map((drawn): Step[] => {
    const made: Tensor[] = [];
    return drawn.map(({ units, reads }) => {
      const own = block(units);
      const before = [...new Set(reads.flatMap((back) => made[made.length - 1 - back] ?? []))];
      made.push(own);
      return { reads: before, writes: [own] };
    });
  });

const everything = (steps: readonly Step[]): Set<Tensor> => new Set(steps.flatMap(({ writes }) => writes));

describe("planMemory", () => {
  it("never lets two live temporaries overlap, nor a step write into an arena that it reads", () => {
    fc.assert(
      fc.property(programs, (steps) => {
        const plan = planMemory(steps, everything(steps), new Set(), noLimit);
        const lastUse = new Map(steps.flatMap(({ reads, writes }, at) => [...writes, ...reads].map((x) => [x, at])));
        const alive: Tensor[] = [];
        for (const [at, { reads, writes }] of steps.entries()) {
          alive.push(...writes);
          const ranges = alive
            .filter((node) => (lastUse.get(node) as number) >= at)
            .map((node) => ({ ...(plan.places.get(node) as { arena: number; offset: number }), node }))
            .sort((a, b) => a.arena - b.arena || a.offset - b.offset);
          for (const [index, { arena, offset, node }] of ranges.entries()) {
            const next = ranges[index + 1];
            const end = offset + alignUp(tensorBytes(node));
            if (next?.arena === arena) expect(next.offset).toBeGreaterThanOrEqual(end);
            expect(end).toBeLessThanOrEqual(plan.arenas[arena] as number);
          }
          const arenaOf = (node: Tensor) => plan.places.get(node)?.arena;
          for (const read of reads) expect(writes.map(arenaOf)).not.toContain(arenaOf(read));
        }
      }),
    );
  });

  it("needs at least its lower bound, and no more than everything side by side", () => {
    fc.assert(
      fc.property(programs, (steps) => {
        const plan = planMemory(steps, everything(steps), new Set(), noLimit);
        const all = [...everything(steps)].reduce((sum, node) => sum + alignUp(tensorBytes(node)), 0);
        expect(total(plan)).toBeGreaterThanOrEqual(plan.lowerBound);
        expect(total(plan)).toBeLessThanOrEqual(all);
      }),
    );
  });

  it("has as its lower bound the bytes that are alive at once, one step looked at after the other", () => {
    fc.assert(
      fc.property(programs, fc.nat(), (steps, drawn) => {
        const temporaries = everything(steps);
        const kept = new Set([...temporaries].filter((_, index) => (drawn >> (index % 30)) & 1));
        const isAlive = (node: Tensor, at: number) => {
          const touches = ({ reads, writes }: Step) => reads.includes(node) || writes.includes(node);
          const last = kept.has(node) ? steps.length : steps.findLastIndex(touches);
          return steps.findIndex(touches) <= at && at <= last;
        };
        const alive = steps.map((_, at) =>
          [...temporaries].reduce((sum, node) => sum + (isAlive(node, at) ? alignUp(tensorBytes(node)) : 0), 0),
        );
        expect(peakBytes(steps, temporaries, kept, [], () => 0)).toBe(Math.max(...alive));
        expect(planMemory(steps, temporaries, kept, noLimit).lowerBound).toBe(Math.max(...alive));
      }),
    );
  });

  it("places a chain of equal steps in two arenas, which is the least that a step can do with", () => {
    const made = Array.from({ length: 10 }, () => block(8));
    const steps = made.map((own, index) => ({ reads: made.slice(Math.max(0, index - 1), index), writes: [own] }));
    const plan = planMemory(steps, new Set(made), new Set(), noLimit);
    expect(plan.arenas).toEqual([8 * alignment, 8 * alignment]);
    expect(total(plan)).toBe(plan.lowerBound);
  });

  it("fills the tightest gap", () => {
    // Two gaps become free at step 1, of 6 and of 2 units; what is made there fits both, and what comes next only the larger.
    const [wide, wall, narrow, end] = [block(6), block(9), block(2), block(7)];
    const [small, large] = [block(2), block(6)];
    const steps: Step[] = [
      { reads: [], writes: [wide, wall, narrow, end] },
      { reads: [], writes: [small] },
      { reads: [], writes: [large] },
      { reads: [wall, end, small, large], writes: [] },
    ];
    const plan = planMemory(steps, everything(steps), new Set(), noLimit);
    expect(total(plan)).toBe(plan.lowerBound);
  });

  it("starts another arena where the largest buffer ends", () => {
    const made = [block(4), block(4), block(4)];
    const steps: Step[] = [
      { reads: [], writes: made },
      { reads: made, writes: [] },
    ];
    const plan = planMemory(steps, new Set(made), new Set(), 8 * alignment);
    expect(plan.arenas).toHaveLength(2);
    expect(Math.max(...plan.arenas)).toBeLessThanOrEqual(8 * alignment);
  });

  it("keeps what is read after the last step", () => {
    const [result, other] = [block(3), block(3)];
    const steps: Step[] = [
      { reads: [], writes: [result] },
      { reads: [], writes: [other] },
    ];
    const plan = planMemory(steps, new Set([result, other]), new Set([result]), noLimit);
    expect(plan.places.get(result)).not.toEqual(plan.places.get(other));
    expect(total(plan)).toBe(6 * alignment);
  });
});
