import { DataError, type FileContext } from "../errors";

/** Parsed records of the CIFAR binary format. */
export interface CifarRecords {
  /** Images, channels last: `[n, 32, 32, 3]`. The file holds planes; they are interleaved here. */
  readonly images: Uint8Array;
  /** One label per image: the class in CIFAR-10, the fine class in CIFAR-100. */
  readonly labels: Uint8Array;
  /** The superclass of each image in CIFAR-100, empty for CIFAR-10. */
  readonly coarseLabels: Uint8Array;
}

/** What the caller knows about a CIFAR file beforehand. */
export interface CifarOptions extends FileContext {
  /** `cifar10`: one label byte per record, `cifar100`: a coarse and a fine one. */
  readonly variant: "cifar10" | "cifar100";
  /** How many records the file must hold; by default any number but 0. */
  readonly records?: number | undefined;
}

const pixels = 32 * 32;
const channels = 3;

/**
 * Reads a file of the CIFAR binary version: records of one (CIFAR-10) or two (CIFAR-100: coarse, fine) label bytes and
 * 1024 red, 1024 green and 1024 blue bytes, with neither header nor separator.
 *
 * @throws DataError if the length is no multiple of the record, the count differs, or a label is out of range.
 * @see https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
 */
export function parseCifar(bytes: Uint8Array, { file, fix, variant, records }: CifarOptions): CifarRecords {
  const [labelBytes, classes] = variant === "cifar10" ? [1, 10] : [2, 100];
  const recordLength = labelBytes + channels * pixels;
  const count = Math.floor(bytes.length / recordLength);
  if (bytes.length === 0 || bytes.length % recordLength !== 0 || (records !== undefined && count !== records)) {
    throw new DataError({
      file,
      problem: `wrong length of a ${variant} binary file`,
      expected: `${records ?? "a whole number of"} records of ${recordLength} bytes`,
      found: `${bytes.length} bytes, ${(bytes.length / recordLength).toFixed(2)} records`,
      fix,
    });
  }

  const images = new Uint8Array(count * pixels * channels);
  const labels = new Uint8Array(count);
  const coarseLabels = new Uint8Array(variant === "cifar100" ? count : 0);
  for (let record = 0; record < count; record++) {
    const start = record * recordLength;
    const label = byteAt(bytes, start + labelBytes - 1);
    if (label >= classes) {
      const problem = `label of record ${record} is out of range`;
      throw new DataError({ file, problem, expected: `0 to ${classes - 1}`, found: `${label}`, fix });
    }
    labels[record] = label;
    if (variant === "cifar100") coarseLabels[record] = byteAt(bytes, start);
    interleavePlanes(bytes, start + labelBytes, images, record * pixels * channels);
  }
  return { images, labels, coarseLabels };
}

/** Copies three planes of 1024 bytes at `source` to 1024 triples at `target`. */
function interleavePlanes(bytes: Uint8Array, source: number, images: Uint8Array, target: number): void {
  for (let channel = 0; channel < channels; channel++) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      images[target + pixel * channels + channel] = byteAt(bytes, source + channel * pixels + pixel);
    }
  }
}

/** The byte at a position that the length check has shown to exist. */
function byteAt(bytes: Uint8Array, position: number): number {
  return bytes[position] as number;
}
