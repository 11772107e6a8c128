import { softmaxCrossEntropy } from "@thalweg/nn";
import { full, normal, type Tensor } from "@thalweg/tensor";
import type { TensorTree, TestProblem } from "@thalweg/workloads";

/** Pixels of a generated digit. */
const pixels = 256;

interface Params {
  readonly [name: string]: TensorTree;
  readonly kernel: Tensor;
  readonly bias: Tensor;
}

const logitsOf = ({ kernel, bias }: Params, images: Tensor): Tensor =>
  images
    .reshape([images.shape[0] ?? 0, pixels])
    .dot(kernel)
    .add(bias);

const accuracyOf = (logits: Tensor, labels: Tensor): Tensor =>
  logits.argmax({ axis: 1 }).equal(labels).cast("f32").mean();

/** A linear classifier of the generated digits: the smallest problem that has all parts, regularizer included. */
export const linear: TestProblem<Params> = {
  name: "linear_digits",
  title: "linear classifier of generated digits",
  version: "1.0.0",
  dataset: "digits",
  // Few and large batches: 16 steps an epoch, 4 batches a phase.
  defaults: { batchSize: 500, epochs: 2, l2: 0.01 },
  coupled: false,
  metric: "accuracy",
  layers: [],
  init: (key) => ({ params: { kernel: normal(key, [pixels, 10], { std: 0.01 }), bias: full([10], 0) }, state: {} }),
  losses(params, state, { images, labels }) {
    const logits = logitsOf(params, images);
    return { perExample: softmaxCrossEntropy(logits, labels), accuracy: accuracyOf(logits, labels), state };
  },
  predictor: {
    loss: "crossEntropy",
    inputs: ({ images }) => images,
    targets: ({ labels }) => labels,
    outputs: (params, _, images) => logitsOf(params, images),
    accuracy: accuracyOf,
  },
  regularizer: ({ kernel }, l2 = 0.01) =>
    kernel
      .square()
      .sum()
      .mul(0.5 * l2),
};
