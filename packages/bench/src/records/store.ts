import { configurationId } from "./codec";
import type { RunConfiguration } from "./schema";

/**
 * Where records and checkpoints are kept: a folder on a disk, memory, or whoever listens at the other end of a line. A
 * configuration has one place, so that a second run of the same finds the first one.
 */
export interface RunStore {
  /** The place of a run. */
  open(configuration: RunConfiguration): Promise<StoredRun>;
}

/** Two files: the record, to which lines are appended, and the last checkpoint, which is replaced. */
export interface StoredRun {
  /** What messages call the record: its path, or its name. */
  readonly path: string;
  /** Name of the checkpoint, which lies beside the record. */
  readonly checkpoint: string;
  /** The record as it stands; undefined if there is none. */
  read(): Promise<Uint8Array | undefined>;
  /** The last checkpoint; undefined if there is none. */
  readCheckpoint(): Promise<Uint8Array | undefined>;
  /** Starts the record with its first line, which appears as a whole or not at all. */
  create(text: string): Promise<void>;
  /** Appends to the record, and resolves when nothing of it can be lost any more. */
  append(text: string): Promise<void>;
  /** Cuts the record off after so many bytes. */
  truncate(bytes: number): Promise<void>;
  /** Replaces the checkpoint: whoever reads sees the old one or the new one. Resolves when it cannot be lost any more. */
  replaceCheckpoint(bytes: Uint8Array): Promise<void>;
  /** Lets go of what is open. A second call does nothing. */
  close(): void;
}

/** The name of a run's record, without its ending: `digits__adam__seed42__0123456789ab`. */
export function runName(configuration: RunConfiguration): string {
  const { workload, optimizer, seed } = configuration;
  // Names of custom workloads and optimizers may hold anything; the identity tells apart what becomes equal here.
  const safe = (name: string) => name.replace(/[^A-Za-z0-9_.-]/g, "-");
  return `${safe(workload)}__${safe(optimizer)}__seed${seed}__${configurationId(configuration)}`;
}

/** Keeps records and checkpoints in memory, for as long as the store itself is kept. */
export function memoryStore(): RunStore {
  const runs = new Map<string, MemoryRun>();
  return {
    async open(configuration) {
      const name = runName(configuration);
      const run = runs.get(name) ?? new MemoryRun(name);
      runs.set(name, run);
      return run;
    },
  };
}

class MemoryRun implements StoredRun {
  readonly path: string;
  readonly checkpoint: string;
  #record: Uint8Array | undefined;
  #checkpoint: Uint8Array | undefined;

  constructor(name: string) {
    this.path = `${name}.jsonl`;
    this.checkpoint = `${name}.safetensors`;
  }

  async read(): Promise<Uint8Array | undefined> {
    return this.#record;
  }

  async readCheckpoint(): Promise<Uint8Array | undefined> {
    return this.#checkpoint;
  }

  async create(text: string): Promise<void> {
    this.#record = new TextEncoder().encode(text);
  }

  async append(text: string): Promise<void> {
    const before = this.#record ?? new Uint8Array();
    const added = new TextEncoder().encode(text);
    const record = new Uint8Array(before.length + added.length);
    record.set(before);
    record.set(added, before.length);
    this.#record = record;
  }

  async truncate(bytes: number): Promise<void> {
    this.#record = this.#record?.slice(0, bytes);
  }

  async replaceCheckpoint(bytes: Uint8Array): Promise<void> {
    this.#checkpoint = bytes.slice();
  }

  close(): void {}
}
