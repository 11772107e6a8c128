import { mnistSource } from "../fetch/sources";
import { loadIdxDataset } from "./idx-dataset";
import type { ImageDataset, LoadOptions } from "./image-dataset";

/** Loads MNIST: handwritten digits, 28 x 28 x 1, ten classes, 60,000 + 10,000 images. */
export function loadMnist(options: LoadOptions = {}): Promise<ImageDataset> {
  return loadIdxDataset(mnistSource, options);
}
