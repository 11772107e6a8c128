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
// A test file belongs to the folder that it is named after: optim.oracle.test.ts reads oracles/optim.
const filters = wanted.length > 0 ? wanted.map((name) => `/${name}.oracle.test.ts`) : [".oracle.test.ts"];
const run = spawnSync(process.execPath, [vitest, "run", ...filters], {
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

function sum(entries) {
  return entries.reduce((total, [, cases]) => total + cases, 0);
}
