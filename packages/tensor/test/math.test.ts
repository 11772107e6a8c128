import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Device, type PipelineSpec, requestDevice } from "../src/device/device";
import { mathSource, needsRuntime } from "../src/kernels/math.wgsl";
import { swapOrNot, threefry2x32 } from "../src/reference/threefry";
import { erf, erfInv, seededDraw, ulpOf } from "../src/testing";

let device: Device;
beforeAll(async () => {
  device = await requestDevice({ notice: () => undefined });
});
afterAll(() => device.destroy());

interface Accuracy {
  readonly exact: (x: number) => number;
  /** What the comment of the function states. */
  readonly ulp: number;
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const sigmoid = (x: number) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

const unary: Readonly<Record<string, Accuracy>> = {
  exp_accurate: { exact: Math.exp, ulp: 1.0 },
  expm1_accurate: { exact: Math.expm1, ulp: 1.5 },
  log_accurate: { exact: Math.log, ulp: 1.0 },
  log1p_accurate: { exact: Math.log1p, ulp: 1.5 },
  sin_accurate: { exact: Math.sin, ulp: 1.5 },
  cos_accurate: { exact: Math.cos, ulp: 1.5 },
  tanh_accurate: { exact: Math.tanh, ulp: 1.5 },
  sqrt_accurate: { exact: Math.sqrt, ulp: 1.0 },
  rsqrt_accurate: { exact: (x) => 1 / Math.sqrt(x), ulp: 1.5 },
  sigmoid_accurate: { exact: sigmoid, ulp: 2.5 },
  softplus_accurate: { exact: softplus, ulp: 2.0 },
  erf_accurate: { exact: erf, ulp: 1.5 },
  erf_inv_accurate: { exact: erfInv, ulp: 3.0 },
};

const smallestNormal = 2 ** -126;
const largest = (2 - 2 ** -23) * 2 ** 127;

/** The error in ulp; infinite where a NaN, an infinity or the lack of one is wrong. */
function errorInUlp(actual: number, exact: number): number {
  if (Number.isNaN(exact) || Number.isNaN(actual)) return Number.isNaN(exact) === Number.isNaN(actual) ? 0 : Infinity;
  // Near the largest number it is a matter of rounding whether a result is infinite.
  const clipped = (x: number) => Math.sign(x) * Math.min(Math.abs(x), largest);
  const error = Math.abs(clipped(actual) - clipped(exact));
  if (error <= smallestNormal) return 0;
  if (Number.isFinite(actual) !== Number.isFinite(exact) && Math.abs(clipped(exact)) < 0.999999 * largest)
    return Infinity;
  return error === 0 ? 0 : error / ulpOf(clipped(exact));
}

interface Kernel {
  /** Statements, with the invocation's coordinates in `id`; the input is `words`, the output `out`. */
  readonly body: string;
  readonly names?: readonly string[];
  readonly wide?: readonly string[];
  readonly words: Uint32Array;
  /** Words of output. */
  readonly outputs: number;
  readonly invocations: readonly [number, number];
}

async function run({ body, names = [], wide = [], words, outputs, invocations }: Kernel): Promise<ArrayBuffer> {
  const uniforms = needsRuntime([...names, ...wide]);
  const spec: PipelineSpec = {
    label: "math",
    code: `
struct Runtime { zero: u32 }
@group(1) @binding(0) var<uniform> runtime: Runtime;
@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
fn number(i: u32) -> f32 { return bitcast<f32>(words[i]); }
${mathSource(names, wide)}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= ${invocations[0]}u) { return; }
  ${body}
}`,
    workgroupSize: [64],
    bindings: ["read", "read_write"],
    uniforms: true,
  };
  expect(uniforms).toBe(mathSource(names, wide).includes("runtime.zero"));
  const [from, to] = [device.pool.allocate(words.byteLength, "words"), device.pool.allocate(4 * outputs, "out")];
  device.write(from.buffer, from.byteOffset, words);
  const pipeline = await device.pipelineAsync(spec);
  const ranges = [from, to].map(({ buffer, byteOffset: offset, bytes: size }) => ({ buffer, offset, size }));
  const encoder = device.gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.bindGroup(spec, ranges, "math"));
  pass.setBindGroup(1, device.runtimeBindGroup);
  pass.dispatchWorkgroups(Math.ceil(invocations[0] / 64), invocations[1]);
  pass.end();
  device.submit([encoder.finish()]);
  const result = await device.read(to.buffer, to.byteOffset, 4 * outputs);
  from.release();
  to.release();
  return result;
}

const special = [0, -0, 1, -1, 0.5, -0.5, 2 ** -126, -(2 ** -126), 2 ** -149, 1e-40, -1e-40, largest, -largest].concat(
  [
    Infinity,
    -Infinity,
    Number.NaN,
    1e4,
    -1e4,
    88.8,
    -88.8,
    88.72283,
    88.72284,
    88.7,
    -87.3,
    -87.33655,
    -104,
    -200,
    200,
  ],
  [0.625, 0.62499994, 1 + 2 ** -23, 1 - 2 ** -24, 2 ** 24, 2 ** 24 + 2, 1e5, -1e5, 65535.99, 65536, 1e10, -1e20, 1e38],
  [-0.99999994, 16, 17, 20, 20.000002, -20, -17.4, 4, 3.9999998, 0.99999994, 9.010913, 10, -10],
);

/** Where functions change their branch, rise, or cancel; all are tried on all numbers. */
function samples(): Float32Array {
  const draw = seededDraw(7);
  const values = [...special];
  const add = (count: number, next: () => number) => {
    for (let i = 0; i < count; i++) values.push(next());
  };
  const bits = new Float32Array(1);
  const word = new Uint32Array(bits.buffer);
  add(8000, () => {
    word[0] = draw.integer(0, 2 ** 32 - 1);
    return bits[0] as number;
  });
  for (const [low, high, count] of [
    [-2, 2, 8000],
    [-20, 20, 6000],
    [-90, 90, 4000],
    [-1e5, 1e5, 4000],
    [-1e9, 1e9, 1000],
    [0.9, 1.1, 4000],
    [-1, 1, 6000],
  ] as const) {
    add(count, () => draw.uniform(low, high));
  }
  // Magnitudes from 1e-38 to 1e38, and distances from 1 down to the last bit.
  add(6000, () => draw.pick([-1, 1]) * 10 ** draw.uniform(-38, 38));
  add(4000, () => draw.pick([-1, 1]) * (1 - 10 ** draw.uniform(-7.2, 0)));
  // Close to multiples of π/2, where an inexact reduction shows.
  for (let n = 1; n < 4000; n++) values.push((n * Math.PI) / 2, n * 1009 * Math.PI * 2 ** (n % 30));
  while (values.length % 4 !== 0) values.push(0);
  return Float32Array.from(values);
}

const inputs = samples();
const names = Object.keys(unary);

const cases = (call: (name: string) => string): string =>
  `switch (id.y) { ${names.map((name, i) => `case ${i}u: { y = ${call(name)}; }`).join(" ")} default: {} }`;

const kernels: Readonly<Record<string, Kernel>> = {
  scalars: {
    body: `var y = 0.0; let x = number(id.x); ${cases((name) => `${name}(x)`)} out[id.y * ${inputs.length}u + id.x] = bitcast<u32>(y);`,
    names,
    words: new Uint32Array(inputs.buffer),
    outputs: names.length * inputs.length,
    invocations: [inputs.length, names.length],
  },
  "vectors of four": {
    body: `
      var y = vec4<f32>(0.0);
      let i = 4u * id.x;
      let x = vec4<f32>(number(i), number(i + 1u), number(i + 2u), number(i + 3u));
      ${cases((name) => `${name}_x4(x)`)}
      for (var lane = 0u; lane < 4u; lane++) { out[id.y * ${inputs.length}u + i + lane] = bitcast<u32>(y[lane]); }`,
    wide: names,
    words: new Uint32Array(inputs.buffer),
    outputs: names.length * inputs.length,
    invocations: [inputs.length / 4, names.length],
  },
};

describe.each(Object.entries(kernels))("functions of %s", (_width, kernel) => {
  let results: Float32Array;
  beforeAll(async () => {
    results = new Float32Array(await run(kernel));
  }, 60_000);

  it.each(Object.entries(unary))("%s is as accurate as it says", (name, { exact, ulp }) => {
    const offset = names.indexOf(name) * inputs.length;
    let worst = { error: 0, x: 0, actual: 0 };
    inputs.forEach((x, i) => {
      const actual = results[offset + i] as number;
      let error = errorInUlp(actual, exact(x));
      // A device may take a subnormal argument for 0.
      if (error > ulp && Math.abs(x) < smallestNormal) error = errorInUlp(actual, exact(0));
      if (error > worst.error) worst = { error, x, actual };
    });
    expect(worst.error, `${name}(${worst.x}) = ${worst.actual}, not ${exact(worst.x)}`).toBeLessThanOrEqual(ulp);
  });
});

describe("functions of two numbers", () => {
  it("pow_accurate is as accurate as it says, with the rules for signs, zeros and infinities", async () => {
    const draw = seededDraw(8);
    const pairs: [number, number][] = [];
    const values = [
      0,
      1,
      -1,
      2,
      -2,
      3,
      -3,
      0.5,
      -0.5,
      1.5,
      10,
      -10,
      1e10,
      -1e10,
      1e-10,
      Infinity,
      -Infinity,
      Number.NaN,
    ];
    for (const a of values) for (const b of values) pairs.push([a, b]);
    for (let i = 0; i < 10_000; i++) {
      pairs.push([draw.uniform(0, 3), draw.uniform(-10, 10)]);
      pairs.push([draw.uniform(0.9, 1.1), draw.uniform(-500, 500)]);
      pairs.push([10 ** draw.uniform(-37, 38), draw.uniform(-2, 2)]);
      pairs.push([draw.uniform(-5, 5), draw.integer(-20, 20)]);
      pairs.push([draw.integer(1, 20), draw.integer(0, 6)]);
      pairs.push([draw.pick([0.9, 0.99, 0.999, 0.9999]), draw.integer(1, 20_000)]);
    }
    const numbers = Float32Array.from(pairs.flat());
    const result = await run({
      body: "out[id.x] = bitcast<u32>(pow_accurate(number(2u * id.x), number(2u * id.x + 1u)));",
      names: ["pow_accurate"],
      words: new Uint32Array(numbers.buffer),
      outputs: pairs.length,
      invocations: [pairs.length, 1],
    });
    let worst = { error: 0, a: 0, b: 0, actual: 0 };
    new Float32Array(result).forEach((actual, i) => {
      const [a, b] = [numbers[2 * i] as number, numbers[2 * i + 1] as number];
      // JavaScript has NaN for 1 to an infinite power.
      const exact = Math.abs(a) === 1 && Math.abs(b) === Infinity ? 1 : a ** b;
      const integer = Number.isInteger(a) && Number.isInteger(b) && Math.abs(exact) <= 2 ** 24;
      const error = errorInUlp(actual, exact) * (integer && Number.isInteger(exact) ? 1e9 : 1);
      if (error > worst.error) worst = { error, a, b, actual };
    });
    expect(worst.error, `${worst.a} ** ${worst.b} = ${worst.actual}, not ${worst.a ** worst.b}`).toBeLessThanOrEqual(
      1.5,
    );
  });
});

describe("functions of bits", () => {
  it("is_finite_bits", async () => {
    const result = await run({
      body: "out[id.x] = select(0u, 1u, is_finite_bits(number(id.x)));",
      names: ["is_finite_bits"],
      words: new Uint32Array(inputs.buffer),
      outputs: inputs.length,
      invocations: [inputs.length, 1],
    });
    expect([...new Uint32Array(result)]).toEqual(Array.from(inputs, (x) => (Number.isFinite(x) ? 1 : 0)));
  });

  it("threefry and swap_or_not agree with the reference, bit by bit", async () => {
    const draw = seededDraw(9);
    const count = 512;
    const words = Uint32Array.from({ length: 4 * count }, () => draw.integer(0, 2 ** 32 - 1));
    const counts = [1, 2, 3, 1000, 50_000, 2 ** 31];
    const at = (i: number, j: number) => words[4 * i + j] as number;
    const result = await run({
      body: `
        let a = words[4u * id.x]; let b = words[4u * id.x + 1u]; let c = words[4u * id.x + 2u]; let d = words[4u * id.x + 3u];
        let wide = threefry_xor_x4(vec4<u32>(a, b, c, d), vec4<u32>(b), vec4<u32>(c), vec4<u32>(d));
        var counts = array<u32, 6>(${counts.map((own) => `${own}u`).join(", ")});
        let n = counts[id.x % 6u];
        out[5u * id.x] = threefry_first(a, b, c, d);
        out[5u * id.x + 1u] = threefry_second(a, b, c, d);
        out[5u * id.x + 2u] = wide.x;
        out[5u * id.x + 3u] = wide.w;
        out[5u * id.x + 4u] = swap_or_not(a, b, c % n, n);`,
      names: ["threefry_first", "threefry_second", "swap_or_not"],
      wide: ["threefry_xor"],
      words,
      outputs: 5 * count,
      invocations: [count, 1],
    });
    const expected = Array.from({ length: count }, (_, i) => {
      const [a, b, c, d] = [at(i, 0), at(i, 1), at(i, 2), at(i, 3)];
      const n = counts[i % 6] as number;
      const exclusive = (own: number) => threefry2x32([own, b, c, d]).reduce((x, y) => (x ^ y) >>> 0);
      return [...threefry2x32([a, b, c, d]), exclusive(a), exclusive(d), swapOrNot(a, b, c % n, n)];
    });
    expect([...new Uint32Array(result)]).toEqual(expected.flat());
  });
});

it("builtins that CPU adapters use as they are round correctly there", async ({ skip }) => {
  if (!device.adapter.isSoftware) skip("a GPU computes here");
  const draw = seededDraw(11);
  const numbers = Float32Array.from({ length: 4096 }, (_, i) => special[i] ?? 2 ** draw.uniform(-126, 127));
  const result = await run({
    body: "out[id.x] = bitcast<u32>(sqrt(number(id.x)));",
    words: new Uint32Array(numbers.buffer),
    outputs: numbers.length,
    invocations: [numbers.length, 1],
  });
  expect(mathSource(["sqrt_accurate"], [], true)).toContain("return sqrt(x);");
  for (const [i, root] of new Float32Array(result).entries()) {
    const exact = Math.fround(Math.sqrt(numbers[i] as number));
    // Subnormal numbers may be taken as 0.
    if (Math.abs(numbers[i] as number) >= smallestNormal || numbers[i] === 0) expect(root).toBe(exact);
  }
});

describe("the source of functions", () => {
  it("has what is needed once, in order", () => {
    const source = mathSource(["tanh_accurate", "exp_accurate"], ["exp_accurate", "sigmoid_accurate"]);
    const declared = [...source.matchAll(/fn (\w+)\(/g)].map(([, name]) => name as string);
    expect(new Set(declared).size).toBe(declared.length);
    expect(declared).toContain("exp_accurate_x4");
    expect(declared).not.toContain("tanh_accurate_x4");
    expect(declared.indexOf("opaque_f32")).toBeLessThan(declared.indexOf("exp_of_sum"));
    expect(mathSource([], [])).toBe("");
  });

  it("knows which functions read the runtime's zero, and names that do not exist", () => {
    expect(needsRuntime(["threefry_xor", "is_finite_bits"])).toBe(false);
    expect(needsRuntime(["sigmoid_accurate"])).toBe(true);
    expect(() => mathSource(["exp_acurate"], [])).toThrow("exp_accurate");
  });
});
