import {
  ArgumentError,
  type DType,
  formatPath,
  formatShape,
  Tensor,
  tensor,
  treeFlatten,
  treeUnflatten,
} from "@thalweg/tensor";
import { RecordError } from "../errors";
import type { SafetensorsDType, SafetensorsEntry, SafetensorsFile } from "../records/safetensors";
import { writeSafetensors } from "../records/safetensors";

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

/** Where and as what a checkpoint is written. */
export interface CheckpointOptions {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Reads every tensor of a tree from the device and writes them, by their paths, as one file. Returns its bytes. */
export async function saveCheckpoint(tree: unknown, { path, metadata }: CheckpointOptions): Promise<number> {
  const { leaves, paths } = treeFlatten<Tensor>(tree, isTensor);
  const values = await Promise.all(leaves.map((leaf) => leaf.data()));
  const tensors: Record<string, SafetensorsEntry> = {};
  values.forEach((value, index) => {
    // Leaves, paths and values have one length.
    const { dtype, shape } = leaves[index] as Tensor;
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    tensors[formatPath(paths[index] ?? [])] = { dtype: storedAs[dtype], shape, bytes };
  });
  return writeSafetensors(path, { tensors, metadata });
}

/**
 * A tree of the same structure, shapes and types as `like`, with the numbers of a checkpoint.
 *
 * @throws RecordError if a tensor is missing, or has another shape or type.
 */
export function restoreCheckpoint<T>(like: T, { tensors }: SafetensorsFile, path: string): T {
  const { leaves, paths, structure } = treeFlatten<Tensor>(like, isTensor);
  const restored = leaves.map((leaf, index) => {
    const name = formatPath(paths[index] ?? []);
    const entry = tensors[name];
    const expected = `${storedAs[leaf.dtype]} ${formatShape(leaf.shape)}`;
    if (entry === undefined) throw new RecordError(`${path}: tensor ${name} (${expected}) is missing.`);
    const found = `${entry.dtype} ${formatShape(entry.shape)}`;
    if (found !== expected) throw new RecordError(`${path}: tensor ${name} is ${found}, this run needs ${expected}.`);
    return tensor(elementsOf(entry), { shape: leaf.shape, dtype: leaf.dtype });
  });
  // The structure is that of `like`, and every leaf has been replaced by a tensor.
  return treeUnflatten(structure, restored) as T;
}

function elementsOf({ dtype, bytes }: SafetensorsEntry): Float32Array | Int32Array | Uint32Array | Uint8Array {
  // A copy of its own: the file's buffer has the tensors at any offset, which typed arrays of words do not take.
  const { buffer } = Uint8Array.from(bytes);
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "I32":
      return new Int32Array(buffer);
    case "U32":
      return new Uint32Array(buffer);
    case "BOOL":
      return new Uint8Array(buffer);
    default:
      throw new ArgumentError(`checkpoint: element type ${dtype} is not used by tensors.`);
  }
}

const isTensor = (value: unknown): boolean => value instanceof Tensor;
