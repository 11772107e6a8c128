import { describe, expect, it } from "vitest";
import { evaluate } from "../src/compiler/evaluate";
import { type DType, isFloat } from "../src/dtype";
import {
  bernoulli,
  concat,
  DTypeError,
  foldIn,
  key,
  normal,
  permutation,
  randomBits,
  randomIntegers,
  split,
  tensor,
  truncatedNormal,
  uniform,
} from "../src/index";
import * as matrixPrimitives from "../src/linalg/primitives";
import * as primitives from "../src/primitives";
import type { Draw, Primitive, Sample, SampleInput } from "../src/primitives/definition";
import { sizeOf } from "../src/shape";
import { apply, type Tensor } from "../src/tensor";
import {
  evaluateReference,
  expectClose,
  type NdArray,
  ndarray,
  randomInputs,
  type SeededDraw,
  seededDraw,
  type ToleranceOptions,
  tolerance,
  unitRoundoff,
} from "../src/testing";
import { useDevice } from "./device";
import { disguise, leafOf } from "./disguise";
import { randomStep } from "./movements";

const device = useDevice();

const records = Object.entries({ ...primitives, ...matrixPrimitives }) as unknown as [string, Primitive][];
const computed = records.filter(([, { lowering }]) => lowering.kind !== "leaf");

/** Draws shapes of up to six axes, of extents around the sizes of vectors and workgroups, with at most 1500 elements. */
function wideDraw(seed: number): SeededDraw {
  const draw = seededDraw(seed);
  const extents = [1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 33, 64, 65];
  return {
    ...draw,
    shape(options = {}) {
      if (options.extent !== undefined) return draw.shape(options);
      const rank = draw.integer(...(options.rank ?? ([0, 6] as const)));
      const shape: number[] = [];
      for (let axis = 0; axis < rank; axis++) {
        const room = 1500 / Math.max(1, sizeOf(shape));
        shape.push(draw.pick(extents.filter((extent) => extent <= Math.max(1, room))));
      }
      if (rank > 0 && draw.integer(0, 9) === 0) shape[draw.integer(0, rank - 1)] = 0;
      return draw.order(rank).map((axis) => shape[axis] as number);
    },
  };
}

/** Error of one operation in ulp, where WGSL or kernels/math.wgsl.ts allow more than correct rounding. */
const errorOf: Readonly<Record<string, number>> = {
  div: 2.5,
  reciprocal: 2.5,
  exp: 1,
  expm1: 1.5,
  log: 1,
  log1p: 4,
  sin: 1.5,
  cos: 1.5,
  tanh: 4,
  sqrt: 1,
  rsqrt: 1.5,
  sigmoid: 5,
  softplus: 4.5,
  erf: 4,
  erfInv: 5.5,
  pow: 1.5,
  rem: 2.5,
};

/** Sums: the primitive on absolute values is the scale of the rounding errors. */
const summing = new Set(["sum", "cumsum", "scatterSum", "dot"]);

/** Of matrices that are well-conditioned: errors in units of 2^-24 of the largest element of the result. */
const matrixErrorOf: Readonly<Record<string, number>> = {
  cholesky: 40,
  triangularSolve: 100,
  eigh: 60,
  inverseRoot: 200,
};

interface Case {
  readonly label: string;
  readonly output: Tensor;
  readonly expected: NdArray;
  readonly allowed: (expected: number, position: number) => number;
}

/** Rounded operations behind one element of the result. */
function termsOf(primitive: Primitive, output: Tensor): number {
  const [first] = output.inputs;
  if (primitive.name === "cumsum") return Math.max(...output.shape, 1);
  const inputs = (first?.size ?? 1) * (primitive.name === "dot" ? (output.inputs[1]?.size ?? 1) : 1);
  if (primitive.name === "dot") return Math.ceil(Math.sqrt(inputs / Math.max(1, output.size)));
  return Math.max(1, Math.ceil(inputs / Math.max(1, output.size)));
}

function makeCase(name: string, primitive: Primitive, seed: number, sample: Sample<unknown>, draw: SeededDraw): Case {
  const values = randomInputs(sample, draw);
  const inputs = values.map((array) => disguise(array, draw));
  const output = apply(
    primitive,
    inputs.map((input) => input.tensor),
    sample.params,
  );
  // The float64 reference of the primitive on what the inputs hold; f16 inputs were rounded when they were stored.
  const [expected, ...held] = evaluateReference([output, ...inputs.map((input) => input.tensor)]) as [
    NdArray,
    ...NdArray[],
  ];
  const kinds = inputs.map(({ how, tensor: own }) => `${how} ${own.toString()}`).join(", ");
  const label = `${name}, seed ${seed}: (${kinds}) to ${output.toString()}, ${JSON.stringify(sample.params)}`;
  return { label, output, expected, allowed: boundOf(name, primitive, output, held, sample.params) };
}

function boundOf(
  name: string,
  primitive: Primitive,
  output: Tensor,
  held: readonly NdArray[],
  params: unknown,
): Case["allowed"] {
  if (!isFloat(output.dtype)) return () => 0;
  const dtype = output.dtype === "f16" ? "f16" : "f32";
  const moves = ["movement", "alias", "gather", "generator"].includes(primitive.lowering.kind);
  if (moves && dtype === "f32") return () => 0;
  const matrixError = matrixErrorOf[name];
  if (matrixError !== undefined) {
    const largest = primitive
      .reference(held, params, output)
      .values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    return () => matrixError * unitRoundoff.f32 * largest;
  }
  if (name.startsWith("attention")) {
    // Scores have errors of some u times the magnitudes of queries and keys; weights have them as relative errors.
    const largest = (array: NdArray) =>
      array.values.filter(Number.isFinite).reduce((a, b) => Math.max(a, Math.abs(b)), 1);
    const scale = held.reduce(
      (product, array) => product * largest(array),
      Math.max(...held.flatMap(({ shape }) => shape)),
    );
    return () => 100 * unitRoundoff[dtype] * scale;
  }
  const options: ToleranceOptions = { dtype, ulp: errorOf[name] ?? 0 };
  if (!summing.has(name)) {
    // Squares of deviations are positive, and an error of the mean enters squared.
    const terms = name === "prod" || name === "squaredDeviations" ? termsOf(primitive, output) + 4 : 1;
    const { relative, absolute } = tolerance({ ...options, terms });
    return (expected) => absolute + relative * Math.abs(expected);
  }
  const absolutes = held.map((array) =>
    isFloat(array.dtype) ? { ...array, values: array.values.map(Math.abs) } : array,
  );
  const scale = primitive.reference(absolutes, params, output).values;
  const { relative, absolute } = tolerance({ ...options, terms: termsOf(primitive, output) + 2 });
  return (_expected, position) => absolute + relative * (scale[position] as number);
}

/** Evaluates all cases in one submit and compares each. */
async function conform(cases: readonly Case[]): Promise<void> {
  await evaluate(cases.map(({ output }) => output));
  for (const { label, output, expected, allowed } of cases) {
    const actual = await output.data();
    expectClose({ values: actual, shape: output.shape }, expected, allowed, label);
  }
}

/** The sample with inputs of other dtypes, where the primitive takes them. */
function withDTypes(primitive: Primitive, sample: Sample<unknown>, to: DType): Sample<unknown> | undefined {
  const replaced = sample.inputs.map((input): SampleInput => {
    const number = input.dtype === "f32" && primitive.name !== "bitcast";
    if (to === "i32" && input.dtype === "u32") return { ...input, dtype: to };
    if (!number) return input;
    const { domain: _domain, distinct: _distinct, ...rest } = input;
    if (to === "f16") return { ...input, dtype: to };
    return { ...rest, dtype: to, domain: to === "u32" ? [0, 9] : [-9, 9] };
  });
  // The fill of a padding has to be of the dtype.
  const params = primitive.name === "pad" ? { ...(sample.params as object), value: 3 } : sample.params;
  if (replaced.every((input, index) => input.dtype === sample.inputs[index]?.dtype)) return undefined;
  try {
    primitive.shape(replaced, params);
    return { inputs: replaced, params };
  } catch (error) {
    expect(error).toBeInstanceOf(DTypeError);
    return undefined;
  }
}

const seedsFor = (count: number): number[] => Array.from({ length: count }, (_, seed) => seed);

/** Drivers that compile kernels with LLVM take a while the first time. */
const slow = 120_000;

describe("on the device", () => {
  it.each(computed)(
    "%s is that of the float64 reference",
    async (name, primitive) => {
      const dtypes: DType[] = ["i32", "u32", ...(device().features.has("shader-f16") ? (["f16"] as const) : [])];
      const cases: Case[] = [];
      for (const seed of seedsFor(6)) {
        const draw = wideDraw(seed);
        cases.push(makeCase(name, primitive, seed, primitive.sample(draw as Draw), draw));
      }
      for (const dtype of dtypes) {
        for (const seed of [100, 101]) {
          const draw = wideDraw(seed);
          const sample = withDTypes(primitive, primitive.sample(draw as Draw), dtype);
          if (sample !== undefined) cases.push(makeCase(`${name} ${dtype}`, primitive, seed, sample, draw));
        }
      }
      await conform(cases);
    },
    slow,
  );
});

/**
 * A computed tensor with a bound on its rounding error: a graph of the same kind, which the reference evaluates. Every
 * operation adds its own error to what it makes of those of its operands (running error analysis).
 *
 * @see Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.3
 */
interface Tracked {
  readonly value: Tensor;
  readonly error: Tensor;
}

const unit = 2 ** -24;
const exact = (value: Tensor): Tracked => ({ value, error: value.zerosLike() });

/** A function with slopes of at most `slope` and an own error of `ulp`. */
const smooth = (x: Tracked, value: Tensor, slope: number, ulp: number): Tracked => ({
  value,
  error: x.error
    .mul(slope)
    .add(value.abs().mul(2 * unit * ulp))
    .add(2 ** -126),
});

const plus = (a: Tracked, b: Tracked): Tracked => {
  const value = a.value.add(b.value);
  return { value, error: a.error.add(b.error).add(value.abs().mul(unit)) };
};

const times = (a: Tracked, b: Tracked): Tracked => {
  const value = a.value.mul(b.value);
  const crossed = a.error.mul(b.value.abs()).add(b.error.mul(a.value.abs())).add(a.error.mul(b.error));
  return { value, error: crossed.add(value.abs().mul(unit)).add(2 ** -126) };
};

const total = (x: Tracked, axes: readonly number[], count: number): Tracked => ({
  value: x.value.sum({ axis: axes }),
  error: x.error.sum({ axis: axes }).add(
    x.value
      .abs()
      .sum({ axis: axes })
      .mul((count + 2) * unit),
  ),
});

const product = (a: Tracked, b: Tracked): Tracked => {
  const count = a.value.shape[a.value.rank - 1] as number;
  const of = (x: Tensor, y: Tensor) => x.dot(y);
  const [left, right] = [a.value.abs(), b.value.abs()];
  const inherited = of(a.error, right).add(of(left, b.error)).add(of(a.error, b.error));
  return { value: of(a.value, b.value), error: inherited.add(of(left, right).mul((count + 2) * unit)) };
};

/** One random step of a chain on a tensor. */
function step(x: Tracked, draw: SeededDraw): Tracked {
  const { value, error } = x;
  const { shape, rank } = value;
  const leaf = (own: readonly number[]) => exact(disguise(random(own, draw), draw).tensor);
  const axis = rank === 0 ? 0 : draw.integer(0, rank - 1);
  // There is no largest element, and nothing to gather, where there is none.
  const choice = draw.integer(0, rank === 0 || value.size === 0 ? 6 : 14);
  switch (choice) {
    case 0:
      return smooth(x, value.tanh(), 1, 4);
    case 1:
      return smooth(x, value.sigmoid(), 0.25, 5);
    case 2:
      return smooth(x, value.sin(), 1, 1.5);
    case 3:
      return plus(x, leaf(shape));
    case 4:
      // An operand that is repeated over axes.
      return times(x, leaf(shape.map((extent) => (draw.integer(0, 1) ? 1 : extent))));
    case 5:
      return times(x, x);
    case 6:
      return { value: value.abs().neg(), error };
    case 7: {
      const [axes, count] = [[axis], shape[axis] as number];
      return total(x, axes, count);
    }
    case 8:
      return { value: value.max({ axis, keepDims: true }), error: error.max({ axis, keepDims: true }) };
    case 9: {
      const indices = tensor(
        Int32Array.from({ length: draw.integer(1, 5) }, () => draw.integer(-1, shape[axis] as number)),
      );
      return { value: value.gather(indices, { axis }), error: error.gather(indices, { axis }) };
    }
    case 10: {
      const other = leaf(shape.map((extent, own) => (own === axis ? draw.integer(1, 4) : extent)));
      return { value: concat([value, other.value], { axis }), error: concat([error, other.error], { axis }) };
    }
    case 11: {
      const columns = draw.integer(1, 9);
      return product(x, leaf([shape[rank - 1] as number, columns]));
    }
    case 12: {
      const mask = leaf(shape).value.greater(0);
      return { value: mask.where(value, 0.5), error: mask.where(error, 0) };
    }
    default: {
      const { primitive, params } = randomStep(shape, draw);
      const silent = primitive.name === "pad" ? { ...(params as object), value: 0 } : params;
      return { value: apply(primitive, [value], params), error: apply(primitive, [error], silent) };
    }
  }
}

const random = (shape: readonly number[], draw: SeededDraw): NdArray =>
  ndarray(shape, "f32", () => Math.fround(draw.uniform(-1, 1)));

function randomChain(seed: number): Case[] {
  const draw = seededDraw(seed);
  const stages = [exact(disguise(random(draw.shape({ rank: [0, 4], extent: [1, 7] }), draw), draw).tensor)];
  for (let length = draw.integer(2, 8); length > 0; length--) {
    const next = step(stages[stages.length - 1] as Tracked, draw);
    if (next.value.size > 4000) break;
    stages.push(next);
  }
  // The end of the chain, and now and then a stage on the way, which then has to be stored as well.
  const results = stages.filter((_, index) => index === stages.length - 1 || draw.integer(0, 5) === 0);
  return results.map(({ value, error }, index) => {
    const [expected, bounds] = evaluateReference([value, error]) as [NdArray, NdArray];
    const label = `chain, seed ${seed}, result ${index}: ${stages.map((stage) => stage.value.primitive.name).join(", ")}`;
    return { label, output: value, expected, allowed: (_value, position) => bounds.values[position] as number };
  });
}

describe("chains of random operations", () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])(
    "part %d stay within the bounds of running error analysis",
    async (part) => {
      await conform(seedsFor(10).flatMap((seed) => randomChain(10 * part + seed)));
    },
    slow,
  );
});

describe("extents beyond one tile, one vector and one workgroup", () => {
  const draw = seededDraw(77);
  const of = (...shape: number[]) => exact(leafOf(random(shape, draw)));
  const caseOf = (label: string, { value, error }: Tracked): Case => {
    const [expected, bounds] = evaluateReference([value, error]) as [NdArray, NdArray];
    return { label, output: value, expected, allowed: (_value, position) => bounds.values[position] as number };
  };
  const sums = (x: Tracked, axes: readonly number[]) =>
    total(
      x,
      axes,
      axes.reduce((count, axis) => count * (x.value.shape[axis] as number), 1),
    );

  it("sums over any axes", async () => {
    const [long, matrix, block] = [of(10_007), of(129, 257), of(5, 67, 9, 4)];
    await conform([
      caseOf("all of a vector", sums(long, [0])),
      caseOf("rows", sums(matrix, [1])),
      caseOf("columns", sums(matrix, [0])),
      caseOf("a matrix", sums(matrix, [0, 1])),
      caseOf("inner and outer", sums(block, [0, 2])),
      caseOf("the middle", sums(block, [1, 2])),
    ]);
  });

  it.each([
    [1, 1, 1],
    [1, 300, 1],
    [1, 64, 70],
    [70, 64, 1],
    [64, 64, 64],
    [65, 67, 33],
    [17, 129, 130],
    [3, 1000, 5],
    [130, 3, 131],
  ])(
    "products of %d×%d matrices with ones of %d columns, transposed or not, and what is fused to them",
    async (m, k, n) => {
      const [a, b] = [of(m, k), of(k, n)];
      const [at, bt] = [of(k, m), of(n, k)];
      const turn = ({ value, error }: Tracked): Tracked => ({ value: value.T, error: error.T });
      await conform([
        caseOf("a b", product(a, b)),
        caseOf("aT b", product(turn(at), b)),
        caseOf("a bT", product(a, turn(bt))),
        caseOf("aT bT + c", plus(product(turn(at), turn(bt)), of(1, n))),
        caseOf("tanh(a b)", ((x: Tracked) => smooth(x, x.value.tanh(), 1, 4))(product(a, b))),
      ]);
    },
    slow,
  );

  it("batched products", async () => {
    const [a, b] = [of(3, 33, 20), of(3, 20, 18)];
    const of3 = (x: Tensor, y: Tensor) => x.matmul(y);
    const bound = of3(a.value.abs(), b.value.abs()).mul(22 * unit);
    const shared = of3(a.value.abs(), b.value.slice([0], [1]).reshape([20, 18]).abs()).mul(22 * unit);
    await conform([
      caseOf("one by one", { value: of3(a.value, b.value), error: bound }),
      caseOf("with one matrix", { value: of3(a.value, b.value.slice([0], [1]).reshape([20, 18])), error: shared }),
    ]);
  });

  it("cumulative sums, with blocks of blocks", async () => {
    const cumulated = ({ value }: Tracked): Tracked => ({
      value: value.cumsum({ axis: 0 }),
      error: value
        .abs()
        .cumsum({ axis: 0 })
        .mul(140 * unit),
    });
    await conform([caseOf("300", cumulated(of(300))), caseOf("[200, 7]", cumulated(of(200, 7)))]);
  });

  it("permutations and positions of extremes", async () => {
    const x = of(33, 65, 7);
    const tied = leafOf(ndarray([40, 50], "f32", () => draw.integer(0, 5)));
    await conform([
      caseOf("permuted", { value: x.value.permute([2, 0, 1]), error: x.error.permute([2, 0, 1]) }),
      caseOf("reshaped across axes", { value: x.value.T.reshape([-1, 33]), error: x.error.T.reshape([-1, 33]) }),
      caseOf("argmax", exact(tied.argmax({ axis: 1 }))),
      caseOf("argmin", exact(tied.argmin({ axis: 0 }))),
    ]);
  });
});

describe("numbers that are not ordinary", () => {
  const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
  /** Four rows of which the second, the third and the fourth have one NaN. */
  const planted = [undefined, 0, 700, 1999].map((at) =>
    Array.from({ length: 2000 }, (_, column) => (column === at ? nan : Math.sin(column))),
  );

  it("pass through views, selections and functions, and are found", async () => {
    const x = tensor([nan, inf, -inf, 3.4e38, -0, 1]);
    const results = {
      flipped: x.flip(0),
      chosen: tensor([true, true, true, false, false, false]).where(x, 2),
      exp: x.exp(),
      log: x.log(),
      tanh: x.tanh(),
      sigmoid: x.sigmoid(),
      finite: x.isFinite(),
      relu: x.relu(),
      "relu of four neighbours": concat([x, x.neg()]).relu(),
      maximum: x.maximum(0.5),
      "maximum, the other way": tensor(0.5).maximum(x),
      minimum: x.minimum(x.flip(0)),
      // NaN first, in between and last, in rows and in columns, short and long.
      max: x.max(),
      min: x.flip(0).min(),
      "max of columns": concat([x, x.flip(0), x.fullLike(1)])
        .reshape([3, 6])
        .max({ axis: 0 }),
      "min of long rows": tensor(planted).min({ axis: 1 }),
      "max of long columns": tensor(planted).T.max({ axis: 0 }),
    };
    const outputs = Object.values(results);
    const expected = evaluateReference(outputs);
    await evaluate(outputs);
    for (const [index, name] of Object.keys(results).entries()) {
      const actual = await (outputs[index] as Tensor).data();
      expectClose(actual, expected[index] as NdArray, tolerance({ ulp: 5 }), name);
    }
  });

  it("are clamped and truncated by casts, among all dtypes", async () => {
    const floats = tensor([1.9, -1.9, 3e9, -3e9, 5e9, -5e9, -0.5, 2147483520, 0]);
    const signed = tensor(Int32Array.of(-1, 0, 7, -(2 ** 31), 2 ** 31 - 1));
    const unsigned = tensor(Uint32Array.of(0, 7, 2 ** 31, 2 ** 32 - 1));
    const flags = tensor([true, false]);
    const outputs = [floats, signed, unsigned, flags].flatMap((from) =>
      (["f32", "i32", "u32", "bool"] as const).filter((to) => to !== from.dtype).map((to) => from.cast(to)),
    );
    const expected = evaluateReference(outputs);
    await evaluate(outputs);
    for (const [index, output] of outputs.entries()) {
      const label = `${output.toString()}, cast ${index}`;
      expectClose(await output.data(), expected[index] as NdArray, { relative: unit, absolute: 0 }, label);
    }
  });
});

describe("random numbers", () => {
  it("have the bits of the reference", async () => {
    const own = key(2 ** 33 + 12);
    const exactly = { relative: 0, absolute: 0 };
    const draws = [
      [randomBits(own, [7, 33]), exactly],
      [split(own, 5), exactly],
      [foldIn(own, tensor(3, { dtype: "i32" })), exactly],
      [uniform(own, [200]), exactly],
      [bernoulli(own, 0.3, [200]), exactly],
      [randomIntegers(own, [200], { low: -5, high: 9 }), exactly],
      [permutation(own, 130), exactly],
      [normal(own, [500]), tolerance({ terms: 3, ulp: 5.5 })],
      // The argument of erfInv is rounded, and where the slope of erfInv is largest it enlarges that error tenfold.
      [truncatedNormal(own, [500]), tolerance({ terms: 3, ulp: 5.5, condition: 10, scale: 1 })],
    ] as const;
    const outputs = draws.map(([output]) => output);
    const expected = evaluateReference(outputs);
    await evaluate(outputs);
    for (const [index, [output, bound]] of draws.entries()) {
      expectClose(await output.data(), expected[index] as NdArray, bound, `draw ${index}`);
    }
  });
});
