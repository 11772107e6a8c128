// npm test: all tests in Node, then those in a browser, then the demo as a visitor meets it, then the packed packages. The
// last line sums them up.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { findChromium } from "./chromium.mjs";

const root = resolve(import.meta.dirname, "..");
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const work = mkdtempSync(join(tmpdir(), "thalweg-test-"));
const total = { passed: 0, failed: 0, skipped: 0 };

// One pattern: projects that match any of several run.
run("node", ["--project", "!built-*"]);
if (findChromium() === undefined) {
  console.log("\nbrowser tests skipped: no Chromium found. Install one and set CHROME_PATH to its executable.");
  total.skipped += 1;
} else {
  run("browser", ["--config", "vitest.browser.config.ts"]);
  run("demo", ["--project", "built-demo"]);
}
run("packaging", ["--project", "built-packages"]);

rmSync(work, { recursive: true, force: true });
console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`);
process.exit(total.failed > 0 ? 1 : 0);

function run(name, options) {
  let attempt = runOnce(name, options);
  // Drivers abort now and then when a test loses or destroys its device. No test has failed then, and none may be missing:
  // the part is run once more, as a whole, and this time everything counts.
  if (attempt.status !== 0 && attempt.counts.failed === 0) {
    console.log(`\n${name}: a process ended without a result, and no test failed. The part is run once more.`);
    attempt = runOnce(name, options);
  }
  const { status, counts } = attempt;
  // A crash of the process and an error outside of every test fail the run without failing a test.
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  for (const kind of Object.keys(total)) total[kind] += counts[kind];
}

function runOnce(name, options) {
  const report = join(work, `${name}.json`);
  rmSync(report, { force: true });
  const result = spawnSync(
    process.execPath,
    [vitest, "run", ...options, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
    { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
  );
  const counts = existsSync(report)
    ? count(JSON.parse(readFileSync(report, "utf8")))
    : { passed: 0, failed: 0, skipped: 0 };
  return { status: result.status, counts };
}

function count({ numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults }) {
  // A file that does not load has no tests in the report, and counts as one that failed.
  const broken = testResults.filter(
    ({ status, assertionResults }) =>
      status === "failed" && assertionResults.every((assertion) => assertion.status !== "failed"),
  );
  return {
    passed: numPassedTests,
    failed: numFailedTests + broken.length,
    skipped: numPendingTests + numTodoTests,
  };
}
