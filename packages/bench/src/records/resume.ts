import { ArgumentError, decodeSafetensors, type SafetensorsFile } from "@thalweg/tensor";
import { RecordError } from "../errors";
import { formatProblem, parseRecord, type RunRecord } from "./reader";
import type { StoredRun } from "./store";

/** What is already there for a configuration. */
export type ExistingRun =
  | { readonly kind: "none" }
  /** It came to its end. */
  | { readonly kind: "complete"; readonly record: RunRecord }
  /** It was killed before its first checkpoint: it starts again from step 0, in the same record. */
  | { readonly kind: "restart"; readonly record: RunRecord }
  /** It was killed after a checkpoint, and goes on from `step`. */
  | {
      readonly kind: "resume";
      readonly record: RunRecord;
      readonly step: number;
      readonly checkpoint: SafetensorsFile;
    };

/**
 * Looks at what a run has left where it is kept, and finds its last checkpoint.
 *
 * The checkpoint itself says at which step it was written: it is replaced before its line in the record is written, so
 * after a kill between the two it is one ahead of the record's last checkpoint line.
 *
 * @throws RecordError if the record or the checkpoint is damaged by more than a torn last line.
 */
export async function findExistingRun(stored: StoredRun): Promise<ExistingRun> {
  const { path, checkpoint: name } = stored;
  const content = await stored.read();
  if (content === undefined) return { kind: "none" };
  const record = parseRecord(content, path);
  const [problem] = record.problems;
  if (problem !== undefined) {
    throw new RecordError(`${formatProblem(problem)}. The run cannot be resumed; move the file away to start it anew.`);
  }
  if (record.end !== undefined && record.end.status !== "killed") return { kind: "complete", record };
  const bytes = await stored.readCheckpoint();
  if (bytes === undefined) return { kind: "restart", record };
  const checkpoint = asRecordErrors(() => decodeSafetensors(bytes, name));
  const { id } = record.header;
  if (checkpoint.metadata.id !== id) {
    throw new RecordError(
      `${name}: checkpoint of run ${checkpoint.metadata.id ?? "(unnamed)"}, expected ${id}. Move it away to start the run anew.`,
    );
  }
  const step = Number(checkpoint.metadata.step);
  if (!record.evaluations.some((evaluation) => evaluation.step === step)) {
    throw new RecordError(`${name}: checkpoint at step ${step}, of which ${path} knows nothing. Move both away.`);
  }
  return { kind: "resume", record, step, checkpoint };
}

/**
 * Records in `records` whose runs did not come to their end: killed with or without a last word.
 */
export function unfinishedRuns(records: readonly RunRecord[]): readonly RunRecord[] {
  return records.filter(({ end }) => end === undefined || end.status === "killed");
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
