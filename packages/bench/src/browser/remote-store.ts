import { RecordError } from "../errors";
import type { RunStore, StoredRun } from "../records/store";
import type { OpenedRun, RunnerHost } from "./protocol";

/** The store of the process that serves this page: each method of a run is a request to it. */
export function remoteStore({ thalwegOpenRun }: Pick<RunnerHost, "thalwegOpenRun">): RunStore {
  return { open: async (configuration) => new RemoteRun(await thalwegOpenRun(configuration)) };
}

class RemoteRun implements StoredRun {
  readonly path: string;
  readonly checkpoint: string;
  readonly #id: number;

  constructor({ id, path, checkpoint }: OpenedRun) {
    this.#id = id;
    this.path = path;
    this.checkpoint = checkpoint;
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#call("read");
  }

  readCheckpoint(): Promise<Uint8Array | undefined> {
    return this.#call("readCheckpoint");
  }

  async create(text: string): Promise<void> {
    await this.#call("create", text);
  }

  async append(text: string): Promise<void> {
    await this.#call("append", text);
  }

  async truncate(bytes: number): Promise<void> {
    await this.#call("truncate", String(bytes));
  }

  async replaceCheckpoint(bytes: Uint8Array): Promise<void> {
    // A request takes no view on shared memory, which the type of a view cannot exclude: the copy does.
    await this.#call("replaceCheckpoint", bytes.buffer instanceof ArrayBuffer ? (bytes as BodyPart) : bytes.slice());
  }

  close(): void {
    // Node closes what is still open when the page is gone; here nobody waits for the answer.
    void this.#call("close").catch(() => undefined);
  }

  async #call(method: keyof StoredRun, body: BodyInit = ""): Promise<Uint8Array | undefined> {
    const response = await fetch(`runs/${this.#id}/${method}`, { method: "POST", body });
    if (!response.ok) throw new RecordError(`${this.path}: ${await response.text()}`);
    return response.status === 204 ? undefined : new Uint8Array(await response.arrayBuffer());
  }
}

type BodyPart = Uint8Array<ArrayBuffer>;
