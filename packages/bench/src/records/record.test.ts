import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeSafetensors } from "@thalweg/tensor";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { configuration, end, environment, evaluation, header, training } from "../../test/example-records";
import { RecordError } from "../errors";
import { encodeLine } from "./codec";
import { checkpointPath, folderStore, recordPath } from "./folder.node.js";
import { formatProblem, parseRecord, parseRecords } from "./reader";
import { readRecord, readRecords } from "./reader.node.js";
import { findExistingRun, unfinishedRuns } from "./resume";
import type { RecordLine, RunConfiguration } from "./schema";
import { RecordWriter } from "./writer";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "thalweg-records-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const stored = (own: RunConfiguration = configuration) => folderStore(folder).open(own);

async function write(...lines: readonly RecordLine[]): Promise<string> {
  const run = await stored();
  using writer = await RecordWriter.create(run, header());
  await writer.append(...lines);
  return run.path;
}

describe("writing and reading", () => {
  it("what was appended is on the disk before the writer is closed", async () => {
    const path = recordPath(folder, configuration);
    using writer = await RecordWriter.create(await stored(), header());
    await writer.append(evaluation(0, 2.3, 0.1), training(0, 2.4));
    expect(readRecord(path)).toMatchObject({
      evaluations: [evaluation(0, 2.3, 0.1)],
      training: [training(0, 2.4)],
      end: undefined,
      problems: [],
    });
  });

  it("a record is never written over", async () => {
    const path = await write(end(0));
    await expect(RecordWriter.create(await stored(), header())).rejects.toThrow(`${path}: the record exists.`);
    expect(readRecord(path).end).toEqual(end(0));
  });

  it("a writer that is closed refuses lines", async () => {
    const writer = await RecordWriter.create(await stored(), header());
    writer.close();
    writer.close();
    await expect(writer.append(end(0))).rejects.toThrow("the record is closed");
  });

  it("however the last line is torn, all lines before it are read, and it is cut when the run goes on", async () => {
    const path = await write(evaluation(0, 2.3, 0.1), training(0, 2.4), training(10, 2.2));
    const bytes = readFileSync(path).byteLength;
    const torn = Buffer.from(encodeLine(training(20, 2.1)));
    for (let length = 0; length < torn.byteLength; length++) {
      appendFileSync(path, torn.subarray(0, length));
      expect(readRecord(path)).toMatchObject({ completeBytes: bytes, problems: [] });
      expect(readRecord(path).training).toHaveLength(2);
      truncateSync(path, bytes);
    }
    appendFileSync(path, torn.subarray(0, 9));
    using writer = await RecordWriter.reopen(await stored());
    await writer.append(training(20, 2.0));
    expect(readRecord(path).training.map(({ loss }) => loss)).toEqual([2.4, 2.2, 2.0]);
    expect(readRecord(path).problems).toEqual([]);
  });

  it("a malformed line in the middle is reported with file and line, and the others are read", async () => {
    const path = await write(training(0, 2.4));
    appendFileSync(path, `{"type":"training","step":\n${encodeLine(training(20, 2.1))}`);
    const record = readRecord(path);
    expect(record.training.map(({ step }) => step)).toEqual([0, 20]);
    expect(record.problems.map(formatProblem)).toEqual([`${path}:3: not JSON: {"type":"training","step":`]);
  });

  it("a file may hold several records, and a damaged header costs its own record only", () => {
    const other = header({ ...configuration, seed: 7 });
    const one = [header(), training(0, 2.4), end(0)].map(encodeLine).join("");
    const two = [other, training(0, 2.5), training(10, 2.3)].map(encodeLine).join("");
    const both = parseRecords(one + two, "both.jsonl");
    expect(both.records).toEqual([parseRecord(one, "both.jsonl"), parseRecord(two, "both.jsonl")]);
    expect(both.problems).toEqual([]);
    const damaged = parseRecords(one + two.replace('"seed":7', '"seed":x') + one, "both.jsonl");
    expect(damaged.records).toEqual([both.records[0], both.records[0]]);
    expect(damaged.problems).toMatchObject([{ path: "both.jsonl", line: 4 }]);
    expect(parseRecords("", "none.jsonl")).toMatchObject({ records: [], problems: [{ line: 1 }] });
  });

  it("files that are no records are problems, not exceptions, when a folder is read", async () => {
    await write(end(0));
    writeFileSync(join(folder, "empty.jsonl"), "");
    writeFileSync(join(folder, "other.jsonl"), '{"hello":1}\n');
    const { records, problems } = readRecords(folder);
    expect(records).toHaveLength(1);
    expect(problems.map((problem) => formatProblem(problem).replace(folder, ""))).toEqual([
      "/empty.jsonl:1: no header line: this is not a record, or it was cut at its start.",
      "/other.jsonl:1: type: expected text, found nothing",
    ]);
  });

  it("a folder that does not exist is named", async () => {
    expect(() => readRecords(join(folder, "no"))).toThrow(/folder .*no does not exist\. Give the folder/);
  });
});

describe("resuming", () => {
  const checkpoint = (step: number, id = header().id) =>
    writeFileSync(
      checkpointPath(recordPath(folder, configuration)),
      encodeSafetensors({
        tensors: { w: { dtype: "F32", shape: [2], bytes: new Uint8Array(8) } },
        metadata: { id, step: String(step) },
      }),
    );

  it("a configuration that never ran has nothing", async () => {
    expect((await findExistingRun(await stored())).kind).toBe("none");
  });

  it("a run that ended is complete, one with another seed is not there", async () => {
    await write(evaluation(0, 2.3, 0.1), end(0));
    expect((await findExistingRun(await stored())).kind).toBe("complete");
    expect((await findExistingRun(await stored({ ...configuration, seed: 1 }))).kind).toBe("none");
  });

  it("a run killed before its first checkpoint starts again", async () => {
    await write(evaluation(0, 2.3, 0.1));
    expect((await findExistingRun(await stored())).kind).toBe("restart");
  });

  it("a killed run goes on at the step that the checkpoint itself names", async () => {
    await write(
      evaluation(0, 2.3, 0.1),
      { type: "checkpoint", step: 0, file: "x", bytes: 1 },
      evaluation(50, 1.9, 0.3),
    );
    checkpoint(50);
    expect(await findExistingRun(await stored())).toMatchObject({ kind: "resume", step: 50 });
  });

  it("a run ended by a signal goes on too", async () => {
    await write(evaluation(0, 2.3, 0.1), end(0, { status: "killed" }));
    checkpoint(0);
    expect(await findExistingRun(await stored())).toMatchObject({ kind: "resume", step: 0 });
    expect(unfinishedRuns(readRecords(folder).records)).toHaveLength(1);
  });

  it("a checkpoint of another run is refused", async () => {
    await write(evaluation(0, 2.3, 0.1));
    checkpoint(0, "other");
    await expect(findExistingRun(await stored())).rejects.toThrow(`checkpoint of run other, expected ${header().id}`);
  });

  it("a checkpoint that the record does not know is refused", async () => {
    await write(evaluation(0, 2.3, 0.1));
    checkpoint(50);
    await expect(findExistingRun(await stored())).rejects.toThrow("checkpoint at step 50, of which");
  });

  it("a damaged checkpoint is an error of the record that names the file", async () => {
    await write(evaluation(0, 2.3, 0.1));
    writeFileSync(checkpointPath(recordPath(folder, configuration)), "no");
    await expect(findExistingRun(await stored())).rejects.toThrow(RecordError);
    await expect(findExistingRun(await stored())).rejects.toThrow(/\.safetensors: 2 bytes are too few/);
  });

  it("a record with a malformed line is not resumed", async () => {
    const path = await write(evaluation(0, 2.3, 0.1));
    appendFileSync(path, "oops\n");
    await expect(findExistingRun(await stored())).rejects.toThrow(`${path}:3: not JSON: oops`);
  });

  it("lines that a resumed run did again count once", async () => {
    const path = await write(
      evaluation(0, 2.3, 0.1),
      training(0, 2.4),
      evaluation(50, 1.9, 0.3),
      training(50, 9),
      training(60, 9),
    );
    using writer = await RecordWriter.reopen(await stored());
    await writer.append(
      { type: "resume", step: 50, at: "", environment },
      training(50, 1.8),
      training(60, 1.7),
      end(100),
    );
    const record = readRecord(path);
    expect(record.training.map(({ loss }) => loss)).toEqual([2.4, 1.8, 1.7]);
    expect(record.evaluations.map(({ step }) => step)).toEqual([0, 50]);
    await writer.append({ type: "resume", step: null, at: "", environment }, evaluation(0, 2.3, 0.1));
    expect(readRecord(path)).toMatchObject({ evaluations: [{ step: 0 }], training: [], end: undefined });
  });
});
