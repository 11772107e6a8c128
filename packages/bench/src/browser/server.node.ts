import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { dataSources } from "@thalweg/workloads";
import { findFile } from "@thalweg/workloads/node";
import type { RunConfiguration } from "../records/schema";
import type { RunStore, StoredRun } from "../records/store";
import { type OpenedRun, pathHeader } from "./protocol";

/** What a page gets for a request: nothing of it is kept by the browser. */
interface Content {
  readonly body?: Uint8Array | string | undefined;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const page = `<!doctype html>
<html lang="en">
  <head><meta charset="utf-8" /><title>thalweg</title><link rel="icon" href="data:," /></head>
  <body><script type="module" src="runner.js"></script></body>
</html>`;

/**
 * Isolated from other origins a page gets a clock of 5 instead of 100 microseconds.
 *
 * @see https://developer.mozilla.org/docs/Web/API/Performance_API/High_precision_timing
 */
const isolation = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cache-control": "no-store",
};

/**
 * Serves a page that trains: its script, the files of data sets, and the store that its records go to. It listens on
 * localhost only, below an address that nobody else knows, so that other pages and users can neither read nor write.
 */
export class RunnerServer {
  readonly #script: string;
  readonly #runs: { readonly stored: StoredRun; last: Promise<unknown> }[] = [];
  readonly #base = `/${randomUUID()}/`;
  readonly #server = createServer((request, response) => void this.#respond(request, response));
  #store: RunStore | undefined;
  #failure: unknown;

  constructor(script: string) {
    this.#script = script;
  }

  /** Starts to listen. @returns The address of the page. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "localhost", resolve);
    });
    const { port } = this.#server.address() as AddressInfo;
    return `http://localhost:${port}${this.#base}`;
  }

  /** Runs are opened in this store from now on. */
  keepIn(store: RunStore): void {
    this.#store = store;
  }

  /** Opens the place of a run for the page. */
  async openRun(configuration: RunConfiguration): Promise<OpenedRun> {
    if (this.#store === undefined) throw new Error("a run was opened before there was a store");
    const stored = await this.#store.open(configuration);
    const id = this.#runs.push({ stored, last: Promise.resolve() }) - 1;
    return { id, path: stored.path, checkpoint: stored.checkpoint };
  }

  /** The run that was opened last under this path. */
  runAt(path: string): StoredRun | undefined {
    return this.#runs.findLast(({ stored }) => stored.path === path)?.stored;
  }

  /** The first error that a request met, which the page knows as text only. Asking takes it. */
  takeFailure(): unknown {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  /** Ends everything, and lets go of files that the page has left open. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    for (const { stored } of this.#runs) stored.close();
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const content = await this.#contentOf(request);
      if (content === undefined) {
        response.writeHead(404).end();
        return;
      }
      const { body, type = "application/octet-stream", headers } = content;
      response.writeHead(body === undefined ? 204 : 200, { "content-type": type, ...isolation, ...headers });
      response.end(body);
    } catch (error) {
      this.#failure ??= error;
      response.writeHead(500, { "content-type": "text/plain; charset=utf-8", ...isolation });
      response.end(error instanceof Error ? error.message : String(error));
    }
  }

  async #contentOf(request: IncomingMessage): Promise<Content | undefined> {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    if (!pathname.startsWith(this.#base)) return undefined;
    const [kind = "", name = "", detail = ""] = pathname.slice(this.#base.length).split("/");
    switch (kind) {
      case "":
        return { body: page, type: "text/html; charset=utf-8" };
      case "runner.js":
        return { body: this.#script, type: "text/javascript; charset=utf-8" };
      case "data":
        return dataFile(name, detail);
      case "runs":
        return this.#storeCall(Number(name), detail, await bodyOf(request));
      default:
        return undefined;
    }
  }

  /** Calls of one run are answered one after the other, as they came. */
  async #storeCall(id: number, method: string, body: Buffer): Promise<Content | undefined> {
    const run = this.#runs[id];
    if (run === undefined) return undefined;
    const call = run.last.then(() => callStored(run.stored, method, body));
    run.last = call.catch(() => undefined);
    return { body: (await call) ?? undefined };
  }
}

async function callStored(stored: StoredRun, method: string, body: Buffer): Promise<Uint8Array | undefined> {
  switch (method as keyof StoredRun) {
    case "read":
      return stored.read();
    case "readCheckpoint":
      return stored.readCheckpoint();
    case "create":
      await stored.create(body.toString("utf8"));
      return undefined;
    case "append":
      await stored.append(body.toString("utf8"));
      return undefined;
    case "truncate":
      await stored.truncate(Number(body.toString("utf8")));
      return undefined;
    case "replaceCheckpoint":
      await stored.replaceCheckpoint(body);
      return undefined;
    case "close":
      stored.close();
      return undefined;
    default:
      throw new Error(`a page asked for ${method} of a run`);
  }
}

/** A file of a known data set, packed as it lies on the disk. */
async function dataFile(folder: string, name: string): Promise<Content | undefined> {
  const source = Object.values(dataSources).find((known) => known.folder === folder);
  const file = Object.values(source?.files ?? {}).find((known) => known.name === name);
  if (source === undefined || file === undefined) return undefined;
  const path = await findFile(source, file, process.env);
  return { body: await readFile(path), headers: { [pathHeader]: encodeURIComponent(path) } };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
