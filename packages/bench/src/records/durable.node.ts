import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** Writes all bytes to an open file and returns when they are on the disk. */
export function writeDurably(descriptor: number, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.byteLength; ) offset += writeSync(descriptor, bytes, offset);
  fsyncSync(descriptor);
}

/**
 * Puts a file in place as a whole: whoever looks sees the old one or the new one, never a part, whenever the process
 * or the machine stops.
 */
export function replaceFile(path: string, bytes: Uint8Array): void {
  // One writer per path is the rule here, so that a fixed name is enough and a leftover of a killed writer is reused.
  const temporary = `${path}.tmp`;
  const descriptor = openSync(temporary, "w");
  try {
    writeDurably(descriptor, bytes);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Makes a new or renamed directory entry durable. Windows has no such call for folders, and needs none. */
export function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
