import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { cacheFolder, localFolder } from "./cache.node.js";
import { checkDataset, fetchDataset } from "./dataset.node.js";
import { localFiles } from "./local.node.js";
import type { DataFile, IdxSource } from "./sources";

const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const texts = { trainImages: "train images", trainLabels: "train labels", testImages: "test images", testLabels: "t" };
const packed = new Map<string, Buffer>();

/** A data set of four tiny files, as its publisher offers them. */
function toySource(address: string): IdxSource {
  const file = (role: keyof typeof texts): DataFile => {
    const content = Buffer.from(texts[role].repeat(40));
    const bytes = gzipSync(content);
    packed.set(`${role}.gz`, bytes);
    const unpacked = { bytes: content.length, sha256: hash(content) };
    return { name: `${role}.gz`, bytes: bytes.length, sha256: hash(bytes), content: unpacked };
  };
  return {
    dataset: "toy",
    title: "Toy",
    folder: "toy-folder",
    address,
    licence: "none",
    citation: "none",
    files: {
      trainImages: file("trainImages"),
      trainLabels: file("trainLabels"),
      testImages: file("testImages"),
      testLabels: file("testLabels"),
    },
  };
}

let root: string;
let server: Server;
let source: IdxSource;
let requests: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "thalweg-local-"));
  requests = [];
  server = createServer((request, response) => {
    requests.push(request.url ?? "");
    const bytes = packed.get((request.url ?? "").replace("/files/", ""));
    if (bytes) response.end(bytes);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  source = toySource(`http://127.0.0.1:${(server.address() as AddressInfo).port}/files/`);
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(root, { recursive: true });
});

/** Puts a file of the toy data set below `root`. */
async function put(where: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(root, where, "toy-folder", name);
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, bytes);
  return path;
}

const environment = (data?: string) => ({
  THALWEG_CACHE: join(root, "cache"),
  THALWEG_DATA: data === undefined ? undefined : join(root, data),
});
const read = (data?: string) => localFiles({ environment: environment(data) }).read(source, source.files.testLabels);
const good = () => packed.get("testLabels.gz") as Buffer;

describe("the folders", () => {
  it("follow the environment", () => {
    expect(cacheFolder({})).toBe(join(homedir(), ".cache", "thalweg"));
    expect(cacheFolder({ THALWEG_CACHE: root })).toBe(root);
    expect(localFolder({})).toBeUndefined();
    expect(localFolder({ THALWEG_DATA: "" })).toBeUndefined();
    expect(localFolder({ THALWEG_DATA: root })).toBe(root);
  });
});

describe("localFiles", () => {
  it("prefers the local copy to the cache", async () => {
    await put("copy", "testLabels.gz", good());
    await put("cache", "testLabels.gz", Buffer.from("damaged"));
    expect(Buffer.from(await read("copy")).toString()).toBe("t".repeat(40));
    await expect(read()).rejects.toThrow(DataError);
  });

  it("falls back to the cache for files that the local copy lacks", async () => {
    await mkdir(join(root, "copy"));
    await put("cache", "testLabels.gz", good());
    expect(await read("copy")).toHaveLength(40);
  });

  it("takes an unpacked file, and one that was packed anew", async () => {
    await put("unpacked", "testLabels", gunzipSync(good()));
    expect(await read("unpacked")).toHaveLength(40);
    const anew = gzipSync(gunzipSync(good()), { level: 0 });
    expect(anew.equals(good())).toBe(false);
    await put("anew", "testLabels.gz", anew);
    expect(await read("anew")).toHaveLength(40);
  });

  it("says where it looked, what it wants, and how to get it", async () => {
    await mkdir(join(root, "copy"));
    const attempt = read("copy");
    await expect(attempt).rejects.toThrow(DataError);
    await expect(attempt).rejects.toThrow(`not found in ${join(root, "copy")} or in ${join(root, "cache")}`);
    await expect(attempt).rejects.toThrow(
      `with SHA-256 ${source.files.testLabels.sha256}, published at ${source.address}`,
    );
    await expect(attempt).rejects.toThrow('Run "thalweg data fetch toy", or set THALWEG_DATA');
  });

  it("says that the folder of THALWEG_DATA does not exist", async () => {
    await put("cache", "testLabels.gz", good());
    await expect(read("nowhere")).rejects.toThrow("THALWEG_DATA names no folder");
  });

  it.each([
    ["a cut-off file", (bytes: Buffer) => bytes.subarray(0, bytes.length - 4), "gzip data are cut off"],
    ["another content", () => gzipSync(Buffer.from("u".repeat(40))), "wrong SHA-256"],
    [
      "a shorter content",
      () => gzipSync(Buffer.from("t".repeat(39))),
      "the file is cut off (expected 40 bytes unpacked",
    ],
    [
      "a longer content",
      () => gzipSync(Buffer.from("t".repeat(41))),
      "the file is too long (expected 40 bytes unpacked",
    ],
  ])("never uses %s", async (_, damage, message) => {
    const path = await put("copy", "testLabels.gz", damage(good()));
    await put("cache", "testLabels.gz", good());
    await expect(read("copy")).rejects.toThrow(`${path}: ${message}`);
    await expect(read("copy")).rejects.toThrow("Replace this file with an undamaged copy");
  });
});

describe("fetchDataset", () => {
  it("fills the folder once, and replaces damaged files", async () => {
    const folder = join(root, "cache");
    const outcomes = async () => (await fetchDataset(source, { folder, pauseMs: 1 })).map(({ outcome }) => outcome);
    expect(await outcomes()).toEqual(["downloaded", "downloaded", "downloaded", "downloaded"]);
    expect(requests).toHaveLength(4);
    expect(await outcomes()).toEqual(["present", "present", "present", "present"]);
    expect(requests).toHaveLength(4);
    const path = await put("cache", "testLabels.gz", Buffer.from("damaged"));
    expect(await outcomes()).toEqual(["present", "present", "present", "replaced"]);
    expect((await readFile(`${path}.bad`)).toString()).toBe("damaged");
    expect(await read()).toHaveLength(40);
  });

  it("leaves nothing under the file's name when the server has no such file", async () => {
    packed.delete("testLabels.gz");
    await expect(fetchDataset(source, { folder: root, pauseMs: 1 })).rejects.toThrow("the server answers 404");
    expect(existsSync(join(root, "toy-folder", "testLabels.gz"))).toBe(false);
  });
});

describe("checkDataset", () => {
  it("tells good, damaged and missing files apart", async () => {
    const copy = { environment: environment("copy") };
    await put("copy", "trainImages.gz", packed.get("trainImages.gz") as Buffer);
    const damaged = await put("copy", "testLabels.gz", Buffer.from("damaged"));
    const checked = await checkDataset(source, copy);
    expect(checked.map(({ path, error }) => [path !== undefined, error?.problem])).toEqual([
      [true, undefined],
      [false, expect.stringContaining("not found in")],
      [false, expect.stringContaining("not found in")],
      [true, "the file is cut off"],
    ]);
    expect(checked[3]?.path).toBe(damaged);
  });
});
