import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
// With an extension, because without one the name looks like a native addon to bundlers.
import { cacheFolder } from "../device/cache-folder.node.js";

/** A process that holds the lock for longer has died: a change takes milliseconds. */
const staleMs = 5_000;
const retryMs = 10;

const folder = (): string => join(cacheFolder(), "tuning");
const fileOf = (name: string): string => join(folder(), `${name}.json`);

/** The text in `tuning/<name>.json` of the cache folder. See `TuningStoreModule`. */
export async function readStored(name: string): Promise<string | undefined> {
  try {
    return await readFile(fileOf(name), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Reads, changes and replaces the file under a lock; readers see the old or the new text. See `TuningStoreModule`. */
export async function updateStored(name: string, change: (before: string | undefined) => string): Promise<void> {
  await mkdir(folder(), { recursive: true });
  const file = fileOf(name);
  const lock = `${file}.lock`;
  await acquire(lock);
  const partial = `${file}.${randomUUID()}`;
  try {
    await writeFile(partial, change(await readStored(name)));
    await rename(partial, file);
  } finally {
    await rm(partial, { force: true });
    await rm(lock, { recursive: true, force: true });
  }
}

/** Making a folder fails where there is one, which makes a lock on every file system. */
async function acquire(lock: string): Promise<void> {
  for (;;) {
    try {
      await mkdir(lock);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const since = await stat(lock).then(
      ({ mtimeMs }) => mtimeMs,
      () => Number.POSITIVE_INFINITY,
    );
    if (Date.now() - since > staleMs) await rm(lock, { recursive: true, force: true });
    else await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}
