import { appendFileSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The folder of reference values: `THALWEG_ORACLES`, by default `../shared/oracles` beside the repository. */
export const oraclesFolder = resolve(import.meta.dirname, "..", process.env.THALWEG_ORACLES ?? "../shared/oracles");

/** One file of reference values. `content` is checked by whoever knows its `format`. */
export interface OracleFile {
  readonly name: string;
  readonly path: string;
  readonly content: Readonly<Record<string, unknown>>;
}

/**
 * Why the oracle tests of `name` must be skipped, to be shown as a skipped test's title; `undefined` if they need not.
 *
 * ```ts
 * const files = readOracles("optim", (format) => format === "thalweg-optim-1");
 * const why = whyNoOracles("optim");
 * it.skipIf(why !== undefined)(why ?? "there are reference values of optimizers", () => expect(files).not.toEqual([]));
 * for (const { name, content } of files) it(name, () => check(content));
 * ```
 */
export function whyNoOracles(name: string): string | undefined {
  const folder = join(oraclesFolder, name);
  return existsSync(folder) ? undefined : `no folder ${name} of reference values: set THALWEG_ORACLES`;
}

/**
 * Reads every JSON file of the oracle folder `name` whose `format` is accepted, in alphabetical order; none where the
 * folder does not exist. A file with a `cases` list holds that many cases, any other file holds one.
 * `npm run test:oracles` counts what is read here.
 */
export function readOracles(name: string, accepts: (format: string) => boolean = () => true): readonly OracleFile[] {
  if (whyNoOracles(name) !== undefined) return [];
  const folder = join(oraclesFolder, name);
  const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
  return files
    .sort()
    .map((file) => read(join(folder, file), file))
    .filter(({ path, content }) => {
      const accepted = typeof content.format === "string" && accepts(content.format);
      if (accepted) log(path, Array.isArray(content.cases) ? content.cases.length : 1);
      return accepted;
    });
}

function read(path: string, name: string): OracleFile {
  try {
    return { name, path, content: JSON.parse(readFileSync(path, "utf8")) };
  } catch (cause) {
    throw new Error(`${path} is not a JSON file of reference values.`, { cause });
  }
}

function log(path: string, cases: number): void {
  const { THALWEG_ORACLES_LOG } = process.env;
  if (THALWEG_ORACLES_LOG !== undefined) appendFileSync(THALWEG_ORACLES_LOG, `${JSON.stringify({ path, cases })}\n`);
}
