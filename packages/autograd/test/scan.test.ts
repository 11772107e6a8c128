import { type ScanOptions, scan, stack, type Tensor, type Tree, treeLeaves } from "@thalweg/tensor";
import { directionalDerivative, evaluateReference, innerProduct, type NdArray } from "@thalweg/tensor/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { grad, hvp, jvp, linearize, vjp, vmap } from "../src/index";
import { agree, bound, randomArrays } from "./support";

type Body = (carry: Tensor[], x: Tensor) => [Tensor[], Tensor];

/** What `scan` means. */
function unrolled(fn: Body, init: Tensor[], xs: Tensor, { reverse = false }: ScanOptions = {}): [Tensor[], Tensor] {
  const [length, ...rest] = xs.shape as [number, ...number[]];
  const ys: Tensor[] = [];
  let carry = init;
  for (let step = 0; step < length; step++) {
    const position = reverse ? length - 1 - step : step;
    const start = [position, ...rest.map(() => 0)];
    const x = xs.slice(start, [position + 1, ...rest]).reshape(rest);
    const [next, y] = fn(carry, x);
    carry = next;
    ys[position] = y;
  }
  return [carry, stack(ys)];
}

const size = 3;
/** One operation of a random body over vectors of 3: carries, the element, a weight and what was computed before. */
const operations: readonly ((a: Tensor, b: Tensor, w: Tensor) => Tensor)[] = [
  (a, b) => a.add(b),
  (a, b) => a.mul(b),
  (a) => a.tanh(),
  (a, _, w) => a.dot(w),
  (a, b) => a.sub(b.mean()),
  (a) => a.flip(0),
  (_, b, w) => w.mul(0.5).dot(b),
  (a, b) => a.sin().mul(0.5).add(b.square().sum().mul(0.1)),
  (a) => a.stopGradient().mul(0.3).add(a),
  (a, b) => scan((c: Tensor, x: Tensor) => [c.mul(0.5).add(x.mul(a.slice([0], [1]).reshape([]))), c], b.sum(), a)[1],
];

const instruction = fc.record({ operation: fc.nat(operations.length - 1), a: fc.nat(50), b: fc.nat(50) });
const programs = fc.record({
  body: fc.array(instruction, { minLength: 1, maxLength: 6 }),
  length: fc.integer({ min: 1, max: 4 }),
  carries: fc.integer({ min: 0, max: 2 }),
  reverse: fc.boolean(),
  seed: fc.nat(1000),
});
type Program = typeof programs extends fc.Arbitrary<infer P> ? P : never;

/** The function that a random program stands for: of the start, the elements and a weight that the body closes over. */
const functionOf =
  ({ body, carries, reverse }: Program, run: typeof unrolled) =>
  (first: Tensor, xs: Tensor, w: Tensor): Tensor => {
    const init = Array.from({ length: carries }, (_, index) => first.mul(0.5 + index));
    const fn: Body = (carry, x) => {
      const values = [x, ...carry];
      for (const { operation, a, b } of body) {
        const of = (index: number) => values[values.length - 1 - (index % values.length)] as Tensor;
        values.push((operations[operation] as (typeof operations)[0])(of(a), of(b), w));
      }
      const next = carry.map(
        (_, index) => values[(values.length - 1 - 2 * index + values.length) % values.length] as Tensor,
      );
      return [next, values.at(-1) as Tensor];
    };
    const [last, ys] = run(fn, init, xs, { reverse });
    const weights = ys.iotaLike(0, "f32").add(0.5).cos();
    return last.reduce((sum, carry) => sum.add(carry.sum()), ys.mul(weights).sum());
  };

const scanning: typeof unrolled = (fn, init, xs, options) => scan(fn as never, init as never, xs as never, options);

const inputs = ({ length, seed }: Program) => randomArrays(seed, [[size], [length, size], [size, size]]);

/** Compares a quantity of the loop with that of the unrolled form, both in float64. */
function same(program: Program, quantity: (f: (...args: Tensor[]) => Tensor, args: Tensor[]) => Tree<Tensor>): void {
  const { tensors, bindings } = bound(inputs(program));
  const of = (run: typeof unrolled) =>
    treeLeaves<Tensor>(quantity(functionOf(program, run) as (...args: Tensor[]) => Tensor, tensors));
  agree(of(scanning), evaluateReference(of(unrolled), bindings), bindings, 11);
}

const check = (numRuns: number, property: (program: Program) => void) =>
  fc.assert(fc.property(programs, property), { numRuns, seed: 5 });

const all = { argnums: [0, 1, 2] } as const;
const gradient = (f: (...args: Tensor[]) => Tensor) => grad(f as (a: Tensor, b: Tensor, c: Tensor) => Tensor, all);

describe("scan of random bodies equals its unrolled form", () => {
  it("in its value", () => check(60, (program) => same(program, (f, args) => f(...args))));

  it("in its gradient", () =>
    check(60, (program) => same(program, (f, args) => gradient(f)(...(args as [Tensor, Tensor, Tensor])))));

  it("in its directional derivative, directly and linearized", () =>
    check(40, (program) => {
      const tangents = (args: readonly Tensor[]) => args.map((x) => x.sin());
      same(program, (f, args) => jvp(f, args, tangents(args))[1]);
      same(program, (f, args) => linearize(f, ...args)[1](...tangents(args)));
    }));

  it("in its second derivatives", () =>
    check(15, (program) => {
      same(program, (f, [a, b, c]) =>
        hvp((x: Tensor) => f(x, b as Tensor, c as Tensor), a as Tensor, (a as Tensor).cos()),
      );
      same(program, (f, args) =>
        grad((w: Tensor) =>
          treeLeaves<Tensor>(gradient(f)(args[0] as Tensor, args[1] as Tensor, w)).reduce(
            (sum: Tensor, g) => sum.add(g.square().sum()),
            w.sum(),
          ),
        )(args[2] as Tensor),
      );
    }));

  it("over a batch of starts, of elements, of weights, and of gradients", () =>
    check(25, (program) => {
      const wide = (x: Tensor) => stack([x, x.mul(0.5)]);
      for (const axes of [
        [0, null, null],
        [null, 0, null],
        [null, null, 0],
        [0, 0, 0],
      ] as const) {
        same(program, (f, args) =>
          vmap(f, { in: axes })(...args.map((x, index) => (axes[index] === null ? x : wide(x)))),
        );
      }
      same(program, (f, args) =>
        vmap((a: Tensor, b: Tensor, w: Tensor) => gradient(f)(a, b, w), { in: [0, 0, null] })(
          wide(args[0] as Tensor),
          wide(args[1] as Tensor),
          args[2] as Tensor,
        ),
      );
    }));
});

describe("scan", () => {
  it("has the gradient that finite differences have", () => {
    const program: Program = {
      body: [
        { operation: 3, a: 0, b: 1 },
        { operation: 1, a: 0, b: 1 },
        { operation: 2, a: 0, b: 0 },
        { operation: 9, a: 0, b: 1 },
      ],
      length: 4,
      carries: 2,
      reverse: false,
      seed: 3,
    };
    const arrays = inputs(program);
    const { tensors, bindings } = bound(arrays);
    const f = functionOf(program, scanning) as (...args: Tensor[]) => Tensor;
    const directions = randomArrays(
      17,
      arrays.map(({ shape }) => shape),
    );
    const along = new Map(tensors.map((tensor, index) => [tensor, directions[index] as NdArray]));
    const [expected] = directionalDerivative([f(...tensors)], bindings, along) as [NdArray];
    const found = evaluateReference(
      treeLeaves<Tensor>(gradient(f)(...(tensors as [Tensor, Tensor, Tensor]))),
      bindings,
    );
    const total = found.reduce((sum, g, index) => sum + innerProduct(g, directions[index] as NdArray), 0);
    expect(total).toBeCloseTo(expected.values[0] as number, 8);
  });

  it("gives several results one backward loop", () => {
    const { tensors } = bound(randomArrays(1, [[size], [4, size]]));
    const [, pull] = vjp(
      (c: Tensor, xs: Tensor) => scan((h: Tensor, x: Tensor) => [h.mul(x).tanh(), h.sin()] as const, c, xs),
      tensors[0] as Tensor,
      tensors[1] as Tensor,
    );
    const back = pull([tensors[0] as Tensor, (tensors[1] as Tensor).mul(2)]);
    const loops = new Set(back.map((x) => (x.params as { loop: object }).loop));
    expect(loops.size).toBe(1);
  });
});
