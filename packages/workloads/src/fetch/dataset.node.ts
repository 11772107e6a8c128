import { readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "../errors";
import { cacheFolder, type Environment } from "./cache.node.js";
import { unpackVerified } from "./checksum";
import { type DownloadProgress, downloadFile } from "./download.node.js";
import { findFile, localFiles } from "./local.node.js";
import type { DataFile, DataSource, IdxSource } from "./sources";

/** How {@link fetchDataset} works. */
export interface FetchOptions {
  /** Folder to fill, with one folder per data set. Default: the cache. */
  readonly folder?: string | undefined;
  /** Address to load from instead of the publisher's, with a closing slash. */
  readonly address?: string | undefined;
  /** Called after every piece that was written. */
  readonly onProgress?: ((file: DataFile, progress: DownloadProgress) => void) | undefined;
  /** Stops the download; what has arrived is kept for the next call. */
  readonly signal?: AbortSignal | undefined;
  readonly retries?: number | undefined;
  readonly pauseMs?: number | undefined;
}

/** What {@link fetchDataset} did with a file. */
export interface FetchedFile {
  readonly file: DataFile;
  readonly path: string;
  /** `present`: a good file was there already. `replaced`: a damaged one was set aside as `.bad`. */
  readonly outcome: "present" | "downloaded" | "replaced";
}

/**
 * Downloads the files of a data set that are not yet in the folder, and checks those that are.
 *
 * @throws DataError as {@link downloadFile} does.
 */
export async function fetchDataset(source: IdxSource, options: FetchOptions = {}): Promise<readonly FetchedFile[]> {
  const { folder = cacheFolder(), address = source.address, onProgress, ...transfer } = options;
  const fetched: FetchedFile[] = [];
  for (const file of Object.values(source.files)) {
    const path = join(folder, source.folder, file.name);
    const state = await stateOf(path, file);
    if (state === "good") {
      fetched.push({ file, path, outcome: "present" });
      continue;
    }
    if (state === "damaged") await rename(path, `${path}.bad`);
    await downloadFile({
      address: address + file.name,
      path,
      bytes: file.bytes,
      sha256: file.sha256,
      onProgress: (progress) => onProgress?.(file, progress),
      ...transfer,
    });
    fetched.push({ file, path, outcome: state === "damaged" ? "replaced" : "downloaded" });
  }
  return fetched;
}

/** State of one file of a data set on this machine. */
export interface CheckedFile {
  readonly file: DataFile;
  /** Where the file was found; undefined if it is missing. */
  readonly path: string | undefined;
  /** What is wrong and the way out; undefined if the file is good. */
  readonly error: DataError | undefined;
}

/** Looks for the files of a data set where a run would look, and checks each: nothing is changed or downloaded. */
export async function checkDataset(
  source: IdxSource,
  { environment = process.env }: { readonly environment?: Environment | undefined } = {},
): Promise<readonly CheckedFile[]> {
  const reader = localFiles({ environment });
  return Promise.all(Object.values(source.files).map((file) => checkFile(reader, source, file, environment)));
}

async function checkFile(
  reader: ReturnType<typeof localFiles>,
  source: DataSource,
  file: DataFile,
  environment: Environment,
): Promise<CheckedFile> {
  let path: string | undefined;
  try {
    path = await findFile(source, file, environment);
    await reader.read(source, file);
    return { file, path, error: undefined };
  } catch (error) {
    if (error instanceof DataError) return { file, path, error };
    throw error;
  }
}

/** Whether a file is there, and is the right one. */
async function stateOf(path: string, file: DataFile): Promise<"missing" | "good" | "damaged"> {
  if ((await stat(path).catch(() => undefined)) === undefined) return "missing";
  try {
    await unpackVerified(new Uint8Array(await readFile(path)), file, { where: path });
    return "good";
  } catch (error) {
    if (error instanceof DataError) return "damaged";
    throw error;
  }
}
