import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { RecordError } from "../errors";
import { encodeLine } from "./codec";
import { replaceFile, writeDurably } from "./durable";
import { readRecord } from "./reader";
import type { HeaderLine, RecordLine } from "./schema";

/**
 * Appends to one record.
 *
 * `append` returns when its lines are on the disk, so that nothing that it was given is lost when the process is
 * killed. What a kill can leave is a torn last line, which {@link RecordWriter.reopen} cuts off.
 */
export class RecordWriter {
  readonly path: string;
  #descriptor: number | undefined;

  private constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  /**
   * Starts a new record with its header; makes the folder where it is missing.
   *
   * @throws RecordError if the file exists: a record is never written over.
   */
  static create(path: string, header: HeaderLine): RecordWriter {
    if (existsSync(path)) throw new RecordError(`${path}: the record exists. Resume it, or write to another folder.`);
    mkdirSync(dirname(path), { recursive: true });
    // The header appears as a whole, so that there is no such thing as a record with half a header.
    replaceFile(path, Buffer.from(encodeLine(header)));
    return new RecordWriter(path, openSync(path, "a"));
  }

  /** Opens a record to go on with it, and cuts off a torn last line. */
  static reopen(path: string): RecordWriter {
    const { completeBytes } = readRecord(path);
    const descriptor = openSync(path, "r+");
    ftruncateSync(descriptor, completeBytes);
    closeSync(descriptor);
    return new RecordWriter(path, openSync(path, "a"));
  }

  /** Appends lines in one write and waits until they are on the disk. */
  append(...lines: readonly RecordLine[]): void {
    if (this.#descriptor === undefined) throw new RecordError(`${this.path}: the record is closed.`);
    if (lines.length === 0) return;
    writeDurably(this.#descriptor, Buffer.from(lines.map(encodeLine).join("")));
  }

  /** Closes the file. A second call does nothing. */
  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
