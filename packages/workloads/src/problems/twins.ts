import type { DatasetName } from "../datasets/registry";

/** A data set that carries the same problems as its twin. */
export interface Twin {
  /** What the names of its problems begin with. */
  readonly prefix: string;
  readonly dataset: DatasetName;
  readonly title: string;
  readonly shape: readonly number[];
  readonly classes: number;
}

/** MNIST and Fashion-MNIST: images of the same shape, the same number of classes, the same networks. */
export const mnistTwin: Twin = { prefix: "mnist", dataset: "mnist", title: "MNIST", shape: [28, 28, 1], classes: 10 };

/** @see mnistTwin */
export const fmnistTwin: Twin = { ...mnistTwin, prefix: "fmnist", dataset: "fmnist", title: "Fashion-MNIST" };
