import { type Tensor, tensor } from "@thalweg/tensor";
import { evaluateReference } from "@thalweg/tensor/testing";
import { describe, expect, it } from "vitest";
import { clipByGlobalNorm, clipByValue, type GradientTransformation, optimizers, project } from "../src/index";
import { adaptedDamping } from "../src/transforms/quadratic-model";
import { extrasOf, structureOf } from "./training";

const numbers = (x: Tensor): number[] => evaluateReference([x]).flatMap(({ values }) => Array.from(values));

const params = () => ({
  x: tensor([
    [1, -2],
    [0.5, 3],
  ]),
});
const loss = ({ x }: { readonly x: Tensor }): Tensor => x.square().sum();

/** The update by a gradient with a NaN, after two by finite ones. */
function thirdUpdate(optimizer: GradientTransformation): number[] {
  const update = (state: ReturnType<typeof optimizer.init>, wrong: number) => {
    const gradients = {
      x: tensor([
        [0.1, wrong],
        [-0.3, 0.4],
      ]),
    };
    return optimizer.update(gradients, state, params(), extrasOf(loss, params()));
  };
  let state = optimizer.init(params(), structureOf(params()));
  for (const finite of [0.2, 0.25]) [, state] = update(state, finite);
  const [{ x }] = update(state, Number.NaN);
  return numbers(x);
}

describe("a gradient that is not a number makes an update that is none", () => {
  const parts = {
    clipByValue: clipByValue({ maxValue: 1 }),
    clipByGlobalNorm: clipByGlobalNorm({ maxNorm: 1 }),
    project: project({ min: -10, max: 10 }),
    "project on one side": project({ min: -10 }),
  };
  const all = { ...Object.fromEntries(Object.values(optimizers).map((own) => [own.name, own.create()])), ...parts };

  it.each(Object.entries(all))("%s", (_, optimizer) => {
    expect(thirdUpdate(optimizer)[1]).toBeNaN();
  });
});

it("a damping that is not a number stays what it is", () => {
  const [change, predicted] = [tensor(-1), tensor(-1)];
  const next = adaptedDamping(tensor(Number.NaN), change, predicted, {
    factor: 0.5,
    thresholds: [0.25, 0.75],
    bounds: [1e-8, 1],
  });
  expect(numbers(next)).toEqual([Number.NaN]);
});
