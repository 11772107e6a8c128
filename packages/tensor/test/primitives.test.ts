import { describe, expect, it } from "vitest";
import type { CompileTarget } from "../src/compiler/target";
import { isFloat } from "../src/dtype";
import { ArgumentError, apply, DTypeError, placeholder, type Tensor, tensor } from "../src/index";
import * as matrixPrimitives from "../src/linalg/primitives";
import * as primitives from "../src/primitives";
import type { Primitive } from "../src/primitives/definition";
import { sizeOf } from "../src/shape";
import {
  directionalDerivative,
  evaluateReference,
  expectClose,
  innerProduct,
  type NdArray,
  ndarray,
  randomInputs,
  type SeededDraw,
  seededDraw,
} from "../src/testing";

const records = Object.entries({ ...primitives, ...matrixPrimitives }) as unknown as [string, Primitive][];
const withInputs = records.filter(([, { sample }]) => sample(seededDraw(0)).inputs.length > 0);
const seeds = Array.from({ length: 24 }, (_, seed) => seed);

/** A CPU adapter with the limits that every device has: what composites expand to may depend on it. */
const target: CompileTarget = {
  isSoftware: true,
  invocations: 64,
  lanesPerRow: 1,
  operandReuse: 4,
  likesTallTiles: false,
  keepsLoops: true,
  broadcastLanes: 0,
  workPerSubmit: 2 ** 30,
  maxBindings: 8,
  maxWorkgroups: 65_535,
  maxInvocationsPerWorkgroup: 256,
  maxWorkgroupBytes: 16_384,
  hasF16: false,
  maxBindingBytes: 2 ** 27,
  maxBufferBytes: 2 ** 28,
};

/** Derivatives by rules and by differences differ by the error of the latter. */
const bound = { relative: 1e-7, absolute: 1e-8 };
/** Both sides are computed by rules. */
const exact = { relative: 1e-10, absolute: 1e-11 };

interface Case {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly params: unknown;
  /** Values of the inputs. */
  readonly values: readonly NdArray[];
  readonly at: Map<Tensor, NdArray>;
  readonly draw: SeededDraw;
}

/** Inputs at which operations with steps are constant, a distance away from all steps. */
const awayFromSteps = new Set(["floor", "ceil", "round"]);

function sampleCase(primitive: Primitive, seed: number): Case {
  const draw = seededDraw(seed);
  const sample = primitive.sample(draw);
  const drawn = randomInputs(sample, draw);
  const values = awayFromSteps.has(primitive.name)
    ? drawn.map((array) => ({ ...array, values: array.values.map((x) => (Math.floor(8 * x) + 0.5) / 8) }))
    : drawn;
  const inputs = sample.inputs.map(({ shape, dtype }) => placeholder(shape, dtype));
  const output = apply(primitive, inputs, sample.params);
  const at = new Map(inputs.map((input, index) => [input, values[index] as NdArray]));
  return { inputs, output, params: sample.params, values, at, draw };
}

/** Numbers for a direction or a cotangent. */
const direction = (of: Tensor, draw: SeededDraw): NdArray => ndarray(of.shape, of.dtype, () => draw.uniform(-1, 1));

const evaluateOne = (output: Tensor, at: Map<Tensor, NdArray>): NdArray =>
  evaluateReference([output], at)[0] as NdArray;

/** The primitive's jvp along directions for some of the inputs, as an array; zeros for a null tangent. */
function forward({ inputs, output, params, at }: Case, along: ReadonlyMap<Tensor, NdArray>): NdArray {
  const tangents = inputs.map((input) => (along.has(input) ? placeholder(input.shape, input.dtype) : null));
  const result = output.primitive.jvp(tangents, { inputs, output, params });
  const bindings = new Map(at);
  inputs.forEach((input, index) => {
    const tangent = tangents[index];
    if (tangent) bindings.set(tangent, along.get(input) as NdArray);
  });
  if (result === null) return ndarray(output.shape, output.dtype, () => 0);
  expect(result.shape).toEqual(output.shape);
  expect(result.dtype).toBe(output.dtype);
  return evaluateOne(result, bindings);
}

/** The primitive's vjp, as arrays; null where no cotangent flows. */
function backward({ inputs, output, params, at }: Case, cotangent: NdArray): (NdArray | null)[] {
  const seed = placeholder(output.shape, output.dtype);
  const results = output.primitive.vjp(seed, { inputs, output, params });
  expect(results).toHaveLength(inputs.length);
  return results.map((result, index) => {
    if (result === null) return null;
    expect(result.shape).toEqual(inputs[index]?.shape);
    expect(result.dtype).toBe(inputs[index]?.dtype);
    return evaluateOne(result, new Map(at).set(seed, cotangent));
  });
}

/** All non-empty sets of positions below `count`. */
const subsets = (count: number): number[][] =>
  Array.from({ length: 2 ** count - 1 }, (_, code) =>
    Array.from({ length: count }, (_, index) => index).filter((index) => ((code + 1) >> index) & 1),
  );

describe("every primitive", () => {
  it.each(records)("%s: the shape rule describes the reference, and names are unique", (_name, primitive) => {
    expect(records.filter(([, other]) => other.name === primitive.name)).toHaveLength(1);
    if (primitive.lowering.kind === "leaf") return;
    for (const seed of seeds) {
      const { output, at } = sampleCase(primitive, seed);
      const value = evaluateOne(output, at);
      expect(value.shape).toEqual(output.shape);
      expect(value.dtype).toBe(output.dtype);
      expect(value.values).toHaveLength(sizeOf(output.shape));
      expect(value.values.every((x) => !Number.isNaN(x))).toBe(true);
      if (output.dtype === "bool") expect(value.values.every((x) => x === 0 || x === 1)).toBe(true);
      if (output.dtype === "i32") expect(value.values.every((x) => x === (x | 0))).toBe(true);
      if (output.dtype === "u32") expect(value.values.every((x) => x === x >>> 0)).toBe(true);
    }
  });

  it.each(withInputs)("%s: jvp agrees with finite differences, for every set of moving inputs", (name, primitive) => {
    for (const seed of seeds) {
      const own = sampleCase(primitive, seed);
      const movable = own.inputs.filter((input) => isFloat(input.dtype));
      for (const set of subsets(movable.length)) {
        const along = new Map(
          set.map((index) => movable[index] as Tensor).map((input) => [input, direction(input, own.draw)]),
        );
        const tangent = forward(own, along);
        if (!isFloat(own.output.dtype) || name === "stopGradient") {
          expect(tangent.values.every((x) => x === 0)).toBe(true);
          continue;
        }
        const [difference] = directionalDerivative([own.output], own.at, along) as [NdArray];
        expectClose(tangent, difference, bound, `${name}, seed ${seed}, inputs ${set}`);
      }
    }
  });

  it.each(withInputs)("%s: vjp is the transpose of the derivative", (name, primitive) => {
    for (const seed of seeds) {
      const own = sampleCase(primitive, seed);
      const cotangent = direction(own.output, own.draw);
      const cotangents = backward(own, cotangent);
      own.inputs.forEach((input, index) => {
        const result = cotangents[index] ?? null;
        if (!isFloat(input.dtype) || !isFloat(own.output.dtype) || name === "stopGradient") {
          expect(result).toBeNull();
          return;
        }
        const tangent = direction(input, own.draw);
        const along = new Map([[input, tangent]]);
        const pushed = innerProduct(cotangent, forward(own, along));
        const pulled = result === null ? 0 : innerProduct(result, tangent);
        const [difference] = directionalDerivative([own.output], own.at, along) as [NdArray];
        const scale = sizeOf(own.output.shape) + sizeOf(input.shape);
        expectClose(
          [pulled],
          [pushed],
          { ...exact, absolute: exact.absolute * scale },
          `${name}, seed ${seed}, input ${index}`,
        );
        expectClose(
          [pulled],
          [innerProduct(cotangent, difference)],
          { ...bound, absolute: bound.absolute * scale },
          `${name}, seed ${seed}, input ${index}`,
        );
      });
    }
  });

  it.each(withInputs)("%s: the batch rule agrees with a loop, for every set of batched inputs", (name, primitive) => {
    for (const seed of seeds) {
      const { inputs, output, params, values, draw } = sampleCase(primitive, seed);
      for (const set of subsets(inputs.length)) {
        const size = draw.integer(1, 3);
        // Examples differ in the values of the batched inputs, which are drawn anew from the same domains.
        const examples = Array.from({ length: size }, () => {
          const drawn = randomInputs(primitive.sample(seededDraw(seed)), draw);
          return values.map((value, index) => (set.includes(index) ? (drawn[index] as NdArray) : value));
        });
        const stacked = values.map((value, index) =>
          set.includes(index) ? stackArrays(examples.map((example) => example[index] as NdArray)) : value,
        );
        const wide = stacked.map(({ shape, dtype }) => placeholder(shape, dtype));
        const result = primitive.batch(wide, {
          batched: inputs.map((_, index) => set.includes(index)),
          params,
          size,
          bind: (tensors, own) => apply(primitive, tensors, own),
        });
        const label = `${name}, seed ${seed}, batched ${set}`;
        expect(result.shape, label).toEqual([size, ...output.shape]);
        expect(result.dtype, label).toBe(output.dtype);
        const actual = evaluateOne(result, new Map(wide.map((input, index) => [input, stacked[index] as NdArray])));
        const expected = stackArrays(
          examples.map((example) =>
            evaluateOne(output, new Map(inputs.map((input, index) => [input, example[index] as NdArray]))),
          ),
        );
        expectClose(actual, expected, exact, label);
      }
    }
  });
});

function stackArrays(arrays: readonly NdArray[]): NdArray {
  const [first] = arrays as readonly [NdArray];
  const values = new Float64Array(arrays.length * first.values.length);
  arrays.forEach((array, index) => {
    values.set(array.values, index * first.values.length);
  });
  return { shape: [arrays.length, ...first.shape], dtype: first.dtype, values };
}

/** Iterations that stop where f32 has no more digits. */
const iterative: Readonly<Record<string, typeof exact>> = { inverseRoot: { relative: 1e-6, absolute: 1e-6 } };

describe("composite primitives", () => {
  const composites = records.filter(([, { lowering }]) => lowering.kind === "composite");

  it.each(composites)("%s: the expansion agrees with the reference", (name, primitive) => {
    for (const seed of seeds) {
      const { inputs, output, params, at } = sampleCase(primitive, seed);
      if (primitive.lowering.kind !== "composite") throw new Error("The list holds composites only.");
      const expanded = primitive.lowering.expand(inputs, params, target);
      expect(expanded.shape).toEqual(output.shape);
      expect(expanded.dtype).toBe(output.dtype);
      const all = new Set<Tensor>();
      const visit = (node: Tensor): void => {
        if (all.has(node)) return;
        all.add(node);
        node.inputs.forEach(visit);
      };
      visit(expanded);
      expect([...all].every((node) => node.primitive !== primitive)).toBe(true);
      // Kernels written by hand run on a device only; conformance.test.ts compares those.
      if ([...all].some((node) => node.primitive.lowering.kind === "kernel")) continue;
      const within = iterative[name] ?? exact;
      expectClose(evaluateOne(expanded, at), evaluateOne(output, at), within, `${name}, seed ${seed}`);
    }
  });
});

describe("leaves", () => {
  it("are the primitives without inputs, and have no derivative", () => {
    const leaves = records.filter(([, { sample }]) => sample(seededDraw(0)).inputs.length === 0);
    expect(leaves.map(([name]) => name).sort()).toEqual(["full", "iota", "placeholder", "source"]);
    for (const [, primitive] of leaves) {
      const { output, params } = sampleCase(primitive, 1);
      expect(primitive.vjp(output, { inputs: [], output, params })).toEqual([]);
      expect(primitive.jvp([], { inputs: [], output, params })).toBeNull();
    }
  });

  it("full and iota hold what they say", () => {
    expect(evaluateOne(tensor([0]).fullLike(2.5), new Map()).values).toEqual(Float64Array.of(2.5));
    const rows = tensor([
      [0, 0, 0],
      [0, 0, 0],
    ]).iotaLike(0);
    expect(Array.from(evaluateOne(rows, new Map()).values)).toEqual([0, 0, 0, 1, 1, 1]);
  });
});

describe("at kinks, ties and limits", () => {
  const valuesOf = (x: Tensor) => [...evaluateOne(x, new Map()).values];
  /** The cotangents of the inputs, for a cotangent of ones. */
  const pullBack = (output: Tensor): (number[] | null)[] =>
    output.primitive
      .vjp(output.onesLike(), { inputs: output.inputs, output, params: output.params })
      .map((cotangent) => cotangent && valuesOf(cotangent));

  it("maximum and minimum share the derivative at ties", () => {
    const [a, b] = [tensor([1, 2, 3]), tensor([2, 2, 2])];
    expect(pullBack(a.maximum(b))).toEqual([
      [0, 0.5, 1],
      [1, 0.5, 0],
    ]);
    expect(pullBack(a.minimum(b))).toEqual([
      [1, 0.5, 0],
      [0, 0.5, 1],
    ]);
  });

  it("max and min give the derivative to the first of equal elements", () => {
    const x = tensor([
      [3, 1, 3],
      [1, 1, 2],
    ]);
    expect(pullBack(x.max({ axis: 1 }))).toEqual([[1, 0, 0, 0, 0, 1]]);
    expect(pullBack(x.min())).toEqual([[0, 1, 0, 0, 0, 0]]);
    expect(valuesOf(x.argmax({ axis: 1 }))).toEqual([0, 2]);
    expect(valuesOf(x.argmin({ axis: 0 }))).toEqual([1, 0, 1]);
  });

  it("prod has derivatives where elements are 0", () => {
    expect(pullBack(tensor([2, 0, 3]).prod())).toEqual([[0, 6, 0]]);
    expect(pullBack(tensor([2, 0, 0]).prod())).toEqual([[0, 0, 0]]);
  });

  it("relu, abs and sign have derivative 0 at 0", () => {
    const x = tensor([-1, 0, 1]);
    expect(pullBack(x.relu())).toEqual([[0, 0, 1]]);
    expect(pullBack(x.abs())).toEqual([[-1, 0, 1]]);
    expect(pullBack(x.sign())).toEqual([null]);
  });

  it("the derivative of pow is finite at base 0", () => {
    const power = apply(primitives.pow as Primitive, [tensor([0, 0]), tensor([1, 3])], undefined);
    expect(pullBack(power)).toEqual([
      [1, 0],
      [0, 0],
    ]);
  });

  it("rem follows the truncated quotient", () => {
    const [a, b] = [tensor([7, -7, 5.5]), tensor([3, 3, -2])];
    expect(valuesOf(a.rem(b))).toEqual([1, -1, 1.5]);
    const [da, db] = pullBack(a.rem(b));
    expect(da).toEqual([1, 1, 1]);
    expect(db).toEqual([-2, 2, 2]);
  });

  it("where lets no NaN through from the side that is not chosen", () => {
    const x = tensor([-1, 4]);
    const chosen = x.greater(0).where(x.sqrt(), 0);
    expect(valuesOf(chosen)).toEqual([0, 2]);
    const [, cotangent] = pullBack(x.greater(0).where(x.log(), x));
    expect(cotangent).toEqual([0, 1]);
  });

  it("round takes ties to even", () => {
    expect(valuesOf(tensor([0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 2.4]).round())).toEqual([0, 2, 2, 4, -0, -2, -2, 2]);
  });

  it("integers wrap, and division by 0 follows WGSL", () => {
    const i = (...values: number[]) => tensor(Int32Array.from(values));
    const u = (...values: number[]) => tensor(Uint32Array.from(values));
    const [least, most] = [-(2 ** 31), 2 ** 31 - 1];
    expect(valuesOf(i(most).add(1))).toEqual([least]);
    expect(valuesOf(u(0).sub(1))).toEqual([2 ** 32 - 1]);
    expect(valuesOf(i(65_537).mul(65_537))).toEqual([131_073]);
    expect(valuesOf(u(2 ** 32 - 1).mul(2 ** 32 - 1))).toEqual([1]);
    expect(valuesOf(i(7, -7, 5, least).div(i(2, 2, 0, -1)))).toEqual([3, -3, 5, least]);
    expect(valuesOf(i(7, -7, 5, least).rem(i(4, 4, 0, -1)))).toEqual([3, -3, 0, 0]);
    expect(valuesOf(i(-8).shiftRight(1))).toEqual([-4]);
    expect(valuesOf(u(2 ** 31 + 8).shiftRight(33))).toEqual([2 ** 30 + 4]);
    expect(valuesOf(u(2 ** 31 + 1).shiftLeft(1))).toEqual([2]);
    expect(valuesOf(i(least).neg())).toEqual([least]);
    expect(valuesOf(i(least).abs())).toEqual([least]);
    expect(valuesOf(i(2 ** 30, 2 ** 30, 2 ** 30).sum())).toEqual([-(2 ** 30)]);
    expect(valuesOf(i(65_537, 65_537, 65_537, 65_537).prod())).toEqual([262_145]);
    expect(valuesOf(u(2 ** 32 - 1, 2).dot(u(2 ** 32 - 1, 3)))).toEqual([7]);
  });

  it("casts truncate and clamp, and bitcasts keep the bits", () => {
    const x = tensor([1.9, -1.9, 3e9, -3e9, 5e9, 0]);
    expect(valuesOf(x.cast("i32"))).toEqual([1, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 31 - 1, 0]);
    expect(valuesOf(x.cast("u32"))).toEqual([1, 0, 3e9, 0, 2 ** 32 - 1, 0]);
    expect(valuesOf(x.cast("bool"))).toEqual([1, 1, 1, 1, 1, 0]);
    expect(valuesOf(tensor(Int32Array.of(-1)).cast("u32"))).toEqual([2 ** 32 - 1]);
    expect(valuesOf(tensor(Uint32Array.of(2 ** 32 - 1)).cast("i32"))).toEqual([-1]);
    expect(valuesOf(tensor([1, -2]).bitcast("u32"))).toEqual([0x3f800000, 0xc0000000]);
    expect(valuesOf(tensor(Uint32Array.of(0x40490fdb)).bitcast("f32"))).toEqual([Math.fround(Math.PI)]);
  });

  it("constants are of the dtype, and words of random bits are u32", () => {
    const integers = tensor(Int32Array.of(1, 2));
    expect(() => integers.pad([[1, 0]], { value: 0.5 })).toThrow(DTypeError);
    expect(() => integers.fullLike(0.5)).toThrow(DTypeError);
    expect(() => integers.add(0.5)).toThrow(DTypeError);
    expect(valuesOf(integers.pad([[1, 0]], { value: 5 }))).toEqual([5, 1, 2]);
    expect(() =>
      apply(primitives.threefry as Primitive, [integers, integers, integers, integers], { word: "xor" }),
    ).toThrow(DTypeError);
  });

  it("gather clamps positions, and its transpose puts cotangents where it read", () => {
    const x = tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const at = tensor(Int32Array.of(-5, 1, 7, 1));
    const taken = x.gather(at, { axis: 0 });
    expect(valuesOf(taken)).toEqual([1, 2, 3, 4, 5, 6, 3, 4]);
    expect(pullBack(taken)).toEqual([[1, 1, 2, 2, 1, 1], null]);
    expect(valuesOf(tensor([10, 20, 30, 40]).scatterSum(at, { axis: 0, extent: 3 }))).toEqual([0, 60, 0]);
  });

  it("reductions over nothing have their neutral element, or none", () => {
    const x = tensor([], { shape: [2, 0] });
    expect(valuesOf(x.sum({ axis: 1 }))).toEqual([0, 0]);
    expect(valuesOf(x.prod({ axis: 1 }))).toEqual([1, 1]);
    expect(valuesOf(x.max({ axis: 0 }))).toEqual([]);
    expect(() => x.max({ axis: 1 })).toThrow(ArgumentError);
    expect(() => x.argmin({ axis: 1 })).toThrow(ArgumentError);
    expect(valuesOf(x.dot(tensor([], { shape: [0, 3] })))).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
