import { key, type Tensor, treeLeaves, zeros } from "@thalweg/tensor";
import { describe, expect, expectTypeOf, it } from "vitest";
import * as nn from "../src/index";

const small = () =>
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

describe("sequential", () => {
  it("makes parameters whose type and shapes follow from the model", () => {
    const params = small().init(key(42), { shape: [128, 28, 28, 1] });
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
    expect(small().outputShape({ shape: [3, 28, 28, 1] })).toEqual([3, 10]);
  });

  it("names the layer whose parameters do not fit the input", () => {
    const model = small();
    const params = model.init(key(0), { shape: [128, 24, 24, 1] });
    expect(() => model.apply(params, zeros([128, 28, 28, 1]))).toThrowErrorMatchingInlineSnapshot(`[ShapeError: dense(hidden): input [128, 3136] does not fit kernel [2304, 1024] (axis 1: 3136, expected 2304)]`);
    expect(() => model.apply(params, zeros([128, 24, 24, 3]))).toThrowErrorMatchingInlineSnapshot(`[ShapeError: conv2d(conv1): input [128, 24, 24, 3] does not fit kernel [5, 5, 1, 32] (axis 3: 3 channels, expected 1)]`);
  });
});
