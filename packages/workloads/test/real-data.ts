import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { localFiles } from "../src/fetch/local.node.js";
import type { FileReader, IdxSource } from "../src/fetch/sources";

/** Where real data are looked for: `THALWEG_DATA`, or the folder beside the repository that a checkout may have. */
const folder = process.env.THALWEG_DATA || resolve(import.meta.dirname, "../../../../shared/data");

/** The files of a data set if they are on this machine, else the reason to skip. */
export function realFiles(source: IdxSource): { files: FileReader } | { reason: string } {
  const present = Object.values(source.files).every(({ name }) => existsSync(join(folder, source.folder, name)));
  return present
    ? { files: localFiles({ environment: { THALWEG_DATA: folder } }) }
    : { reason: `no ${source.title} in ${folder}: set THALWEG_DATA to run this test` };
}
