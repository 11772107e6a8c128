import type { Tensor } from "@thalweg/tensor";
import { erf, expectClose } from "@thalweg/tensor/testing";
import { describe, it } from "vitest";
import * as nn from "../src/index";
import { random, read } from "./values";

const sigma = (x: number) => 1 / (1 + Math.exp(-x));
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const hard = (x: number) => clamp(x + 3, 0, 6) / 6;

const cases: [string, (x: Tensor) => Tensor, (x: number) => number][] = [
  ["relu", nn.relu, (x) => Math.max(x, 0)],
  ["relu6", nn.relu6, (x) => clamp(x, 0, 6)],
  ["leakyRelu", nn.leakyRelu, (x) => (x > 0 ? x : 0.01 * x)],
  ["leakyRelu, slope 0.3", (x) => nn.leakyRelu(x, { slope: 0.3 }), (x) => (x > 0 ? x : 0.3 * x)],
  ["elu", nn.elu, (x) => (x > 0 ? x : Math.exp(x) - 1)],
  ["elu, alpha 2", (x) => nn.elu(x, { alpha: 2 }), (x) => (x > 0 ? x : 2 * (Math.exp(x) - 1))],
  ["selu", nn.selu, (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * (Math.exp(x) - 1))],
  ["celu, alpha 2", (x) => nn.celu(x, { alpha: 2 }), (x) => Math.max(x, 0) + Math.min(2 * (Math.exp(x / 2) - 1), 0)],
  ["gelu", nn.gelu, (x) => (x / 2) * (1 + erf(x / Math.SQRT2))],
  [
    "gelu, tanh",
    (x) => nn.gelu(x, { approximation: "tanh" }),
    (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  ],
  ["silu", nn.silu, (x) => x * sigma(x)],
  ["mish", nn.mish, (x) => x * Math.tanh(Math.log1p(Math.exp(x)))],
  ["tanh", nn.tanh, Math.tanh],
  ["sigmoid", nn.sigmoid, sigma],
  ["logSigmoid", nn.logSigmoid, (x) => -Math.log1p(Math.exp(-x))],
  ["softplus", nn.softplus, (x) => Math.log1p(Math.exp(x))],
  ["softplus, beta 2", (x) => nn.softplus(x, { beta: 2 }), (x) => Math.log1p(Math.exp(2 * x)) / 2],
  ["softsign", nn.softsign, (x) => x / (1 + Math.abs(x))],
  ["hardTanh", nn.hardTanh, (x) => clamp(x, -1, 1)],
  ["hardSigmoid", nn.hardSigmoid, hard],
  ["hardSwish", nn.hardSwish, (x) => x * hard(x)],
];

describe("activations", () => {
  it.each(cases)("%s equals its definition", (_name, activation, definition) => {
    const x = random([64], 3, [-8, 8]);
    expectClose(read(activation(x)), read(x).values.map(definition), { relative: 1e-10, absolute: 1e-10 });
  });
});
