import { fashionMnistSource, type IdxSource, mnistSource } from "../fetch/sources";
import { loadDigits } from "./digits";
import { loadFmnist } from "./fmnist";
import type { ImageDataset, LoadOptions } from "./image-dataset";
import { loadMnist } from "./mnist";

/** A data set as lists and commands show it. */
export interface DatasetRecord {
  readonly title: string;
  /** Where the files come from; undefined for a generated data set. */
  readonly source: IdxSource | undefined;
  /** Loads or generates it. */
  readonly load: (options?: LoadOptions) => Promise<ImageDataset>;
}

/** Every data set, by name. */
export const datasets = {
  digits: { title: "Generated digits, 16 x 16 (no download)", source: undefined, load: loadDigits },
  mnist: { title: mnistSource.title, source: mnistSource, load: loadMnist },
  fmnist: { title: fashionMnistSource.title, source: fashionMnistSource, load: loadFmnist },
} as const satisfies Readonly<Record<string, DatasetRecord>>;

/** Name of a data set. */
export type DatasetName = keyof typeof datasets;

/** Loads a data set by its name. In Node: `loadDataset("fmnist", { files: localFiles() })`. */
export function loadDataset(name: DatasetName, options: LoadOptions = {}): Promise<ImageDataset> {
  return datasets[name].load(options);
}
