import { RecordError } from "../errors";
import { encodeLine } from "./codec";
import { parseRecord } from "./reader";
import type { HeaderLine, RecordLine } from "./schema";
import type { StoredRun } from "./store";

/**
 * Appends to one record.
 *
 * `append` resolves when its lines are safe where the store keeps them, so that nothing that it was given is lost when the
 * process is killed. What a kill can leave is a torn last line, which {@link RecordWriter.reopen} cuts off.
 */
export class RecordWriter {
  readonly #stored: StoredRun;
  #isClosed = false;

  private constructor(stored: StoredRun) {
    this.#stored = stored;
  }

  /**
   * Starts a new record with its header.
   *
   * @throws RecordError if there is one: a record is never written over.
   */
  static async create(stored: StoredRun, header: HeaderLine): Promise<RecordWriter> {
    if ((await stored.read()) !== undefined) {
      throw new RecordError(`${stored.path}: the record exists. Resume it, or write to another folder.`);
    }
    await stored.create(encodeLine(header));
    return new RecordWriter(stored);
  }

  /** Opens a record to go on with it, and cuts off a torn last line. */
  static async reopen(stored: StoredRun): Promise<RecordWriter> {
    const bytes = (await stored.read()) ?? new Uint8Array();
    const { completeBytes } = parseRecord(bytes, stored.path);
    if (completeBytes < bytes.byteLength) await stored.truncate(completeBytes);
    return new RecordWriter(stored);
  }

  /** Appends lines in one write. */
  async append(...lines: readonly RecordLine[]): Promise<void> {
    if (this.#isClosed) throw new RecordError(`${this.#stored.path}: the record is closed.`);
    if (lines.length > 0) await this.#stored.append(lines.map(encodeLine).join(""));
  }

  /** Closes the record. A second call does nothing. */
  close(): void {
    this.#isClosed = true;
    this.#stored.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
