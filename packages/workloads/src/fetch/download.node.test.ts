import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { type DownloadOptions, type DownloadProgress, downloadFile } from "./download.node.js";

const content = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, index) => (index * 31 + (index >> 8)) & 0xff));
const sum = createHash("sha256").update(content).digest("hex");

let folder: string;
let server: Server | undefined;
/** The `range` header of every request, in order. */
let ranges: (string | undefined)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "thalweg-download-"));
  ranges = [];
});

afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
  await rm(folder, { recursive: true });
});

/** Starts a server on this machine and gives the options of a download from it. */
async function serve(listener: RequestListener): Promise<DownloadOptions> {
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    listener(request, response);
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const path = join(folder, "sub", "data.gz");
  return { address: `http://127.0.0.1:${port}/data.gz`, path, bytes: content.length, sha256: sum, pauseMs: 1 };
}

/** Answers as a good server does; `stopAfter` breaks the connection after so many bytes of the first answer. */
function goodServer({ stopAfter = Number.POSITIVE_INFINITY, withRanges = true } = {}): RequestListener {
  let answers = 0;
  return (request, response) => {
    const asked = withRanges ? /^bytes=(\d+)-$/.exec(request.headers.range ?? "") : null;
    const start = asked ? Number(asked[1]) : 0;
    const headers = { "content-length": content.length - start };
    if (start >= content.length) {
      response.writeHead(416).end();
      return;
    }
    if (asked) {
      response.writeHead(206, {
        ...headers,
        "content-range": `bytes ${start}-${content.length - 1}/${content.length}`,
      });
    } else {
      response.writeHead(200, headers);
    }
    if (answers++ === 0 && stopAfter < content.length) {
      response.write(content.subarray(start, start + stopAfter), () => setTimeout(() => response.destroy(), 30));
    } else {
      response.end(content.subarray(start));
    }
  };
}

describe("downloadFile", () => {
  it("writes the file and reports progress", async () => {
    const options = await serve(goodServer());
    const progress: DownloadProgress[] = [];
    await downloadFile({ ...options, onProgress: (report) => progress.push(report) });
    expect((await readFile(options.path)).equals(content)).toBe(true);
    expect(existsSync(`${options.path}.part`)).toBe(false);
    const last = progress.at(-1);
    expect(last).toMatchObject({ bytesDone: content.length, bytesTotal: content.length });
    expect(last?.bytesPerSecond).toBeGreaterThan(0);
    expect(progress.map(({ bytesDone }) => bytesDone)).toEqual(progress.map((p) => p.bytesDone).sort((a, b) => a - b));
  });

  it("goes on where the connection broke", async () => {
    const options = await serve(goodServer({ stopAfter: 100_000 }));
    await downloadFile(options);
    expect((await readFile(options.path)).equals(content)).toBe(true);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1)).toEqual([expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
  });

  it("goes on from what an earlier call left", async () => {
    const options = await serve(goodServer({ stopAfter: 100_000 }));
    await expect(downloadFile({ ...options, retries: 0 })).rejects.toThrow(/connection broke 1 times.*Run the same/);
    expect(existsSync(options.path)).toBe(false);
    const partial = (await readFile(`${options.path}.part`)).length;
    expect(partial).toBeGreaterThan(0);
    await downloadFile(options);
    expect(ranges.at(-1)).toBe(`bytes=${partial}-`);
    expect((await readFile(options.path)).equals(content)).toBe(true);
  });

  it("starts again with a server that knows no ranges", async () => {
    const options = await serve(goodServer({ stopAfter: 100_000, withRanges: false }));
    await downloadFile(options);
    expect(ranges).toHaveLength(2);
    expect((await readFile(options.path)).equals(content)).toBe(true);
  });

  it("starts again if the earlier part was of another file", async () => {
    const options = await serve(goodServer());
    await downloadFile(options);
    await rm(options.path);
    await writeFile(`${options.path}.part`, Buffer.alloc(1000, 1));
    await downloadFile(options);
    expect(ranges.slice(1)).toEqual(["bytes=1000-", undefined]);
    expect((await readFile(options.path)).equals(content)).toBe(true);
  });

  it("starts again if the earlier part is longer than the file", async () => {
    const options = await serve(goodServer());
    await downloadFile(options);
    await writeFile(`${options.path}.part`, Buffer.alloc(content.length + 1));
    await downloadFile(options);
    expect(ranges).toEqual([undefined, undefined]);
  });

  it("needs no request if the earlier part is complete", async () => {
    const options = await serve(goodServer());
    await downloadFile(options);
    await writeFile(`${options.path}.part`, content);
    await downloadFile(options);
    expect(ranges).toHaveLength(1);
  });

  it("sets a file with a wrong checksum aside and never uses it", async () => {
    const other = Buffer.alloc(content.length, 5);
    const options = await serve((_, response) => response.end(other));
    const download = downloadFile(options);
    await expect(download).rejects.toThrow(DataError);
    await expect(download).rejects.toThrow(/wrong SHA-256; the file was set aside as .*data\.gz\.bad/);
    expect(existsSync(options.path)).toBe(false);
    expect((await readFile(`${options.path}.bad`)).equals(other)).toBe(true);
  });

  it("refuses a file that is too long", async () => {
    const options = await serve((_, response) => response.end(Buffer.concat([content, content])));
    await expect(downloadFile(options)).rejects.toThrow(
      "the server sends more than the file has (expected 300000 bytes)",
    );
    expect(existsSync(options.path)).toBe(false);
  });

  it("names the file's size if the server's file is shorter", async () => {
    const options = await serve((_, response) => response.end(content.subarray(0, 5000)));
    await expect(downloadFile({ ...options, retries: 1 })).rejects.toThrow(
      /broke 2 times.*expected 300000 bytes, found 5000/,
    );
  });

  it.each([404, 500])("does not try again when the server answers %i", async (status) => {
    const options = await serve((_, response) => response.writeHead(status).end("sorry"));
    await expect(downloadFile(options)).rejects.toThrow(`the server answers ${status}`);
    expect(ranges).toHaveLength(1);
    expect(existsSync(options.path)).toBe(false);
  });

  it("says that nobody answers at the address", async () => {
    const options = await serve(goodServer());
    await new Promise((resolve) => server?.close(resolve));
    server = undefined;
    await expect(downloadFile({ ...options, retries: 0 })).rejects.toThrow(/ECONNREFUSED/);
  });

  it("stops when asked and keeps what has arrived", async () => {
    const stop = new AbortController();
    const options = await serve((_, response) => {
      response.writeHead(200, { "content-length": content.length });
      response.write(content.subarray(0, 50_000));
    });
    const download = downloadFile({ ...options, signal: stop.signal, onProgress: () => stop.abort() });
    await expect(download).rejects.toThrow(/abort/i);
    expect((await readFile(`${options.path}.part`)).length).toBeGreaterThan(0);
  });
});
