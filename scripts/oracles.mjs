// npm run test:oracles [-- FOLDER …]: the oracle tests, and how many reference files and cases they read.
// THALWEG_ORACLES names another folder in the same format.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const oracles = resolve(root, process.env.THALWEG_ORACLES ?? "../shared/oracles");
if (!existsSync(oracles)) {
  console.error(`No reference values in ${oracles}. Set THALWEG_ORACLES to a folder of them.`);
  process.exit(1);
}
const present = readdirSync(oracles, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort();
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !present.includes(name));
if (unknown !== undefined) {
  console.error(`${oracles} has no folder ${unknown}; it has ${present.join(", ")}.`);
  process.exit(1);
}

const work = mkdtempSync(join(tmpdir(), "thalweg-oracles-"));
const log = join(work, "read.jsonl");
const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs");
// With names, only the test files that read one of these folders.
const tests = readdirSync(join(root, "packages"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".oracle.test.ts") && !path.includes("node_modules"))
  .map((path) => join(root, "packages", path))
  .filter((path) => wanted.length === 0 || wanted.some((name) => readsFolder(path, name)));
if (tests.length === 0) {
  console.error(`No test reads ${wanted.join(", ") || "reference values"}.`);
  process.exit(1);
}
const run = spawnSync(process.execPath, [vitest, "run", ...tests], {
  cwd: root,
  env: { ...process.env, THALWEG_ORACLES: oracles, THALWEG_ORACLES_LOG: log },
  stdio: "inherit",
});

const lines = existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : [];
rmSync(work, { recursive: true });
// A file that two tests read counts once.
const read = new Map(lines.map((line) => JSON.parse(line)).map(({ path, cases }) => [path, cases]));
const shown = wanted.length > 0 ? wanted : present;
for (const name of shown) {
  const files = readdirSync(join(oracles, name)).filter((file) => file.endsWith(".json"));
  const used = [...read].filter(([path]) => basename(dirname(path)) === name);
  console.log(`${name}: read ${used.length} of ${files.length} files, ${sum(used)} cases`);
}
console.log(`oracles: read ${read.size} files, ${sum([...read])} cases from ${oracles}`);
process.exit(run.status === 0 && read.size === 0 ? 1 : (run.status ?? 1));

function readsFolder(path, name) {
  return readFileSync(path, "utf8").includes(`readOracles("${name}"`);
}

function sum(entries) {
  return entries.reduce((total, [, cases]) => total + cases, 0);
}
