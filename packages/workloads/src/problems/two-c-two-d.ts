import { constant, convolution, dense, flatten, pool, relu, truncatedNormal } from "../models/network";
import type { TestProblem } from "../problem";
import { classification } from "./classification";
import type { Twin } from "./twins";

/** A network of two convolutions and two dense layers. 3,274,634 parameters. */
export function twoConvolutionsTwoDense({ prefix, ...data }: Twin): TestProblem {
  const init = { kernel: truncatedNormal(0.05), bias: constant(0.05) };
  const same = { ...init, padding: "same" } as const;
  return classification({
    name: `${prefix}_2c2d`,
    title: `two convolutions and two dense layers on ${data.title}`,
    version: "1.2.0",
    dataset: data.dataset,
    defaults: { batchSize: 128, epochs: 100, l2: 0 },
    inputShape: data.shape,
    layers: {
      conv1: convolution(32, 5, same),
      relu1: relu,
      pool1: pool,
      conv2: convolution(64, 5, same),
      relu2: relu,
      pool2: pool,
      flatten,
      dense1: dense(1024, init),
      relu3: relu,
      dense2: dense(data.classes, init),
    },
  });
}
