import { digitSize } from "../datasets/digits/generate";
import { constant, convolution, dense, flatten, heNormal, pool, relu } from "../models/network";
import type { TestProblem } from "../problem";
import { classification } from "./classification";

const init = { kernel: heNormal, bias: constant(0) };
const valid = { ...init, padding: "valid" } as const;

/**
 * A small convolutional network on the generated digits: needs no download, and trains in seconds on any adapter. Not a
 * problem of DeepOBS. 2,698 parameters.
 */
export const digits: TestProblem = classification({
  name: "digits",
  title: "small convolutional network on generated digits",
  version: "1.0.0",
  dataset: "digits",
  defaults: { batchSize: 64, epochs: 10, l2: 0 },
  inputShape: [digitSize, digitSize, 1],
  layers: {
    conv1: convolution(8, 3, valid),
    relu1: relu,
    pool1: pool,
    conv2: convolution(16, 3, valid),
    relu2: relu,
    pool2: pool,
    flatten,
    dense: dense(10, init),
  },
});
