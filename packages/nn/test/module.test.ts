import { ArgumentError, key, type Tensor, treeLeaves, treeMap, zeros } from "@thalweg/tensor";
import { expectClose } from "@thalweg/tensor/testing";
import { describe, expect, expectTypeOf, it } from "vitest";
import * as nn from "../src/index";
import { exact, random, read } from "./values";

const convolutional = () =>
  nn.sequential({
    conv1: nn.conv2d({ features: 32, kernel: 5, padding: "same" }),
    act1: nn.relu,
    pool1: nn.maxPool({ window: 2 }),
    conv2: nn.conv2d({ features: 64, kernel: 5, padding: "same" }),
    act2: nn.relu,
    pool2: nn.maxPool({ window: 2 }),
    flatten: nn.flatten,
    hidden: nn.dense({ features: 1024 }),
    act3: nn.relu,
    out: nn.dense({ features: 10, role: "head" }),
  });

const values = (tree: object) => treeLeaves<Tensor>(tree).map((leaf) => [...read(leaf).values]);

describe("sequential", () => {
  it("makes parameters whose type and shapes follow from the model", () => {
    const params = convolutional().init(key(42), { shape: [128, 28, 28, 1] });
    expectTypeOf(params.conv1.kernel).toEqualTypeOf<Tensor>();
    expectTypeOf(params.out.bias).toEqualTypeOf<Tensor>();
    // @ts-expect-error activations have no parameters
    void params.act1;
    expect(Object.keys(params)).toEqual(["conv1", "conv2", "hidden", "out"]);
    expect(params.conv1.kernel.shape).toEqual([5, 5, 1, 32]);
    expect(params.hidden.kernel.shape).toEqual([3136, 1024]);
    const count = treeLeaves<Tensor>(params).reduce((sum, leaf) => sum + leaf.size, 0);
    expect(count).toBe(3_274_634);
  });

  it("infers the output's shape", () => {
    expect(convolutional().outputShape({ shape: [3, 28, 28, 1] })).toEqual([3, 10]);
  });

  it("names the layer whose parameters do not fit the input", () => {
    const model = convolutional();
    const params = model.init(key(0), { shape: [128, 24, 24, 1] });
    expect(() => model.apply(params, zeros([128, 28, 28, 1]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: dense(hidden): input [128, 3136] does not fit kernel [2304, 1024] (axis 1: 3136, expected 2304)]`,
    );
    expect(() => model.apply(params, zeros([128, 24, 24, 3]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: conv2d(conv1): input [128, 24, 24, 3] does not fit kernel [5, 5, 1, 32] (axis 3: 3 channels, expected 1)]`,
    );
    const nested = nn.sequential({ block: nn.sequential({ hidden: nn.dense({ features: 2 }) }) });
    const inner = nested.init(key(0), { shape: [1, 3] });
    expect(() => nested.apply(inner, zeros([1, 4]))).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: dense(block.hidden): input [1, 4] does not fit kernel [3, 2] (axis 1: 4, expected 3)]`,
    );
  });

  it("applies layers and plain functions in order", () => {
    const model = nn.sequential({ first: nn.dense({ features: 3 }), twice: (x: Tensor) => x.mul(2), act: nn.tanh });
    const x = random([4, 2], 1);
    const params = model.init(key(1), { shape: x.shape });
    expectClose(
      read(model.apply(params, x)),
      read(x.dot(params.first.kernel).add(params.first.bias).mul(2).tanh()),
      exact,
    );
  });

  it("draws other numbers for every layer, and the same ones from the same key", () => {
    const model = nn.sequential({ a: nn.dense({ features: 3 }), b: nn.dense({ features: 3 }) });
    const init = (seed: number) => values(model.init(key(seed), { shape: [1, 3] }));
    const [kernelA, biasA, kernelB] = init(1);
    expect(kernelA).not.toEqual(kernelB);
    expect(kernelA?.slice(0, 3)).not.toEqual(biasA);
    expect(init(1)).toEqual(init(1));
    expect(init(1)).not.toEqual(init(2));
  });
});

describe("compose", () => {
  const tied = nn.compose("tied", { inner: nn.dense({ features: 3 }) }, ({ inner }, x: Tensor) =>
    inner(nn.relu(inner(x))),
  );

  it("shares the parameters of a layer that is called twice", () => {
    const x = random([2, 3], 1);
    const params = tied.init(key(0), { shape: x.shape });
    expectTypeOf(params.inner.kernel).toEqualTypeOf<Tensor>();
    const { kernel, bias } = params.inner;
    expectClose(read(tied.apply(params, x)), read(x.dot(kernel).add(bias).relu().dot(kernel).add(bias)), exact);
  });

  it("refuses a layer that is never called", () => {
    const model = nn.compose(
      "model",
      { used: nn.dense({ features: 3 }), idle: nn.dense({ features: 3 }) },
      ({ used }, x: Tensor) => used(x),
    );
    expect(() => model.init(key(0), { shape: [1, 2] })).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: model: layer "idle" was not called, so its parameters have no shape. Call every layer in evaluation mode, or leave it out.]`,
    );
  });

  it("draws another mask for every call of one dropout layer", () => {
    const drop = nn.dropout({ rate: 0.5 });
    const model = nn.compose("twice", { drop, again: drop }, ({ drop: first, again }, x: Tensor) =>
      first(x)
        .sub(first(x))
        .abs()
        .add(again(x).sub(first(x)).abs()),
    );
    const x = zeros([200]).add(1);
    const distance = read(model.apply({}, x, { train: true, key: key(1) })).values;
    expect([...distance].filter((value) => value > 0).length).toBeGreaterThan(100);
  });

  it("keeps parameters in the order in which layers are given", () => {
    const model = nn.compose(
      "model",
      { b: nn.dense({ features: 2 }), a: nn.dense({ features: 2 }) },
      ({ a, b }, x: Tensor) => b(a(x)),
    );
    expect(Object.keys(model.init(key(0), { shape: [1, 2] }))).toEqual(["b", "a"]);
  });
});

describe("residual", () => {
  it("adds the input", () => {
    const model = nn.residual(nn.dense({ features: 3 }));
    const x = random([2, 3], 1);
    const params = model.init(key(0), { shape: x.shape });
    expectClose(read(model.apply(params, x)), read(x.dot(params.kernel).add(params.bias).add(x)), exact);
    expect(() =>
      nn.residual(nn.dense({ features: 1 })).init(key(0), { shape: [2, 3] }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[ShapeError: residual: the layer turns [2, 3] into [2, 1]. Keep the shape, or wire a projection with compose.]`,
    );
  });
});

describe("state", () => {
  const model = nn.sequential({
    block: nn.sequential({ conv: nn.conv2d({ features: 2, kernel: 3 }), norm: nn.batchNorm(), act: nn.relu }),
    flatten: nn.flatten,
    out: nn.dense({ features: 3 }),
  });
  const x = random([4, 5, 5, 1], 1);
  const params = model.init(key(0), { shape: x.shape });
  const state = model.initState({ shape: x.shape });

  it("has the entries of stateful layers alone", () => {
    expectTypeOf(state.block.norm).toEqualTypeOf<nn.BatchNormState>();
    expect(Object.keys(state)).toEqual(["block"]);
    expect(Object.keys(state.block)).toEqual(["norm"]);
    expect(values(state)).toEqual([
      [0, 0],
      [1, 1],
    ]);
    expect(Object.keys(params.block)).toEqual(["conv", "norm"]);
  });

  it("moves in training and rests in evaluation", () => {
    const [output, next] = model.applyWithState(params, state, x, { train: true });
    expect(values(next)).not.toEqual(values(state));
    expectClose(read(model.apply(params, x, { train: true })), read(output), exact);
    const [evaluated, same] = model.applyWithState(params, next, x);
    expect(values(same)).toEqual(values(next));
    expectClose(read(model.apply(params, x, { state: next })), read(evaluated), exact);
  });

  it("is asked for by name in evaluation", () => {
    expect(() => model.apply(params, x)).toThrow(ArgumentError);
    expect(() => model.apply(params, x)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: batchNorm(block.norm): evaluation needs the running statistics. Pass state: model.initState({ shape }) or what applyWithState returned, or set train: true.]`,
    );
  });
});

describe("roles", () => {
  const model = nn.sequential({
    table: nn.embedding({ count: 5, features: 4 }),
    norm: nn.layerNorm(),
    attention: nn.multiHeadAttention({ heads: 2, features: 4 }),
    out: nn.dense({ features: 3, role: "head" }),
  });
  const params = model.init(key(0), { shape: [2, 3], dtype: "i32" });

  it("say what every parameter is for", () => {
    const projection = { kernel: "weight", bias: "bias" };
    expect(model.roles(params)).toEqual({
      table: { table: "embedding" },
      norm: { scale: "norm", bias: "norm" },
      attention: { query: projection, key: projection, value: projection, output: projection },
      out: { kernel: "head", bias: "bias" },
    });
  });

  it("become masks", () => {
    const mask = nn.roleMask(model, params, ["weight", "head"]);
    expectTypeOf(mask.out.kernel).toEqualTypeOf<boolean>();
    expect(mask.out).toEqual({ kernel: true, bias: false });
    expect(mask.norm).toEqual({ scale: false, bias: false });
    const decayed = treeMap((p: Tensor, decay: boolean) => (decay ? p.square().sum() : p.mul(0).sum()), params, mask);
    expectTypeOf(decayed.out.kernel).toEqualTypeOf<Tensor>();
  });
});
