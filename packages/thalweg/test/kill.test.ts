import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RunRecord } from "@thalweg/bench";
import { readRecords } from "@thalweg/bench/node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const command = fileURLToPath(new URL("../bin/thalweg.js", import.meta.url));
// With a target, and one that is out of reach, evaluations inside of the epoch are short and none of them ends the run.
const run = ["run", "digits", "momentum", "--lr", "0.05", "--budget", "20steps", "--target", "0.9999"];
const options = ["--train-log-interval", "1", "--bs", "100", "--eval-every", "5"];

let root: string;
let whole: RunRecord;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "thalweg-kill-"));
  await finish(start("whole"));
  whole = recordIn("whole");
}, 120_000);
afterAll(() => rmSync(root, { recursive: true }));

function start(folder: string, extra: readonly string[] = []) {
  return spawn(process.execPath, [command, ...run, ...options, "--out", join(root, folder), ...extra], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Waits for the end of a process, with what it wrote. */
async function finish(child: ReturnType<typeof start>) {
  let out = "";
  let error = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  child.stderr.on("data", (text) => {
    error += text;
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((done) =>
    child.on("close", (...ending) => done(ending)),
  );
  return { code, signal, out, error };
}

function recordIn(folder: string): RunRecord {
  const { records, problems } = readRecords(join(root, folder));
  expect(problems).toEqual([]);
  expect(records).toHaveLength(1);
  return records[0] as RunRecord;
}

/** Sends a signal as soon as the record has so many checkpoints. */
async function stopAfter(child: ReturnType<typeof start>, folder: string, checkpoints: number, signal: NodeJS.Signals) {
  const directory = join(root, folder, "records");
  while (child.exitCode === null) {
    const name = existsSync(directory) ? readdirSync(directory).find((file) => file.endsWith(".jsonl")) : undefined;
    const text = name === undefined ? "" : readFileSync(join(directory, name), "utf8");
    if (text.split('"type":"checkpoint"').length > checkpoints) break;
    await new Promise((done) => setTimeout(done, 5));
  }
  child.kill(signal);
}

const numbers = ({ training, evaluations }: RunRecord) => ({
  training,
  evaluations: evaluations.map(({ step, phases }) => ({ step, phases })),
});

describe("a run of the command", () => {
  it("goes on with the same bits after kill -9", async () => {
    for (const checkpoints of [1, 3]) {
      const child = start("killed");
      const ending = finish(child);
      await stopAfter(child, "killed", checkpoints, "SIGKILL");
      expect((await ending).signal).toBe("SIGKILL");
      expect(recordIn("killed").end).toBeUndefined();
    }
    expect((await finish(start("killed"))).code).toBe(3);
    const resumed = recordIn("killed");
    expect(resumed.resumes.length).toBe(2);
    expect(numbers(resumed)).toEqual(numbers(whole));
  }, 120_000);

  it("ends its record as killed and exits with 130 on Ctrl-C, and goes on from there", async () => {
    const child = start("stopped");
    const ending = finish(child);
    await stopAfter(child, "stopped", 2, "SIGINT");
    const { code, error } = await ending;
    expect(code).toBe(130);
    expect(error).toContain(`--out ${join(root, "stopped")} goes on where it stopped.`);
    expect(recordIn("stopped").end?.status).toBe("killed");
    const { code: second, out } = await finish(start("stopped", ["--json"]));
    expect(second).toBe(3);
    expect(JSON.parse(out)).toMatchObject({ status: "budget", steps: 20 });
    expect(numbers(recordIn("stopped"))).toEqual(numbers(whole));
  }, 120_000);

  it("writes nothing but one JSON document on stdout with --json", async () => {
    const { out, error, code } = await finish(start("whole", ["--json"]));
    expect({ code, status: JSON.parse(out).status }).toEqual({ code: 3, status: "budget" });
    expect(error).not.toContain("{");
  }, 60_000);

  it("exits with 3 and says what to do if the target is never reached", async () => {
    const { code, error } = await finish(start("whole"));
    expect(code).toBe(3);
    expect(error).toMatch(/error: the run did not reach 99\.99 % test accuracy\. Give a larger --budget/);
    expect(recordIn("whole").end?.status).toBe("budget");
  }, 60_000);
});
