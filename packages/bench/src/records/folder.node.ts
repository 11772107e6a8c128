import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { replaceFile, writeDurably } from "./durable.node.js";
import type { RunConfiguration } from "./schema";
import { type RunStore, runName, type StoredRun } from "./store";

/**
 * The file of a run below a results folder: `records/digits__adam__seed42__0123456789ab.jsonl`.
 *
 * @param place Where the run was made, if not in Node: a folder below `records/`.
 */
export function recordPath(folder: string, configuration: RunConfiguration, place = ""): string {
  return join(folder, "records", place, `${runName(configuration)}.jsonl`);
}

/** The checkpoint of a record lies beside it. */
export function checkpointPath(record: string): string {
  return join(dirname(record), `${basename(record, ".jsonl")}.safetensors`);
}

/**
 * Keeps records and checkpoints in `records/` of a folder, which is made where it is missing. What it was given is on the
 * disk when its promises resolve, so that a kill can lose no more than a torn last line.
 *
 * @param place Where the runs are made, if not in Node. The same run in two places is two records: a browser's lie in a
 *   folder of their own below `records/`.
 */
export function folderStore(folder: string, place?: string): RunStore {
  return { open: async (configuration) => new FolderRun(recordPath(folder, configuration, place)) };
}

class FolderRun implements StoredRun {
  readonly path: string;
  readonly checkpoint: string;
  #descriptor: number | undefined;

  constructor(path: string) {
    this.path = path;
    this.checkpoint = basename(checkpointPath(path));
  }

  async read(): Promise<Uint8Array | undefined> {
    return readIfThere(this.path);
  }

  async readCheckpoint(): Promise<Uint8Array | undefined> {
    return readIfThere(checkpointPath(this.path));
  }

  async create(text: string): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true });
    replaceFile(this.path, Buffer.from(text));
  }

  async append(text: string): Promise<void> {
    this.#descriptor ??= openSync(this.path, "a");
    writeDurably(this.#descriptor, Buffer.from(text));
  }

  async truncate(bytes: number): Promise<void> {
    const descriptor = openSync(this.path, "r+");
    ftruncateSync(descriptor, bytes);
    closeSync(descriptor);
  }

  async replaceCheckpoint(bytes: Uint8Array): Promise<void> {
    replaceFile(checkpointPath(this.path), bytes);
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

const readIfThere = (path: string): Uint8Array | undefined => (existsSync(path) ? readFileSync(path) : undefined);
