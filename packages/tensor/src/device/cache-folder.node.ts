import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/**
 * Where files are kept that can be made again: `THALWEG_CACHE`, else `$XDG_CACHE_HOME/thalweg`, else
 * `~/.cache/thalweg`.
 */
export function cacheFolder(): string {
  const { THALWEG_CACHE, XDG_CACHE_HOME } = process.env;
  return THALWEG_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "thalweg");
}
