import type { AdapterDescription } from "../device/adapter";
import type { TuningStoreModule } from "./store";
import { documentName, formatTable, parseTable, type TunedEntry } from "./table";

/**
 * Whether measurements on the device choose variants of kernels.
 *
 * - `false`: heuristics choose; nothing is read and nothing is measured.
 * - `"known"`: what was measured before and kept is used, and nothing is measured.
 * - `true`: as `"known"`, and `prepare` of a compiled function measures what it needs and is not known.
 */
export type TuneMode = boolean | "known";

/** What became of one variant. */
export interface CandidateReport {
  readonly variant: Readonly<Record<string, unknown>>;
  /** Median of one dispatch; null if it was not measured to the end. */
  readonly nanoseconds: number | null;
  readonly outcome:
    | "measured"
    /** Its first run took so long that more would have told nothing. */
    | "slow"
    /** It did not compile or run. */
    | "failed"
    /** Its results differ from those of the first variant by more than rounding. */
    | "wrong";
  /** Why, where it failed or was wrong. */
  readonly reason?: string;
}

/** What was measured for one class of problems. */
export interface ClassReport {
  /** The class, as in the table. */
  readonly key: string;
  /** The kernel that was measured. */
  readonly label: string;
  /** The first is what the engine chooses without a table. */
  readonly candidates: readonly CandidateReport[];
  readonly chosen: Readonly<Record<string, unknown>>;
  /** Time of the first variant over that of the chosen one; 1 if they are the same. */
  readonly speedup: number;
}

/** What one call of `tune` did. */
export interface TuningReport {
  /** Classes that were measured now. */
  readonly measured: readonly ClassReport[];
  /** Classes that were in the table already. */
  readonly known: number;
  /** False if the table could not be kept on disk or in the browser; it serves this device all the same. */
  readonly saved: boolean;
}

/** The measurements of a device: what is in memory and what is kept beyond it. */
export class Tuning {
  /** What programs of this device do where they do not say otherwise. */
  readonly mode: TuneMode;
  readonly #adapter: AdapterDescription;
  readonly #store: () => Promise<TuningStoreModule>;
  #entries: ReadonlyMap<string, TunedEntry> = new Map();
  #loading: Promise<void> | undefined;
  #reports: readonly ClassReport[] = [];

  constructor(mode: TuneMode, adapter: AdapterDescription, store: () => Promise<TuningStoreModule>) {
    this.mode = mode;
    this.#adapter = adapter;
    this.#store = store;
  }

  /** By class. Another object after every change, so that plans can tell which table they were made with. */
  get entries(): ReadonlyMap<string, TunedEntry> {
    return this.#entries;
  }

  /** Everything that was measured on this device since it was opened, also by `prepare`. */
  get reports(): readonly ClassReport[] {
    return this.#reports;
  }

  /** Reads what is kept, once. What cannot be read counts as not there. */
  load(): Promise<void> {
    this.#loading ??= this.#read();
    return this.#loading;
  }

  /** Takes up what was measured and keeps it, beside what others have kept meanwhile. @returns false if it cannot be kept. */
  async add(found: ReadonlyMap<string, TunedEntry>, reports: readonly ClassReport[]): Promise<boolean> {
    this.#reports = [...this.#reports, ...reports];
    if (found.size === 0) return true;
    this.#entries = new Map([...this.#entries, ...found]);
    try {
      const { updateStored } = await this.#store();
      await updateStored(documentName(this.#adapter), (before) =>
        formatTable(this.#adapter, new Map([...parseTable(this.#adapter, before), ...found])),
      );
      return true;
    } catch {
      // A disk that is full or read-only, a browser that keeps nothing: what was measured serves until the end.
      return false;
    }
  }

  async #read(): Promise<void> {
    try {
      const { readStored } = await this.#store();
      const kept = parseTable(this.#adapter, await readStored(documentName(this.#adapter)));
      this.#entries = new Map([...kept, ...this.#entries]);
    } catch {
      // As in `add`.
    }
  }
}
