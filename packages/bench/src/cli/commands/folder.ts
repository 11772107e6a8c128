import { join } from "node:path";

/** A new folder for the results of a command that was given none: `results/digits-2026-11-23-20-15-00`. */
export function timestampedFolder(name: string, date = new Date()): string {
  const time = date.toISOString().slice(0, 19).replace(/[T:]/g, "-");
  return join("results", `${name.replace(/[^A-Za-z0-9_-]/g, "-")}-${time}`);
}
