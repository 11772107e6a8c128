import { describe, expect, it } from "vitest";
import { isFloat } from "../src/dtype";
import { apply, placeholder, type Tensor, tensor } from "../src/index";
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

const records = Object.entries(primitives) as unknown as [string, Primitive][];
const withInputs = records.filter(([, { sample }]) => sample(seededDraw(0)).inputs.length > 0);
const seeds = Array.from({ length: 24 }, (_, seed) => seed);

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

describe("composite primitives", () => {
  const composites = records.filter(([, { lowering }]) => lowering.kind === "composite");

  it.each(composites)("%s: the expansion agrees with the reference", (name, primitive) => {
    for (const seed of seeds) {
      const { inputs, output, params, at } = sampleCase(primitive, seed);
      if (primitive.lowering.kind !== "composite") throw new Error("The list holds composites only.");
      const expanded = primitive.lowering.expand(inputs, params);
      expect(expanded.shape).toEqual(output.shape);
      expect(expanded.dtype).toBe(output.dtype);
      const all = new Set<Tensor>();
      const visit = (node: Tensor): void => {
        all.add(node);
        node.inputs.forEach(visit);
      };
      visit(expanded);
      expect([...all].every((node) => node.primitive !== primitive)).toBe(true);
      expectClose(evaluateOne(expanded, at), evaluateOne(output, at), exact, `${name}, seed ${seed}`);
    }
  });

  it("cumsum cuts long axes into blocks, recursively", () => {
    for (const length of [63, 64, 65, 128, 129, 64 * 64 + 1]) {
      const x = tensor(Float32Array.from({ length }, (_, i) => ((i * 37) % 11) - 5));
      const { lowering } = primitives.cumsum;
      if (lowering.kind !== "composite") throw new Error("cumsum is a composite.");
      const [value] = evaluateReference([lowering.expand([x], { axis: 0 })]) as [NdArray];
      let total = 0;
      const expected = Array.from({ length }, (_, i) => (total += ((i * 37) % 11) - 5));
      expectClose(value, expected, exact, `length ${length}`);
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
