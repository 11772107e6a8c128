import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { SafetensorsFile } from "@thalweg/tensor";
import { RecordError } from "../errors";
import { configurationId } from "./codec";
import { formatProblem, type RunRecord, readRecord } from "./reader";
import { readSafetensors } from "./safetensors";
import type { RunConfiguration } from "./schema";

/**
 * The file of a run below a results folder: `records/digits__adam__seed42__0123456789ab.jsonl`. A configuration has one
 * file, so that a second run of the same finds the first one.
 */
export function recordPath(folder: string, configuration: RunConfiguration): string {
  const { workload, optimizer, seed } = configuration;
  // Names of custom workloads and optimizers may hold anything; the identity tells apart what becomes equal here.
  const safe = (name: string) => name.replace(/[^A-Za-z0-9_.-]/g, "-");
  const name = `${safe(workload)}__${safe(optimizer)}__seed${seed}__${configurationId(configuration)}.jsonl`;
  return join(folder, "records", name);
}

/** The checkpoint of a record lies beside it. */
export function checkpointPath(record: string): string {
  return join(dirname(record), `${basename(record, ".jsonl")}.safetensors`);
}

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
 * Looks at what a configuration has left in a results folder, and finds its last checkpoint.
 *
 * The checkpoint file itself says at which step it was written: it is replaced before its line in the record is
 * written, so after a kill between the two it is one ahead of the record's last checkpoint line.
 *
 * @throws RecordError if the record or the checkpoint is damaged by more than a torn last line.
 */
export function findExistingRun(folder: string, configuration: RunConfiguration): ExistingRun {
  const path = recordPath(folder, configuration);
  if (!existsSync(path)) return { kind: "none" };
  const record = readRecord(path);
  const [problem] = record.problems;
  if (problem !== undefined) {
    throw new RecordError(`${formatProblem(problem)}. The run cannot be resumed; move the file away to start it anew.`);
  }
  if (record.end !== undefined && record.end.status !== "killed") return { kind: "complete", record };
  const file = checkpointPath(path);
  if (!existsSync(file)) return { kind: "restart", record };
  const checkpoint = readSafetensors(file);
  const { id } = record.header;
  if (checkpoint.metadata.id !== id) {
    throw new RecordError(
      `${file}: checkpoint of run ${checkpoint.metadata.id ?? "(unnamed)"}, expected ${id}. Move it away to start the run anew.`,
    );
  }
  const step = Number(checkpoint.metadata.step);
  if (!record.evaluations.some((evaluation) => evaluation.step === step)) {
    throw new RecordError(`${file}: checkpoint at step ${step}, of which ${path} knows nothing. Move both away.`);
  }
  return { kind: "resume", record, step, checkpoint };
}

/**
 * Records in `records` whose runs did not come to their end: killed with or without a last word.
 */
export function unfinishedRuns(records: readonly RunRecord[]): readonly RunRecord[] {
  return records.filter(({ end }) => end === undefined || end.status === "killed");
}
