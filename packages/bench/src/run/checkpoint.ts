import { fromSafetensors, type SafetensorsFile, toSafetensors } from "@thalweg/tensor";
import { replaceFile } from "../records/durable";
import { asRecordErrors } from "../records/safetensors";

/** Where and as what a checkpoint is written. */
export interface CheckpointOptions {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads every tensor of a tree from the device and writes them, by their paths, as one file, which appears as a whole or
 * not at all. Waits until it is on the disk. Returns its bytes.
 */
export async function saveCheckpoint(tree: unknown, { path, metadata }: CheckpointOptions): Promise<number> {
  const bytes = await toSafetensors(tree, metadata);
  replaceFile(path, bytes);
  return bytes.byteLength;
}

/**
 * A tree of the same structure, shapes and types as `like`, with the numbers of a checkpoint.
 *
 * @throws RecordError if a tensor is missing, or has another shape or type.
 */
export function restoreCheckpoint<T>(like: T, content: SafetensorsFile, path: string): T {
  return asRecordErrors(() => fromSafetensors(content, like, path));
}
