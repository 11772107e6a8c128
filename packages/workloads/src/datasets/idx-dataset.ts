import { ArgumentError } from "@thalweg/tensor";
import { DataError } from "../errors";
import { fetchHint, type IdxRole, type IdxSource } from "../fetch/sources";
import { parseIdx } from "../formats/idx";
import { divide, type ImageDataset, type LoadOptions } from "./image-dataset";

const [side, classes, trainCount, testCount] = [28, 10, 60_000, 10_000];

/**
 * Loads MNIST or a set of the same make: 60,000 + 10,000 grey images of 28 x 28 pixels in ten classes.
 *
 * @throws ArgumentError without `files`; DataError if a file is missing, damaged or malformed.
 */
export async function loadIdxDataset(
  source: IdxSource,
  { files, split = "1.2" }: LoadOptions = {},
): Promise<ImageDataset> {
  if (files === undefined) {
    throw new ArgumentError(
      `${source.dataset}: this data set is read from files. Pass { files: localFiles() } from "@thalweg/workloads/node" ` +
        "in Node, or { files: webFiles() } in a browser.",
    );
  }
  const read = async (role: IdxRole, shape: readonly number[]): Promise<Uint8Array> => {
    const file = source.files[role];
    const content = await files.read(source, file);
    return parseIdx(content, { file: `${source.folder}/${file.name}`, shape, fix: fetchHint(source) }).data;
  };
  const [trainImages, trainLabels, testImages, testLabels] = await Promise.all([
    read("trainImages", [trainCount, side, side]),
    read("trainLabels", [trainCount]),
    read("testImages", [testCount, side, side]),
    read("testLabels", [testCount]),
  ]);
  const labels = joinBytes(trainLabels, testLabels);
  const wrong = labels.findIndex((label) => label >= classes);
  if (wrong >= 0) {
    throw new DataError({
      file: source.folder,
      problem: `label of example ${wrong} is out of range`,
      expected: `0 to ${classes - 1}`,
      found: `${labels[wrong]}`,
      fix: fetchHint(source),
    });
  }
  return {
    name: source.dataset,
    split,
    splits: divide(trainCount, testCount, split),
    images: joinBytes(trainImages, testImages),
    labels,
    shape: [side, side, 1],
    classes,
    checksums: Object.fromEntries(Object.values(source.files).map(({ name, content }) => [name, content.sha256])),
  };
}

function joinBytes(first: Uint8Array, second: Uint8Array): Uint8Array {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}
