import { ArgumentError } from "@thalweg/tensor";
import type { FileReader } from "../fetch/sources";

/** A run of consecutive images: from `start`, `count` of them. */
export interface Range {
  readonly start: number;
  readonly count: number;
}

/** The four phases of a run; each reads its own part of the data set. */
export type Phase = "train" | "trainEval" | "valid" | "test";

/** Which images each phase reads. `trainEval` is a part of `train`; `valid` and `test` are disjoint from all others. */
export type Splits = Readonly<Record<Phase, Range>>;

/**
 * How the training files are divided. `"1.2"`: the first n examples are for validation, n being the size of the test
 * set, and the rest for training. `"1.1"`: no validation, all for training, as in the runs published with DeepOBS 1.1.
 */
export type SplitVersion = "1.1" | "1.2";

/** A data set of images with class labels, in the order of its files: those for training first, then those for tests. */
export interface ImageDataset {
  readonly name: string;
  readonly split: SplitVersion;
  readonly splits: Splits;
  /** Pixel values 0 to 255, `[n, rows, columns, channels]` in row-major order. */
  readonly images: Uint8Array;
  /** Class of each image, `[n]`. */
  readonly labels: Uint8Array;
  /** Shape of one image: rows, columns, channels. */
  readonly shape: readonly [rows: number, columns: number, channels: number];
  /** Number of classes. */
  readonly classes: number;
  /** SHA-256 of what the data set was made from, by file name: goes into the record of a run. */
  readonly checksums: Readonly<Record<string, string>>;
}

/** Options that every data set takes. */
export interface LoadOptions {
  /** Reads files; needed by all data sets but the generated one. */
  readonly files?: FileReader | undefined;
  /** Default `"1.2"`. */
  readonly split?: SplitVersion | undefined;
}

/**
 * Divides `trainCount` training examples, followed by `testCount` test examples, into the four phases. `trainEval` is
 * the first `testCount` training examples after the validation block, unaugmented and never shuffled.
 *
 * @throws ArgumentError if nothing would be left for training.
 */
export function divide(trainCount: number, testCount: number, split: SplitVersion): Splits {
  const validCount = split === "1.2" ? testCount : 0;
  const count = trainCount - validCount;
  if (testCount < 1 || count < testCount) {
    throw new ArgumentError(
      `divide: ${trainCount} training and ${testCount} test examples leave ${count} for training after ${validCount} ` +
        "for validation. Training needs at least as many examples as the test.",
    );
  }
  return {
    train: { start: validCount, count },
    trainEval: { start: validCount, count: testCount },
    valid: { start: 0, count: validCount },
    test: { start: trainCount, count: testCount },
  };
}
