/**
 * The safetensors file format: eight bytes of header length (little endian), the header as JSON, then the tensors'
 * bytes without gaps. The header maps each name to `{ dtype, shape, data_offsets: [begin, end] }`, offsets counted from
 * the end of the header; `__metadata__` maps text to text.
 *
 * The header is padded with spaces to a multiple of eight bytes and tensors are laid out by falling element size, so
 * that every tensor starts at a multiple of its element size and can be viewed in place.
 *
 * @see https://github.com/huggingface/safetensors (format section of the README)
 */

import { tensor } from "./create";
import type { DType } from "./dtype";
import { ArgumentError, formatShape, nearestName } from "./errors";
import { Tensor } from "./tensor";
import { formatPath, treeFlatten, treeUnflatten } from "./tree";

/** Element types of the format with their sizes in bytes. */
const safetensorsElementBytes = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

/** Name of an element type in the format. */
export type SafetensorsDType = keyof typeof safetensorsElementBytes;

/** One tensor: row-major, little endian. */
export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The content of a file. */
export interface SafetensorsFile {
  readonly tensors: Readonly<Record<string, SafetensorsEntry>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** What the reference implementation refuses to read, so nobody should write it. */
const maxHeaderBytes = 100_000_000;
const lengthBytes = 8;

/**
 * The bytes of a safetensors file.
 *
 * @throws ArgumentError if a tensor's bytes do not fit its shape, or a name is reserved.
 */
export function encodeSafetensors({ tensors, metadata }: SafetensorsFile): Uint8Array {
  const entries = Object.entries(tensors).sort(([nameA, a], [nameB, b]) => {
    const bySize = safetensorsElementBytes[b.dtype] - safetensorsElementBytes[a.dtype];
    return bySize !== 0 ? bySize : nameA < nameB ? -1 : 1;
  });
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of entries) {
    if (name === "__metadata__")
      throw new ArgumentError("safetensors: the name __metadata__ is reserved. Rename the tensor.");
    const expected = byteLength(dtype, shape);
    if (bytes.byteLength !== expected) {
      throw new ArgumentError(
        `safetensors: tensor "${name}" has ${bytes.byteLength} bytes, ${dtype} [${shape.join(", ")}] needs ${expected}.`,
      );
    }
    header[name] = { dtype, shape, data_offsets: [end, end + expected] };
    end += expected;
  }
  const text = JSON.stringify(header);
  const unpadded = new TextEncoder().encode(text);
  const headerBytes = Math.ceil(unpadded.byteLength / 8) * 8;
  const file = new Uint8Array(lengthBytes + headerBytes + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, lengthBytes, lengthBytes + headerBytes);
  file.set(unpadded, lengthBytes);
  let offset = lengthBytes + headerBytes;
  for (const [, { bytes }] of entries) {
    file.set(bytes, offset);
    offset += bytes.byteLength;
  }
  return file;
}

/**
 * Reads the bytes of a safetensors file; tensors are views into `file`, not copies.
 *
 * @param file the whole file.
 * @param name what messages call it.
 * @throws ArgumentError for a file that is cut off or breaks a rule of the format: it names the file and the rule.
 */
export function decodeSafetensors(file: Uint8Array, name = "safetensors"): SafetensorsFile {
  const fail = (problem: string): never => {
    throw new ArgumentError(`${name}: ${problem} The file is damaged or of another format; use another copy.`);
  };
  if (file.byteLength < lengthBytes) fail(`${file.byteLength} bytes are too few for the header's length (8 bytes).`);
  const headerBytes = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  if (headerBytes > maxHeaderBytes)
    fail(`the header claims ${headerBytes} bytes, at most ${maxHeaderBytes} are allowed.`);
  const dataStart = lengthBytes + headerBytes;
  if (file.byteLength < dataStart) fail(`cut off in the header: ${file.byteLength} of ${dataStart} bytes.`);
  const dataBytes = file.byteLength - dataStart;

  const header = parseHeader(file.subarray(lengthBytes, dataStart), fail);
  const tensors: Record<string, SafetensorsEntry> = {};
  const ranges: { readonly name: string; readonly begin: number; readonly end: number }[] = [];
  for (const [tensorName, value] of Object.entries(header)) {
    if (tensorName === "__metadata__") continue;
    const { dtype, shape, begin, end } = parseEntry(tensorName, value, fail);
    const expected = byteLength(dtype, shape);
    if (end - begin !== expected) {
      fail(`tensor "${tensorName}" has ${end - begin} bytes, ${dtype} [${shape.join(", ")}] needs ${expected}.`);
    }
    if (end > dataBytes) fail(`cut off in tensor "${tensorName}": it ends at ${end}, the data at ${dataBytes}.`);
    ranges.push({ name: tensorName, begin, end });
    tensors[tensorName] = { dtype, shape, bytes: file.subarray(dataStart + begin, dataStart + end) };
  }
  let covered = 0;
  for (const range of ranges.sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (range.begin !== covered)
      fail(`tensor "${range.name}" begins at ${range.begin}, the one before it ends at ${covered}.`);
    covered = range.end;
  }
  if (covered !== dataBytes) fail(`${dataBytes - covered} bytes at the end belong to no tensor.`);
  return { tensors, metadata: parseMetadata(header.__metadata__, fail) };
}

/**
 * How element types are kept. Reading gives f16 as f32, which loses nothing, and restoring goes by the type of the
 * tensor that is restored.
 */
const storedAs: Readonly<Record<DType, SafetensorsDType>> = {
  f32: "F32",
  f16: "F32",
  i32: "I32",
  u32: "U32",
  bool: "BOOL",
};

/**
 * A tree of tensors as the bytes of a safetensors file, each tensor under its path: `params.conv1.kernel`. It reads every
 * tensor from the device.
 *
 * @param metadata Texts to keep beside the tensors.
 * @throws ArgumentError for a leaf that is no tensor, with its path.
 * @example await writeFile("model.safetensors", await toSafetensors({ params, optimizer: state }));
 */
export async function toSafetensors(
  tree: unknown,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array> {
  const { leaves, paths } = treeFlatten<unknown>(tree, isTensor);
  const entries = leaves.map(async (leaf, index): Promise<[string, SafetensorsEntry]> => {
    const path = formatPath(paths[index] ?? []);
    if (!(leaf instanceof Tensor)) throw new ArgumentError(`toSafetensors: ${path} is ${typeof leaf}, not a tensor.`);
    const { buffer, byteOffset, byteLength: length } = await leaf.data();
    const { dtype, shape } = leaf;
    return [path, { dtype: storedAs[dtype], shape, bytes: new Uint8Array(buffer, byteOffset, length) }];
  });
  return encodeSafetensors({ tensors: Object.fromEntries(await Promise.all(entries)), metadata });
}

/**
 * A tree with the structure, shapes and element types of `like` and the numbers of a safetensors file. What else the file
 * has is left alone, so that parameters can be read from a file that has the optimizer's state too.
 *
 * @param source The bytes of a file, or its content from {@link decodeSafetensors}.
 * @param name What messages call it.
 * @throws ArgumentError for a damaged file, and for a tensor that is missing or has another shape or element type, with
 *   its path and both.
 * @example const params = fromSafetensors(await readFile("model.safetensors"), model.init(key(0)));
 */
export function fromSafetensors<T>(source: Uint8Array | SafetensorsFile, like: T, name = "safetensors"): T {
  const { tensors } = source instanceof Uint8Array ? decodeSafetensors(source, name) : source;
  const { leaves, paths, structure } = treeFlatten<Tensor>(like, isTensor);
  const restored = leaves.map(({ dtype, shape }, index) => {
    const path = formatPath(paths[index] ?? []);
    const expected = `${storedAs[dtype]} ${formatShape(shape)}`;
    const entry = Object.hasOwn(tensors, path) ? tensors[path] : undefined;
    if (entry === undefined) {
      const nearest = nearestName(path, Object.keys(tensors));
      const hint = nearest === undefined ? "" : ` Did you mean "${nearest}"?`;
      throw new ArgumentError(`${name}: tensor ${path} (${expected}) is missing.${hint}`);
    }
    const found = `${entry.dtype} ${formatShape(entry.shape)}`;
    if (found !== expected) throw new ArgumentError(`${name}: tensor ${path} is ${found}, expected ${expected}.`);
    return tensor(elementsOf(entry), { shape, dtype });
  });
  // The structure is that of `like`, and every leaf has been replaced by a tensor.
  return treeUnflatten(structure, restored) as T;
}

const isTensor = (value: unknown): boolean => value instanceof Tensor;

function elementsOf({ dtype, bytes }: SafetensorsEntry): Float32Array | Int32Array | Uint32Array | Uint8Array {
  // A copy of its own: the file's buffer has the tensors at any offset, which typed arrays of words do not take.
  const { buffer } = Uint8Array.from(bytes);
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype === "I32") return new Int32Array(buffer);
  if (dtype === "U32") return new Uint32Array(buffer);
  return new Uint8Array(buffer);
}

function byteLength(dtype: SafetensorsDType, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, safetensorsElementBytes[dtype]);
}

type Fail = (problem: string) => never;

function parseHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  // The format wants the brace first, so that a reader need not skip anything.
  if (bytes[0] !== 0x7b) fail('the header does not start with "{".');
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    fail(`the header is not JSON (${(error as Error).message}).`);
  }
  // It starts with a brace and parses, so it is an object.
  return value as Record<string, unknown>;
}

function parseEntry(name: string, value: unknown, fail: Fail) {
  if (typeof value !== "object" || value === null) return fail(`the entry of tensor "${name}" is no object.`);
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(safetensorsElementBytes, dtype)) {
    return fail(`tensor "${name}" has the unknown type ${JSON.stringify(dtype)}.`);
  }
  if (!isSizes(shape)) return fail(`tensor "${name}" has the shape ${JSON.stringify(shape)}.`);
  if (!isSizes(offsets)) return fail(`tensor "${name}" has the offsets ${JSON.stringify(offsets)}.`);
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin === undefined || end === undefined || begin > end) {
    return fail(`tensor "${name}" has the offsets ${JSON.stringify(offsets)}.`);
  }
  return { dtype: dtype as SafetensorsDType, shape, begin, end };
}

function parseMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || !Object.values(value).every((text) => typeof text === "string")) {
    return fail("__metadata__ does not map text to text.");
  }
  return value as Record<string, string>;
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
