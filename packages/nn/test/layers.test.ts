import { conv, convTranspose, key, normal, type Tensor, tensor, treeLeaves, zeros } from "@thalweg/tensor";
import { elementAt, expectClose, type NdArray, ndarray } from "@thalweg/tensor/testing";
import { describe, expect, expectTypeOf, it } from "vitest";
import * as nn from "../src/index";
import { exact, random, randomLabels, read } from "./values";

const sigma = (x: number) => 1 / (1 + Math.exp(-x));
const shapesOf = (tree: object) => treeLeaves<Tensor>(tree).map(({ shape }) => shape);

/** Mean and biased variance of the elements that `select` accepts. */
function moments(
  x: NdArray,
  select: (c: readonly number[]) => boolean,
): { mean: number; variance: number; count: number } {
  const chosen: number[] = [];
  ndarray(x.shape, "f32", (c) => {
    if (select(c)) chosen.push(elementAt(x, c));
    return 0;
  });
  const mean = chosen.reduce((sum, v) => sum + v, 0) / chosen.length;
  return { mean, variance: chosen.reduce((sum, v) => sum + (v - mean) ** 2, 0) / chosen.length, count: chosen.length };
}

describe("dense", () => {
  it("multiplies the last axis and adds the bias", () => {
    const layer = nn.dense({ features: 4 });
    const x = random([2, 3, 5], 1);
    const params = layer.init(key(1), { shape: x.shape });
    const [input, kernel, bias] = [x, params.kernel, params.bias].map(read) as [NdArray, NdArray, NdArray];
    const expected = ndarray([2, 3, 4], "f32", ([b, t, o]) => {
      let sum = elementAt(bias, [o as number]);
      for (let i = 0; i < 5; i++)
        sum += elementAt(input, [b as number, t as number, i]) * elementAt(kernel, [i, o as number]);
      return sum;
    });
    expectClose(read(layer.apply(params, x)), expected, exact);
  });

  it("has no bias in its parameters, nor in their type, when that is switched off", () => {
    const params = nn.dense({ features: 4, bias: false }).init(key(1), { shape: [1, 5] });
    expectTypeOf(params).toEqualTypeOf<{ readonly kernel: Tensor }>();
    expect(Object.keys(params)).toEqual(["kernel"]);
  });

  it("starts kernel and bias within 1 / sqrt(in)", () => {
    const params = nn.dense({ features: 100 }).init(key(1), { shape: [1, 400] });
    for (const leaf of treeLeaves<Tensor>(params)) {
      const largest = Math.max(...[...read(leaf).values].map(Math.abs));
      expect(largest).toBeLessThanOrEqual(0.05);
      expect(largest).toBeGreaterThan(0.045);
    }
  });

  it("takes initializers", () => {
    const { initializers } = nn;
    const layer = nn.dense({ features: 3, kernelInit: initializers.zeros, biasInit: initializers.constant(0.05) });
    expect([...read(layer.apply(layer.init(key(0), { shape: [1, 4] }), random([1, 4], 1))).values]).toEqual([
      0.05, 0.05, 0.05,
    ]);
  });
});

describe("convolution layers", () => {
  it.each([
    {
      name: "conv1d",
      layer: nn.conv1d({ features: 6, kernel: 3, stride: 2, groups: 2 }),
      spatial: [9],
      kernel: [3, 2, 6],
    },
    {
      name: "conv2d",
      layer: nn.conv2d({ features: 6, kernel: [3, 2], stride: 2, groups: 2 }),
      spatial: [9, 8],
      kernel: [3, 2, 2, 6],
    },
    {
      name: "conv3d",
      layer: nn.conv3d({ features: 6, kernel: 2, stride: 2, groups: 2 }),
      spatial: [4, 5, 6],
      kernel: [2, 2, 2, 2, 6],
    },
  ])("$name is conv with a bias", ({ layer, spatial, kernel }) => {
    const x = random([2, ...spatial, 4], 1);
    const params = layer.init(key(1), { shape: x.shape });
    expect(shapesOf(params)).toEqual([kernel, [6]]);
    expectClose(
      read(layer.apply(params, x)),
      read(conv(x, params.kernel, { stride: 2, groups: 2 }).add(params.bias)),
      exact,
    );
  });

  it.each([
    {
      name: "convTranspose1d",
      layer: nn.convTranspose1d({ features: 6, kernel: 3, stride: 2, groups: 2 }),
      spatial: [5],
      kernel: [3, 4, 3],
    },
    {
      name: "convTranspose2d",
      layer: nn.convTranspose2d({ features: 6, kernel: 3, stride: 2, groups: 2 }),
      spatial: [3, 4],
      kernel: [3, 3, 4, 3],
    },
    {
      name: "convTranspose3d",
      layer: nn.convTranspose3d({ features: 6, kernel: 2, stride: 2, groups: 2 }),
      spatial: [2, 3, 2],
      kernel: [2, 2, 2, 4, 3],
    },
  ])("$name is convTranspose with a bias", ({ layer, spatial, kernel }) => {
    const x = random([2, ...spatial, 4], 1);
    const params = layer.init(key(1), { shape: x.shape });
    expect(shapesOf(params)).toEqual([kernel, [6]]);
    const expected = convTranspose(x, params.kernel, { stride: 2, groups: 2 }).add(params.bias);
    expectClose(read(layer.apply(params, x)), read(expected), exact);
  });

  it("takes an example without a batch axis, as vmap gives it", () => {
    const layer = nn.conv2d({ features: 3, kernel: 3, padding: 1 });
    const x = random([2, 5, 5, 2], 1);
    const params = layer.init(key(1), { shape: x.shape });
    const one = layer.apply(params, x.slice([1]).reshape([5, 5, 2]));
    expectClose(read(one), read(layer.apply(params, x).slice([1])).values, exact);
  });
});

describe("embedding", () => {
  it("takes rows of the table", () => {
    const layer = nn.embedding({ count: 5, features: 3 });
    const params = layer.init(key(1), { shape: [2, 4], dtype: "i32" });
    const indices = randomLabels([2, 4], 5, 1);
    const [table, at] = [read(params.table), read(indices)];
    const expected = ndarray([2, 4, 3], "f32", ([b, t, f]) =>
      elementAt(table, [elementAt(at, [b as number, t as number]), f as number]),
    );
    expectClose(read(layer.apply(params, indices)), expected, exact);
    expect(() => layer.apply(params, zeros([2]))).toThrowErrorMatchingInlineSnapshot(
      `[DTypeError: embedding: indices are f32, not integers. Cast them, and name the dtype when the parameters are made: init(key, { shape, dtype: "i32" }).]`,
    );
  });
});

describe("layerNorm", () => {
  it.each([1, 2])("normalizes the last %d axes of every example", (axes) => {
    const layer = nn.layerNorm({ axes, epsilon: 1e-3 });
    const x = random([3, 4, 5], 1);
    const params = { scale: random(x.shape.slice(-axes), 2), bias: random(x.shape.slice(-axes), 3) };
    expect(shapesOf(layer.init(key(0), { shape: x.shape }))).toEqual([x.shape.slice(-axes), x.shape.slice(-axes)]);
    const [input, scale, bias] = [x, params.scale, params.bias].map(read) as [NdArray, NdArray, NdArray];
    const expected = ndarray(x.shape, "f32", (c) => {
      const { mean, variance } = moments(input, (other) => c.slice(0, -axes).every((own, axis) => own === other[axis]));
      const inner = c.slice(-axes);
      return (
        ((elementAt(input, c) - mean) / Math.sqrt(variance + 1e-3)) * elementAt(scale, inner) + elementAt(bias, inner)
      );
    });
    expectClose(read(layer.apply(params, x)), expected, exact);
  });
});

describe("groupNorm", () => {
  it("normalizes over space and the channels of a group", () => {
    const layer = nn.groupNorm({ groups: 3 });
    const x = random([2, 3, 2, 6], 1);
    const params = { scale: random([6], 2), bias: random([6], 3) };
    const [input, scale, bias] = [x, params.scale, params.bias].map(read) as [NdArray, NdArray, NdArray];
    const groupOf = (c: readonly number[]) => Math.floor((c[3] as number) / 2);
    const expected = ndarray(x.shape, "f32", (c) => {
      const { mean, variance } = moments(input, (other) => other[0] === c[0] && groupOf(other) === groupOf(c));
      return (
        ((elementAt(input, c) - mean) / Math.sqrt(variance + 1e-5)) * elementAt(scale, c.slice(3)) +
        elementAt(bias, c.slice(3))
      );
    });
    expectClose(read(layer.apply(params, x)), expected, exact);
    expect(() => nn.groupNorm({ groups: 4 }).init(key(0), { shape: x.shape })).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: groupNorm: 4 groups do not divide the channels of input [2, 3, 2, 6]. Give [batch, …, channels] and a divisor of the channels.]`,
    );
  });
});

describe("batchNorm", () => {
  const layer = nn.batchNorm({ decay: 0.8 });
  const x = random([4, 3, 2], 1);
  const params = { scale: random([2], 2), bias: random([2], 3) };
  const state = { mean: random([2], 4), variance: random([2], 5, [0.5, 2]) };
  const channel = (c: number) => moments(read(x), (other) => other[2] === c);

  it("takes the batch's mean and biased variance in training", () => {
    const [input, scale, bias] = [x, params.scale, params.bias].map(read) as [NdArray, NdArray, NdArray];
    const expected = ndarray(x.shape, "f32", (c) => {
      const { mean, variance } = channel(c[2] as number);
      return (
        ((elementAt(input, c) - mean) / Math.sqrt(variance + 1e-5)) * elementAt(scale, c.slice(2)) +
        elementAt(bias, c.slice(2))
      );
    });
    expectClose(read(layer.apply(params, x, { train: true })), expected, exact);
  });

  it("moves the running mean and the running unbiased variance", () => {
    const [, next] = layer.applyWithState(params, state, x, { train: true });
    const [mean, variance] = [read(state.mean), read(state.variance)];
    expectClose(
      read(next.mean),
      [0, 1].map((c) => 0.8 * elementAt(mean, [c]) + 0.2 * channel(c).mean),
      exact,
    );
    const unbiased = [0, 1].map((c) => (channel(c).variance * 12) / 11);
    expectClose(
      read(next.variance),
      unbiased.map((own, c) => 0.8 * elementAt(variance, [c]) + 0.2 * own),
      exact,
    );
  });

  it("uses the running statistics in evaluation, and leaves them", () => {
    const [output, next] = layer.applyWithState(params, state, x);
    expect(next).toBe(state);
    const [input, scale, bias, mean, variance] = [x, params.scale, params.bias, state.mean, state.variance].map(
      read,
    ) as NdArray[];
    const expected = ndarray(x.shape, "f32", (c) => {
      const at = (array: NdArray | undefined) => elementAt(array as NdArray, c.slice(2));
      return ((elementAt(input as NdArray, c) - at(mean)) / Math.sqrt(at(variance) + 1e-5)) * at(scale) + at(bias);
    });
    expectClose(read(output), expected, exact);
  });

  it("asks for the state where evaluation needs it", () => {
    expect(() => layer.apply(params, x)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: batchNorm: evaluation needs the running statistics. Pass state: model.initState({ shape }) or what applyWithState returned, or set train: true.]`,
    );
  });
});

describe("dropout", () => {
  const layer = nn.dropout({ rate: 0.25 });
  const x = random([100, 50], 1, [1, 2]);

  it("keeps a share of 1 - rate and scales it up in training", () => {
    const [before, after] = [read(x).values, read(layer.apply({}, x, { train: true, key: key(3) })).values];
    const kept = [...after].filter((value) => value !== 0).length / after.length;
    expect(Math.abs(kept - 0.75)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / after.length));
    for (const [i, value] of after.entries())
      if (value !== 0) expect(value).toBeCloseTo((before[i] as number) / 0.75, 10);
  });

  it("draws the same mask from the same key, another from another", () => {
    const mask = (seed: number) => [...read(layer.apply({}, x, { train: true, key: key(seed) })).values];
    expect(mask(3)).toEqual(mask(3));
    expect(mask(3)).not.toEqual(mask(4));
  });

  it("is the identity in evaluation", () => {
    expect(layer.apply({}, x)).toBe(x);
  });

  it("asks for a key in training", () => {
    const model = nn.sequential({ drop: layer });
    expect(() => model.apply({}, x, { train: true })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: dropout(drop): training needs random numbers. Pass key: to apply, a new one for every step.]`,
    );
    expect(() => nn.dropout({ rate: 1 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: dropout: rate 1 is outside of [0, 1).]`,
    );
  });
});

/** Attention of one head by loops: query, key, value `[b, t, h, d]`, `allowed` of batch, head, query, key. */
function attentionByLoops(
  q: NdArray,
  k: NdArray,
  v: NdArray,
  allowed: (b: number, h: number, i: number, j: number) => boolean,
): NdArray {
  const [features, keys] = [q.shape[3] as number, k.shape[1] as number];
  return ndarray([...q.shape.slice(0, 3), v.shape[3] as number], "f32", ([b, i, h, d]) => {
    const at = [b, h, i] as [number, number, number];
    const scores = Array.from({ length: keys }, (_, j) => {
      if (!allowed(...at, j)) return Number.NEGATIVE_INFINITY;
      let sum = 0;
      for (let f = 0; f < features; f++)
        sum += elementAt(q, [at[0], at[2], at[1], f]) * elementAt(k, [at[0], j, at[1], f]);
      return sum / Math.sqrt(features);
    });
    const total = scores.reduce((sum, s) => sum + Math.exp(s), 0);
    return scores.reduce((sum, s, j) => sum + (Math.exp(s) / total) * elementAt(v, [at[0], j, at[1], d as number]), 0);
  });
}

describe("attention", () => {
  const [q, k, v] = [random([2, 3, 2, 4], 1), random([2, 5, 2, 4], 2), random([2, 5, 2, 3], 3)];
  const arrays = [q, k, v].map(read) as [NdArray, NdArray, NdArray];

  it("is softmax(q k / sqrt(d)) v for every head", () => {
    expectClose(
      read(nn.scaledDotProductAttention(q, k, v)),
      attentionByLoops(...arrays, () => true),
      exact,
    );
  });

  it("looks at earlier keys only when causal", () => {
    const expected = attentionByLoops(...arrays, (_b, _h, i, j) => j <= i);
    expectClose(read(nn.scaledDotProductAttention(q, k, v, { causal: true })), expected, exact);
  });

  it("looks where the mask is true, which broadcasts over heads", () => {
    const mask = randomLabels([2, 1, 3, 5], 2, 4).notEqual(0);
    const allowed = read(mask);
    expect(
      Math.min(
        ...[0, 1].flatMap((b) =>
          [0, 1, 2].map((i) => [0, 1, 2, 3, 4].filter((j) => elementAt(allowed, [b, 0, i, j])).length),
        ),
      ),
    ).toBeGreaterThan(0);
    const expected = attentionByLoops(...arrays, (b, _h, i, j) => elementAt(allowed, [b, 0, i, j]) === 1);
    expectClose(read(nn.scaledDotProductAttention(q, k, v, { mask })), expected, exact);
  });

  it("projects, attends in every head and projects again", () => {
    const layer = nn.multiHeadAttention({ heads: 2, features: 6, causal: true });
    const [x, context] = [random([2, 3, 5], 5), random([2, 4, 5], 6)];
    const params = layer.init(key(1), { shape: x.shape });
    expect(shapesOf(params)).toEqual([[5, 6], [6], [5, 6], [6], [5, 6], [6], [6, 6], [6]]);
    const project = (from: Tensor, p: { kernel: Tensor; bias: Tensor }) =>
      read(from.dot(p.kernel).add(p.bias).reshape([2, -1, 2, 3]));
    const check = (input: Tensor | nn.AttentionInput, keys: Tensor) => {
      const heads = attentionByLoops(
        project(x, params.query),
        project(keys, params.key),
        project(keys, params.value),
        (_b, _h, i, j) => j <= i,
      );
      const joined = tensor(Float32Array.from(heads.values), { shape: [2, 3, 6] });
      // The reference rounds the heads to f32 on the way.
      const bound = { relative: 1e-5, absolute: 1e-6 };
      expectClose(
        read(layer.apply(params, input)),
        read(joined.dot(params.output.kernel).add(params.output.bias)),
        bound,
      );
    };
    check(x, x);
    check({ query: x, key: context }, context);
  });

  it("drops attention weights in training", () => {
    const layer = nn.multiHeadAttention({ heads: 2, features: 4, dropout: 0.5 });
    const x = random([1, 8, 4], 1);
    const params = layer.init(key(1), { shape: x.shape });
    const output = (options: nn.ApplyOptions<nn.Nothing>) => [...read(layer.apply(params, x, options)).values];
    expect(output({ train: true, key: key(1) })).not.toEqual(output({}));
    expect(output({ key: key(1) })).toEqual(output({}));
  });

  it("explains what does not fit", () => {
    expect(() => nn.multiHeadAttention({ heads: 4, features: 6 })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: multiHeadAttention: 6 features are not a multiple of 4 heads.]`,
    );
    expect(() => nn.scaledDotProductAttention(q, k.slice([0, 1]), v)).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: scaledDotProductAttention: query [2, 3, 2, 4], key [2, 4, 2, 4] and value [2, 5, 2, 3] do not fit. They are [batch, positions, heads, features] with the same batch and heads; query and key share features, key and value share positions.]`,
    );
    expect(() => nn.scaledDotProductAttention(q, k, v, { mask: zeros([3, 5]) })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: attention: the mask is f32. Give a bool tensor, true where a query may look.]`,
    );
  });
});

/** x · kernel + bias, one gate after another. */
function gates(
  x: NdArray,
  kernel: NdArray,
  bias: NdArray,
  count: number,
): (gate: number, b: number, f: number) => number {
  const [inputs, width] = kernel.shape as [number, number];
  return (gate, b, f) => {
    const column = (gate * width) / count + f;
    let sum = elementAt(bias, [column]);
    for (let i = 0; i < inputs; i++) sum += elementAt(x, [b, i]) * elementAt(kernel, [i, column]);
    return sum;
  };
}

describe("recurrent cells", () => {
  const [x, h, c] = [random([2, 3], 1), random([2, 4], 2), random([2, 4], 3)];

  it("lstmCell is PyTorch's LSTMCell with its two biases summed", () => {
    const cell = nn.lstmCell({ features: 4 });
    const params = cell.init(key(1), { shape: x.shape });
    expect(shapesOf(params)).toEqual([[3, 16], [4, 16], [16]]);
    const none = read(zeros([16]));
    const fromInput = gates(read(x), read(params.inputKernel), read(params.bias), 4);
    const fromHidden = gates(read(h), read(params.hiddenKernel), none, 4);
    const gate = (index: number, b: number, f: number) => fromInput(index, b, f) + fromHidden(index, b, f);
    const nextCell = ndarray([2, 4], "f32", ([b, f]) => {
      const at = [b, f] as [number, number];
      return sigma(gate(1, ...at)) * elementAt(read(c), at) + sigma(gate(0, ...at)) * Math.tanh(gate(2, ...at));
    });
    const nextHidden = ndarray(
      [2, 4],
      "f32",
      (at) => sigma(gate(3, at[0] as number, at[1] as number)) * Math.tanh(elementAt(nextCell, at)),
    );
    const [carry, output] = cell.step(params, { hidden: h, cell: c }, x);
    expectClose(read(carry.cell), nextCell, exact);
    expectClose(read(carry.hidden), nextHidden, exact);
    expect(output).toBe(carry.hidden);
  });

  it("lstmCell adds the forget bias to the forget gate alone", () => {
    const bias = (forgetBias: number) =>
      read(nn.lstmCell({ features: 2, forgetBias }).init(key(1), { shape: [1, 1] }).bias).values;
    const [plain, shifted] = [bias(0), bias(1)];
    expectClose(
      shifted.map((value, i) => value - (plain[i] as number)),
      [0, 0, 1, 1, 0, 0, 0, 0],
      { relative: 0, absolute: 1e-7 },
    );
  });

  it("gruCell is PyTorch's GRUCell", () => {
    const cell = nn.gruCell({ features: 4 });
    const params = cell.init(key(1), { shape: x.shape });
    const a = gates(read(x), read(params.inputKernel), read(params.inputBias), 3);
    const b = gates(read(h), read(params.hiddenKernel), read(params.hiddenBias), 3);
    const expected = ndarray([2, 4], "f32", (at) => {
      const [row, f] = at as readonly [number, number];
      const r = sigma(a(0, row, f) + b(0, row, f));
      const z = sigma(a(1, row, f) + b(1, row, f));
      const n = Math.tanh(a(2, row, f) + r * b(2, row, f));
      return (1 - z) * n + z * elementAt(read(h), at);
    });
    expectClose(read(cell.step(params, h, x)[1]), expected, exact);
  });

  it("unroll feeds the carry from step to step", () => {
    const cell = nn.gruCell({ features: 4 });
    const xs = random([2, 3, 3], 5);
    const params = cell.init(key(1), { shape: [2, 3] });
    const [last, outputs] = nn.unroll(cell, params, xs);
    expect(outputs.shape).toEqual([2, 3, 4]);
    let carry = zeros([2, 4]);
    for (let t = 0; t < 3; t++) carry = cell.step(params, carry, xs.slice([0, t], [2, t + 1]).reshape([2, 3]))[0];
    expectClose(read(last), read(carry), exact);
    expectClose(read(outputs.slice([0, 2])), read(carry).values, exact);
    expect(() => cell.step(params, carry, random([2, 5], 1))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: gruCell: input [2, 5] does not fit inputKernel [3, 12] (axis 1: 5, expected 3)]`,
    );
  });
});

describe("pooling layers", () => {
  it("have no parameters and pool", () => {
    const model = nn.sequential({
      pool: nn.maxPool({ window: 2 }),
      average: nn.averagePool({ window: 2 }),
      all: nn.globalAveragePool,
    });
    const params = model.init(key(0), { shape: [1, 4, 4, 3] });
    expect(params).toEqual({});
    expect(model.apply(params, normal(key(1), [1, 4, 4, 3])).shape).toEqual([1, 3]);
  });
});
