import { DataError, type FileContext } from "../errors";

/** A parsed idx file: an array of bytes with its shape. */
export interface IdxArray {
  /** Sizes of the axes, outermost first: `[n, rows, columns]` for images, `[n]` for labels. */
  readonly shape: readonly number[];
  /** The elements in row-major order: a view into the parsed bytes, not a copy. */
  readonly data: Uint8Array;
}

/** What the caller knows about an idx file beforehand. */
export interface IdxOptions extends FileContext {
  /** The shape the file must have; by default any. */
  readonly shape?: readonly number[] | undefined;
}

/** Element type byte of unsigned bytes, the third byte of the magic number. */
const unsignedByte = 0x08;

/**
 * Reads an idx file of unsigned bytes, the format of MNIST and its relatives: two zero bytes, element type, rank, then
 * the size of each axis as a big-endian 32-bit integer, then the elements. The magic number of images (rank 3) is 2051,
 * that of labels (rank 1) is 2049.
 *
 * @throws DataError if the magic number, the element type, the shape or the length is wrong.
 * @see http://yann.lecun.com/exdb/mnist/, "The IDX file format".
 */
export function parseIdx(bytes: Uint8Array, { file, fix, shape: expectedShape }: IdxOptions): IdxArray {
  const fail = (problem: string, expected: string, found: string) =>
    new DataError({ file, problem, expected, found, fix });
  if (bytes.length < 4) throw fail("idx header is cut off", "at least 4 bytes", `${bytes.length} bytes`);

  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  const [zeros, type, rank] = [view.getUint16(0), view.getUint8(2), view.getUint8(3)];
  const expectedRank = expectedShape?.length;
  if (zeros !== 0 || type !== unsignedByte || rank === 0 || (expectedRank !== undefined && rank !== expectedRank)) {
    const expected = expectedRank === undefined ? "2049 to 2303" : `${(unsignedByte << 8) | expectedRank}`;
    throw fail("wrong idx magic number", expected, `${magic}`);
  }

  const headerLength = 4 + 4 * rank;
  if (bytes.length < headerLength) {
    throw fail("idx header is cut off", `${headerLength} bytes of header for rank ${rank}`, `${bytes.length} bytes`);
  }
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  if (expectedShape?.some((size, axis) => size !== shape[axis])) {
    throw fail("wrong idx shape", `[${expectedShape.join(", ")}]`, `[${shape.join(", ")}]`);
  }

  const count = shape.reduce((product, size) => product * size, 1);
  const data = bytes.subarray(headerLength);
  if (data.length !== count) {
    const problem = data.length < count ? "idx data are cut off" : "idx data are followed by trailing bytes";
    throw fail(problem, `${count} bytes for shape [${shape.join(", ")}]`, `${data.length} bytes`);
  }
  return { shape, data };
}
