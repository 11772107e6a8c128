import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** The variables that decide where data are, as `process.env` holds them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The folder that fetched data are kept in: `THALWEG_CACHE`, or `.cache/thalweg` in the user's home folder. */
export function cacheFolder(environment: Environment = process.env): string {
  const chosen = environment.THALWEG_CACHE;
  return chosen ? resolve(chosen) : join(homedir(), ".cache", "thalweg");
}

/** The folder with a local copy of the data, from `THALWEG_DATA`; undefined if that is unset or empty. */
export function localFolder(environment: Environment = process.env): string | undefined {
  const chosen = environment.THALWEG_DATA;
  return chosen ? resolve(chosen) : undefined;
}
