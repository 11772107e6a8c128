import { accuracy, softmaxCrossEntropy } from "@thalweg/nn";
import { formatPath, full, type Tensor, treeFlatten } from "@thalweg/tensor";
import type { DatasetName } from "../datasets/registry";
import { type NetworkLayer, network } from "../models/network";
import type { ProblemDefaults, TestProblem } from "../problem";

/** What decides a problem that classifies images. */
export interface ClassificationOptions {
  readonly name: string;
  readonly title: string;
  readonly version: string;
  readonly dataset: DatasetName;
  readonly defaults: ProblemDefaults;
  /** Shape of one image: rows, columns, channels. */
  readonly inputShape: readonly number[];
  /** The layers by name, in order; the last gives one logit per class. */
  readonly layers: Readonly<Record<string, NetworkLayer>>;
}

/** A problem whose loss is the cross entropy of the softmax of a network's outputs. Kernels are decayed, biases never. */
export function classification(options: ClassificationOptions): TestProblem {
  const { name, title, version, dataset, defaults, inputShape, layers } = options;
  const isDecayed = (path: string) => defaults.l2 > 0 && path.endsWith(".kernel");
  const model = network({ inputShape, layers, isDecayed });
  return {
    name,
    title,
    version,
    dataset,
    defaults,
    coupled: false,
    metric: "accuracy",
    layers: model.layers,
    init: (key) => ({ params: model.init(key), state: {} }),
    losses(params, state, { images, labels }) {
      const logits = model.apply(params, images);
      return { perExample: softmaxCrossEntropy(logits, labels), accuracy: accuracy(logits, labels).mean(), state };
    },
    predictor: {
      loss: "crossEntropy",
      inputs: ({ images }) => images,
      targets: ({ labels }) => labels,
      outputs: (params, _, images) => model.apply(params, images),
      accuracy: (logits, labels) => accuracy(logits, labels).mean(),
    },
    regularizer(params, l2 = defaults.l2) {
      const { leaves, paths } = treeFlatten<Tensor>(params);
      const decayed = leaves.filter((_, index) => isDecayed(formatPath(paths[index] ?? [])));
      return decayed.reduce((sum, leaf) => sum.add(leaf.square().sum()), full([], 0)).mul(0.5 * l2);
    },
  };
}
