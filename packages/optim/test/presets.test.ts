import { type Tensor, tensor } from "@thalweg/tensor";
import { describe, expect, it } from "vitest";
import { applyUpdates, type GradientTransformation, optimizers, type Preset, presets } from "../src/index";
import { runReference, type Step } from "./runners";

const every = Object.entries(presets).flatMap(([group, own]) =>
  Object.entries(own as Readonly<Record<string, Preset>>).map(([name, preset]) => ({ group, name, preset })),
);

describe.each(every)("$group, $name", ({ preset }) => {
  it("makes an optimizer of the registry, and lists only what differs from its defaults", () => {
    const record = optimizers[preset.optimizer];
    expect(record).toBeDefined();
    expect(() => preset()).not.toThrow();
    for (const [name, value] of Object.entries(preset.options)) {
      expect(record?.hyperparameters[name]?.default, name).not.toBe(value);
    }
  });

  it("is tuned within the ranges of its hyperparameters", () => {
    for (const [name, { low, high, complement }] of Object.entries(preset.tuning)) {
      for (const value of [low, high]) expect(() => preset({ [name]: complement ? 1 - value : value })).not.toThrow();
    }
  });
});

it("Crowded Valley has fifteen", () => {
  expect(Object.keys(presets.crowdedValley)).toHaveLength(15);
});

/** TensorFlow 1's rules, written down once more in float64: state of one weight, and its next value. */
type Rule = (x: number, g: number, t: number, s: Float64Array) => number;

const rules: Readonly<Record<keyof typeof presets.tensorflow1, { readonly slots: number[]; readonly rule: Rule }>> = {
  sgd: { slots: [], rule: (x, g) => x - 0.01 * g },
  momentum: {
    slots: [0],
    rule(x, g, _, s) {
      s[0] = 0.9 * (s[0] as number) + g;
      return x - 0.01 * s[0];
    },
  },
  nesterov: {
    slots: [0],
    rule(x, g, _, s) {
      s[0] = 0.9 * (s[0] as number) + g;
      return x - 0.01 * (g + 0.9 * s[0]);
    },
  },
  adagrad: {
    slots: [0.1],
    rule(x, g, _, s) {
      s[0] = (s[0] as number) + g * g;
      return x - (0.01 * g) / Math.sqrt(s[0]);
    },
  },
  adadelta: {
    slots: [0, 0],
    rule(x, g, _, s) {
      s[0] = 0.95 * (s[0] as number) + 0.05 * g * g;
      const u = (Math.sqrt((s[1] as number) + 1e-8) / Math.sqrt(s[0] + 1e-8)) * g;
      s[1] = 0.95 * (s[1] as number) + 0.05 * u * u;
      return x - 1e-3 * u;
    },
  },
  rmsprop: {
    slots: [1],
    rule(x, g, _, s) {
      s[0] = 0.9 * (s[0] as number) + 0.1 * g * g;
      return x - (1e-3 * g) / Math.sqrt(s[0] + 1e-10);
    },
  },
  adam: {
    slots: [0, 0],
    rule(x, g, t, s) {
      s[0] = 0.9 * (s[0] as number) + 0.1 * g;
      s[1] = 0.999 * (s[1] as number) + 0.001 * g * g;
      const rate = (1e-3 * Math.sqrt(1 - 0.999 ** t)) / (1 - 0.9 ** t);
      return x - (rate * s[0]) / (Math.sqrt(s[1]) + 1e-8);
    },
  },
  amsgrad: {
    slots: [0, 0, 0],
    rule(x, g, t, s) {
      s[0] = 0.9 * (s[0] as number) + 0.1 * g;
      s[1] = 0.999 * (s[1] as number) + 0.001 * g * g;
      s[2] = Math.max(s[2] as number, s[1]);
      const rate = (1e-3 * Math.sqrt(1 - 0.999 ** t)) / (1 - 0.9 ** t);
      return x - (rate * s[0]) / (Math.sqrt(s[2]) + 1e-8);
    },
  },
};

describe.each(Object.keys(rules) as (keyof typeof rules)[])("tensorflow1.%s", (name) => {
  it("follows TensorFlow's rule for a hundred steps on a quadratic", () => {
    const x = Float64Array.from({ length: 12 }, (_, index) => Math.fround(Math.sin(3 * index + 1)));
    const start = tensor(Float32Array.from(x));
    const steepness = (index: number) => 0.1 * (index + 1);
    const { slots, rule } = rules[name];
    const states = Array.from(x, () => Float64Array.from(slots));
    for (let t = 1; t <= 100; t++) {
      x.forEach((value, index) => {
        x[index] = rule(value, steepness(index) * value, t, states[index] as Float64Array);
      });
    }
    const optimizer: GradientTransformation = presets.tensorflow1[name]();
    const factors = start.iotaLike(0).cast("f32").add(1).mul(0.1);
    const step: Step<{ x: Tensor }, null, null> = (state) => {
      const gradients = { x: state.params.x.mul(factors) };
      const [updates, next] = optimizer.update(gradients, state.optimizer, state.params);
      return [{ params: applyUpdates(state.params, updates), optimizer: next }, null];
    };
    const trace = runReference(
      optimizer,
      step,
      { x: start },
      Array.from({ length: 100 }, () => null),
    );
    const last = trace.params.at(-1)?.[0] as ArrayLike<number>;
    x.forEach((value, index) => {
      expect(Math.abs((last[index] as number) - value)).toBeLessThan(1e-6 * Math.abs(value));
    });
  });
});
