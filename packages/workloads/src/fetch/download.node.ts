import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { DataError } from "../errors";

/** How far a download is. */
export interface DownloadProgress {
  /** Bytes on the disk, those of an earlier attempt included. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Mean rate since this call began; bytes of an earlier attempt do not count. */
  readonly bytesPerSecond: number;
}

/** What {@link downloadFile} fetches, and how. */
export interface DownloadOptions {
  readonly address: string;
  /** Path of the finished file. Until it is complete and checked, the bytes lie beside it in a `.part` file. */
  readonly path: string;
  /** Size of the complete file in bytes. */
  readonly bytes: number;
  /** SHA-256 of the complete file. */
  readonly sha256: string;
  /** Called after every piece that was written. */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Stops the download; what has arrived stays in the `.part` file. */
  readonly signal?: AbortSignal | undefined;
  /** How often a broken connection is taken up again where it broke. Default 3. */
  readonly retries?: number | undefined;
  /** Pause before a broken connection is taken up again, in milliseconds. Default 1000. */
  readonly pauseMs?: number | undefined;
}

/**
 * Downloads one file. A download that was broken off goes on where it stopped, now or in a later call, if the server
 * offers byte ranges. The file appears under its name only after its checksum was found right; a complete file with a
 * wrong checksum is set aside with the ending `.bad`.
 *
 * @throws DataError if the server refuses, the connection breaks too often, or the file is not the expected one.
 */
export async function downloadFile(options: DownloadOptions): Promise<void> {
  const { address, path, sha256 } = options;
  const part = `${path}.part`;
  await mkdir(dirname(path), { recursive: true });
  const resumed = (await sizeOf(part)) > 0;
  await fillPart(part, options);
  let found = await hashFile(part);
  if (found !== sha256 && resumed) {
    // The start may have come from another file of the same name: one fresh attempt tells.
    await rm(part);
    await fillPart(part, options);
    found = await hashFile(part);
  }
  if (found === sha256) return rename(part, path);

  const bad = `${path}.bad`;
  await rename(part, bad);
  throw new DataError({
    file: address,
    problem: `wrong SHA-256; the file was set aside as ${bad} and is not used`,
    expected: sha256,
    found,
    fix: "Try again later, or get the file elsewhere and set THALWEG_DATA to its folder.",
  });
}

/** SHA-256 of a file in hexadecimal digits, read in pieces. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}

/** A connection that ended before the file did; unlike other errors it is worth another try. */
class BrokenConnection extends Error {}

/** Requests what the part file lacks until it has its full size. */
async function fillPart(part: string, options: DownloadOptions): Promise<void> {
  const { address, bytes, signal, retries = 3, pauseMs = 1000 } = options;
  const rate = meter();
  for (let attempt = 0; ; attempt++) {
    try {
      return await requestRest(part, options, rate);
    } catch (cause) {
      signal?.throwIfAborted();
      if (!(cause instanceof BrokenConnection)) throw cause;
      if (attempt >= retries) {
        throw new DataError({
          file: address,
          problem: `the connection broke ${attempt + 1} times: ${cause.message}`,
          expected: `${bytes} bytes`,
          found: `${await sizeOf(part)}`,
          fix: "Run the same command again: it goes on where this one stopped.",
          cause: cause.cause,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

/** Counts arriving bytes and knows their mean rate. */
type Meter = (arrived: number) => number;

function meter(): Meter {
  const start = performance.now();
  let total = 0;
  return (arrived) => {
    total += arrived;
    return total / Math.max((performance.now() - start) / 1000, 1e-3);
  };
}

/** One request: appends what the server sends to the part file. */
async function requestRest(part: string, options: DownloadOptions, rate: Meter): Promise<void> {
  const { address, bytes, onProgress, signal } = options;
  let done = await sizeOf(part);
  if (done > bytes) {
    await rm(part);
    done = 0;
  }
  if (done === bytes) return;

  const response = await request(address, done, signal);
  if (response.status === 416) {
    // The server's file is shorter than what is here, so they are not the same file.
    await rm(part, { force: true });
    throw new BrokenConnection("the server refused to go on at this position");
  }
  if (!response.ok || response.body === null) {
    throw new DataError({
      file: address,
      problem: `the server answers ${response.status} ${response.statusText}`.trimEnd(),
      fix: "Check the network (a proxy?), or get the file elsewhere and set THALWEG_DATA to its folder.",
    });
  }
  // A server without ranges, or with a mind of its own, sends the whole file again.
  const goesOn =
    response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${done}-`) === true;
  if (response.status === 206 && !goesOn) {
    await rm(part, { force: true });
    throw new BrokenConnection("the server sent another range than it was asked for");
  }
  if (!goesOn) done = 0;

  const output = await open(part, goesOn ? "a" : "w");
  try {
    for await (const piece of readPieces(response.body)) {
      if (done + piece.length > bytes) throw tooLong(address, bytes);
      await output.writeFile(piece);
      done += piece.length;
      onProgress?.({ bytesDone: done, bytesTotal: bytes, bytesPerSecond: rate(piece.length) });
    }
  } finally {
    await output.close();
  }
  if (done < bytes) throw new BrokenConnection(`the file ended after ${done} of ${bytes} bytes`);
}

async function request(address: string, from: number, signal: AbortSignal | undefined): Promise<Response> {
  try {
    return await fetch(address, { headers: from > 0 ? { range: `bytes=${from}-` } : {}, signal: signal ?? null });
  } catch (cause) {
    throw new BrokenConnection(describeCause(cause), { cause });
  }
}

/** The body's pieces; a connection that breaks becomes {@link BrokenConnection}. */
async function* readPieces(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw new BrokenConnection(describeCause(cause), { cause });
      });
      if (done) return;
      yield value;
    }
  } finally {
    // Leaving the loop early must close the connection; the reason that it may already be closed is known by then.
    await reader.cancel().catch(() => undefined);
  }
}

/** Node's `fetch` says only "fetch failed"; what failed is the error's cause. */
function describeCause(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return inner instanceof Error ? inner.message : String(inner);
}

function tooLong(address: string, bytes: number): DataError {
  const fix = "Try again later, or get the file elsewhere and set THALWEG_DATA to its folder.";
  return new DataError({
    file: address,
    problem: "the server sends more than the file has",
    expected: `${bytes} bytes`,
    fix,
  });
}

/** Size of a file in bytes, 0 if there is none. */
async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}
