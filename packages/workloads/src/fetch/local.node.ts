import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "../errors";
import { cacheFolder, type Environment, localFolder } from "./cache.node.js";
import { unpackVerified } from "./checksum";
import { type DataFile, type DataSource, type FileReader, fetchHint } from "./sources";

/** Where {@link localFiles} looks. */
export interface LocalFilesOptions {
  /** The variables `THALWEG_DATA` and `THALWEG_CACHE`; by default those of the process. */
  readonly environment?: Environment | undefined;
}

/**
 * Reads data files from the disk: first from the local copy that `THALWEG_DATA` names, then from the cache that
 * `thalweg data fetch` fills. A file may be packed or unpacked (the same name without `.gz`). A damaged file is an
 * error, even where another place holds a good one, so that nobody goes on unaware of it.
 */
export function localFiles({ environment = process.env }: LocalFilesOptions = {}): FileReader {
  return {
    async read(source, file) {
      const path = await findFile(source, file, environment);
      const bytes = new Uint8Array(await readFile(path));
      return unpackVerified(bytes, file, { where: path, fix: repairHint(path, source, environment) });
    },
  };
}

/**
 * The path at which a data file is found.
 *
 * @throws DataError if `THALWEG_DATA` names no folder, or no place has the file.
 */
export async function findFile(source: DataSource, file: DataFile, environment: Environment): Promise<string> {
  const copy = localFolder(environment);
  if (copy !== undefined && !(await isKind(copy, "folder"))) {
    const fix = "Set THALWEG_DATA to a folder that has one folder per data set, or unset it to use the cache.";
    throw new DataError({ file: copy, problem: "THALWEG_DATA names no folder", fix });
  }
  const roots = copy === undefined ? [cacheFolder(environment)] : [copy, cacheFolder(environment)];
  const names = [file.name, file.name.replace(/\.gz$/, "")];
  for (const path of roots.flatMap((root) => names.map((name) => join(root, source.folder, name)))) {
    if (await isKind(path, "file")) return path;
  }
  throw new DataError({
    file: `${source.folder}/${file.name}`,
    problem: `not found in ${roots.join(" or in ")}`,
    expected: `${file.bytes} bytes with SHA-256 ${file.sha256}, published at ${source.address}${file.name}`,
    fix: fetchHint(source),
  });
}

/** A damaged file in the cache is fetched anew; one in the user's own copy is the user's to replace. */
function repairHint(path: string, source: DataSource, environment: Environment): string {
  const copy = localFolder(environment);
  return copy !== undefined && path.startsWith(copy)
    ? `Replace this file with an undamaged copy, or unset THALWEG_DATA and run "thalweg data fetch ${source.dataset}".`
    : `Run "thalweg data fetch ${source.dataset}".`;
}

async function isKind(path: string, kind: "file" | "folder"): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && (kind === "file" ? found.isFile() : found.isDirectory());
}
