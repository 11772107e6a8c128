import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placeholder, type Tensor } from "../tensor";
import { alignment, type LoopRange, peakBytes, type Step } from "./plan-memory";
import { cheapestFirst, freeingFirst, reorder } from "./reorder";

const rules = { freeingFirst, cheapestFirst };
const block = (units: number): Tensor => placeholder([(units * alignment) / 4], "f32");

/** Steps that read what earlier ones wrote and write something of their own, and now and then over a state. */
const programs = fc
  .array(
    fc.record({
      units: fc.integer({ min: 1, max: 20 }),
      reads: fc.array(fc.nat({ max: 9 }), { maxLength: 3 }),
      state: fc.constantFrom("none", "none", "read", "write"),
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map((drawn) => {
    const state = block(1);
    const made: Tensor[] = [];
    const steps = drawn.map(({ units, reads, state: use }): Step => {
      const own = block(units);
      const before = [...new Set(reads.flatMap((back) => made[made.length - 1 - back] ?? []))];
      made.push(own);
      return {
        reads: use === "read" ? [...before, state] : before,
        writes: use === "write" ? [own, state] : [own],
      };
    });
    return { steps, temporaries: new Set(made) };
  });

const touchTheSame = (first: Step, second: Step): boolean =>
  first.writes.some((node) => second.reads.includes(node) || second.writes.includes(node)) ||
  first.reads.some((node) => second.writes.includes(node));

const peak = (steps: readonly Step[], order: readonly number[], temporaries: ReadonlySet<Tensor>): number =>
  peakBytes(
    order.map((index) => steps[index] as Step),
    temporaries,
    new Set(),
    [],
    () => 0,
  );

/** Forward through a chain of layers, back again, and a gradient for every layer, which come last. */
function trainingStep(layers: number) {
  const activations = Array.from({ length: layers + 1 }, () => block(8));
  const cotangents = activations.map(() => block(8));
  const at = (list: readonly Tensor[], index: number) => list[index] as Tensor;
  const count = Array.from({ length: layers }, (_, layer) => layer);
  const steps: Step[] = [
    { reads: [], writes: [at(activations, 0)] },
    ...count.map((layer) => ({ reads: [at(activations, layer)], writes: [at(activations, layer + 1)] })),
    { reads: [at(activations, layers)], writes: [at(cotangents, layers)] },
    ...count.toReversed().map((layer) => ({
      reads: [at(cotangents, layer + 1), at(activations, layer)],
      writes: [at(cotangents, layer)],
    })),
    ...count.map((layer) => ({ reads: [at(activations, layer), at(cotangents, layer + 1)], writes: [block(1)] })),
  ];
  return { steps, temporaries: new Set([...activations, ...cotangents]) };
}

describe.each(Object.entries(rules))("reorder, %s", (_, rule) => {
  it("runs every step once, and those that touch the same memory in their order", () => {
    fc.assert(
      fc.property(programs, ({ steps, temporaries }) => {
        const order = reorder(steps, rule, temporaries, new Set());
        expect([...order].sort((a, b) => a - b)).toEqual(steps.map((_, index) => index));
        for (const [position, later] of order.entries()) {
          for (const earlier of order.slice(0, position)) {
            if (touchTheSame(steps[earlier] as Step, steps[later] as Step)) expect(earlier).toBeLessThan(later);
          }
        }
      }),
    );
  });

  it("leaves every step in the loops that it is in", () => {
    fc.assert(
      fc.property(programs, fc.nat(), fc.nat(), ({ steps, temporaries }, a, b) => {
        const [from, to] = [a % (steps.length + 1), b % (steps.length + 1)].sort((x, y) => x - y) as [number, number];
        const loops: LoopRange[] = [{ from, to, length: 3, level: 0 }];
        const order = reorder(steps, rule, temporaries, new Set(), loops);
        const inside = (index: number) => from <= index && index < to;
        for (const [position, index] of order.entries()) expect(inside(position)).toBe(inside(index));
      }),
    );
  });

  it("does not keep the gradients of activations for the end of a training step", () => {
    const { steps, temporaries } = trainingStep(12);
    const given = steps.map((_, index) => index);
    // All activations but the last, and all their gradients.
    expect(peak(steps, given, temporaries)).toBe(25 * 8 * alignment);
    // All activations, and the gradients of two of them.
    const order = reorder(steps, rule, temporaries, new Set());
    expect(peak(steps, order, temporaries)).toBeLessThanOrEqual(15 * 8 * alignment);
  });

  it("frees what two steps read last, neither of which frees it alone", () => {
    const [read, other, next] = [block(8), block(8), block(8)];
    const steps: Step[] = [
      { reads: [], writes: [read] },
      { reads: [], writes: [other] },
      { reads: [other], writes: [next] },
      { reads: [read], writes: [block(1)] },
      { reads: [read], writes: [block(1)] },
    ];
    const order = reorder(steps, rule, new Set([read, other, next]), new Set());
    expect(order.indexOf(4) - order.indexOf(0)).toBe(2);
  });
});

it("leaves an order as it is in which nothing can be freed earlier", () => {
  const [read, next] = [block(8), block(8)];
  const steps: Step[] = [
    { reads: [], writes: [read] },
    { reads: [], writes: [next] },
    { reads: [read], writes: [] },
  ];
  expect(reorder(steps, freeingFirst, new Set([read, next]), new Set())).toEqual([0, 2, 1]);
  expect(reorder(steps, freeingFirst, new Set([read, next]), new Set([read]))).toEqual([0, 1, 2]);
});
