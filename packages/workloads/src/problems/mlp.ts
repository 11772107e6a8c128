import { constant, dense, flatten, relu, truncatedNormal } from "../models/network";
import type { TestProblem } from "../problem";
import { classification } from "./classification";
import type { Twin } from "./twins";

/** A perceptron with hidden layers of 1000, 500 and 100 units. 1,336,610 parameters. */
export function mlp({ prefix, ...data }: Twin): TestProblem {
  const init = { kernel: truncatedNormal(0.03), bias: constant(0) };
  return classification({
    name: `${prefix}_mlp`,
    title: `perceptron with three hidden layers on ${data.title}`,
    version: "1.2.0",
    dataset: data.dataset,
    defaults: { batchSize: 128, epochs: 100, l2: 0 },
    inputShape: data.shape,
    layers: {
      flatten,
      dense1: dense(1000, init),
      relu1: relu,
      dense2: dense(500, init),
      relu2: relu,
      dense3: dense(100, init),
      relu3: relu,
      dense4: dense(data.classes, init),
    },
  });
}
