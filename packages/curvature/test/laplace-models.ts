/** A small network for the tests of Laplace posteriors: every kind of Kronecker block, and a last layer. */
import { scalar, type Tensor, tensor } from "@thalweg/tensor";
import { type CurvatureProblem, type LaplaceHyperparameters, type LaplaceStructure, squaredError } from "../src/index";
import { type Params, random } from "./numbers";

/** A hidden layer, a scale with its shift, and a last layer. */
export const paramsOf = (): Params => ({
  W: random(1, [3, 2]),
  b: random(2, [3]),
  scale: random(3, [3]),
  shift: random(4, [3]),
  V: random(5, [2, 3]),
  c: random(6, [2]),
});

export const hidden = (p: Params, x: Tensor): Tensor =>
  x
    .matmul((p.W as Tensor).transpose())
    .add(p.b as Tensor)
    .tanh()
    .mul(p.scale as Tensor)
    .add(p.shift as Tensor);

export const regression: CurvatureProblem<Params> = {
  loss: squaredError,
  model: (p, x) =>
    hidden(p, x)
      .matmul((p.V as Tensor).transpose())
      .add(p.c as Tensor),
};

export const dataOf = () => ({ inputs: random(7, [5, 2]), targets: random(8, [5, 2]) });

export const hyperparametersOf = (): LaplaceHyperparameters => ({
  logPriorPrecision: tensor([0.3, -0.2, 0.5, 0.1, -0.4, 0.2]),
  logNoise: scalar(-0.3),
});

export const structures: readonly LaplaceStructure[] = ["full", "diagonal", "kronecker", "functional"];
