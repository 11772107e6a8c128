import { fashionMnistSource } from "../fetch/sources";
import { loadIdxDataset } from "./idx-dataset";
import type { ImageDataset, LoadOptions } from "./image-dataset";

/** Loads Fashion-MNIST: articles of clothing, 28 x 28 x 1, ten classes, 60,000 + 10,000 images. */
export function loadFmnist(options: LoadOptions = {}): Promise<ImageDataset> {
  return loadIdxDataset(fashionMnistSource, options);
}
