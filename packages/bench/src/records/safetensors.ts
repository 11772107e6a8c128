import { readFileSync } from "node:fs";
import { ArgumentError, decodeSafetensors, type SafetensorsFile } from "@thalweg/tensor";
import { RecordError } from "../errors";

/** Reads a file. @throws RecordError for a file that is cut off or breaks a rule of the format: it names both. */
export function readSafetensors(path: string): SafetensorsFile {
  return asRecordErrors(() => decodeSafetensors(readFileSync(path), path));
}

/** What is wrong with the content of a file is no misuse by the caller. */
export function asRecordErrors<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ArgumentError) throw new RecordError(error.message, { cause: error });
    throw error;
  }
}
