/**
 * Batches that are put together on the device. A data set is uploaded once; which examples step s of a run reads is a
 * function of a key and of s, computed in the training step itself. So a step needs nothing from the host: its position
 * in the epoch is device state like any other.
 */
import {
  ArgumentError,
  foldIn,
  full,
  iota,
  type Key,
  permutedPositions,
  ShapeError,
  sizeOf,
  Tensor,
  tensor,
} from "@thalweg/tensor";
import type { ImageDataset, Phase } from "./datasets/image-dataset";

/** A data set on the device: a tree of tensors, to be passed to compiled functions as it is. */
export interface DataTensors {
  /**
   * Four pixels in each word, the first in the lowest byte: u32 `[n, ceil(pixels / 4)]`. Floats would take four times the
   * memory, and the 60,000 images of MNIST would pass the 128 MiB that WebGPU guarantees for one binding.
   */
  readonly images: Tensor;
  /** Class of each image: i32 `[n]`. */
  readonly labels: Tensor;
}

/** Examples as a problem's loss takes them: a tree of tensors. */
export interface Batch {
  /** Pixels from 0 to 1: f32 `[batch, rows, columns, channels]`. */
  readonly images: Tensor;
  /** Class of each image: i32 `[batch]`. */
  readonly labels: Tensor;
}

/** What of a data set decides the batches; the bytes themselves do not. */
export type Divided = Pick<ImageDataset, "name" | "splits">;

/** Makes the tensors of a data set. Nothing is uploaded before they are first used; then all of it, once. */
export function datasetTensors({
  images,
  labels,
  shape,
}: Pick<ImageDataset, "images" | "labels" | "shape">): DataTensors {
  const count = labels.length;
  return {
    images: tensor(packWords(images, count, sizeOf(shape)), { shape: [count, wordsOf(shape)] }),
    labels: tensor(Int32Array.from(labels)),
  };
}

/** Words of four bytes that an image of the shape takes. */
const wordsOf = (shape: readonly number[]): number => Math.ceil(sizeOf(shape) / 4);

/** The rows of `count` images as words, each row filled up with zeros to whole words. */
function packWords(bytes: Uint8Array, count: number, pixels: number): Uint32Array {
  const rowWords = Math.ceil(pixels / 4);
  const words = new Uint32Array(count * rowWords);
  for (let row = 0; row < count; row++) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      const word = row * rowWords + (pixel >> 2);
      // Shifting, unlike a view of the same buffer, gives the same words on machines of either byte order.
      words[word] = (words[word] as number) | ((bytes[row * pixels + pixel] as number) << (8 * (pixel & 3)));
    }
  }
  return words;
}

/**
 * Takes examples out of a data set and scales their pixels to 0..1: gather, shift, mask and scale, all of which fuse.
 *
 * @param shape Shape of one image.
 * @param indices Positions in the data set: integers `[batch]`.
 */
export function gatherBatch(data: DataTensors, shape: readonly number[], indices: Tensor): Batch {
  const words = wordsOf(shape);
  if (data.images.rank !== 2 || data.images.shape[1] !== words) {
    throw new ShapeError(
      `gatherBatch: images u32 [${data.images.shape.join(", ")}] do not hold images of shape [${shape.join(", ")}], ` +
        `which take ${words} words each. Make them with datasetTensors.`,
    );
  }
  const batch = indices.size;
  const rows = data.images.gather(indices, { axis: 0 }).reshape([batch, words, 1]);
  const bytes = rows.shiftRight(iota([1, 1, 4], 2, "u32").mul(8)).bitAnd(255);
  const pixels = bytes.reshape([batch, words * 4]).slice([0, 0], [batch, sizeOf(shape)]);
  return {
    images: pixels
      .cast("f32")
      .mul(1 / 255)
      .reshape([batch, ...shape]),
    labels: data.labels.gather(indices, { axis: 0 }).reshape([batch]),
  };
}

/** Examples of zeros: for what looks at the shapes of a batch alone. */
export function blankBatch({ shape }: Pick<ImageDataset, "shape">, batchSize: number): Batch {
  return { images: full([batchSize, ...shape], 0), labels: full([batchSize], 0, { dtype: "i32" }) };
}

/** Number of full batches of a phase; the examples that remain are dropped, in every phase. */
export function batchCount({ name, splits }: Divided, phase: Phase, batchSize: number): number {
  const { count } = splits[phase];
  if (!Number.isInteger(batchSize) || batchSize < 1 || (count > 0 && batchSize > count)) {
    throw new ArgumentError(
      `${name}: batch size ${batchSize} does not fit the ${count} examples of ${phase}. Choose from 1 to ${count}.`,
    );
  }
  return Math.floor(count / batchSize);
}

/** What {@link trainingIndices} needs beside the data set. */
export interface TrainingPosition {
  /** The key of the run's shuffling: u32 `[2]`. */
  readonly key: Key;
  /** Training steps since the start of the run: a u32 scalar on the device, or a number. */
  readonly step: Tensor | number;
  readonly batchSize: number;
}

/**
 * The examples of one training step: u32 `[batchSize]`. Each epoch passes through the training examples in its own order,
 * which follows from the key and the number of the epoch; no example comes twice in one epoch.
 */
export function trainingIndices(dataset: Divided, { key, step, batchSize }: TrainingPosition): Tensor {
  const steps = batchCount(dataset, "train", batchSize);
  const { start, count } = dataset.splits.train;
  const now = asScalar(step);
  const positions = now
    .rem(steps)
    .mul(batchSize)
    .add(iota([batchSize], 0, "u32"));
  return permutedPositions(foldIn(key, now.div(steps)), positions, count).add(start);
}

/** Which batch of a phase {@link phaseIndices} gives. */
export interface PhasePosition {
  /** Number of the batch, from 0: a u32 scalar on the device, or a number. */
  readonly batch: Tensor | number;
  readonly batchSize: number;
}

/** The examples of one batch of a phase in the order of the data set, which never changes: u32 `[batchSize]`. */
export function phaseIndices(dataset: Divided, phase: Phase, { batch, batchSize }: PhasePosition): Tensor {
  batchCount(dataset, phase, batchSize);
  return asScalar(batch)
    .mul(batchSize)
    .add(iota([batchSize], 0, "u32"))
    .add(dataset.splits[phase].start);
}

/** A u32 scalar. */
function asScalar(value: Tensor | number): Tensor {
  return value instanceof Tensor ? value.cast("u32").reshape([]) : tensor(Uint32Array.of(value)).reshape([]);
}
