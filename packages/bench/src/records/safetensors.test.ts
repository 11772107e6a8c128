import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { init, tensor } from "@thalweg/tensor";
import { afterAll, expect, it } from "vitest";
import { RecordError } from "../errors";
import { restoreCheckpoint, saveCheckpoint } from "../run/checkpoint";
import { readSafetensors } from "./safetensors";

const folder = mkdtempSync(join(tmpdir(), "thalweg-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("a checkpoint is replaced as a whole, leaves no other file, and comes back", async () => {
  await init();
  const path = join(folder, "state.safetensors");
  await saveCheckpoint({ w: tensor([1, 2]) }, { path, metadata: { step: "50" } });
  await saveCheckpoint({ w: tensor([3, 4]) }, { path, metadata: { step: "51" } });
  const content = readSafetensors(path);
  expect(content.metadata).toEqual({ step: "51" });
  expect(existsSync(`${path}.tmp`)).toBe(false);
  const { w } = restoreCheckpoint({ w: tensor([0, 0]) }, content, path);
  expect(Array.from(await w.data())).toEqual([3, 4]);
  expect(() => restoreCheckpoint({ v: tensor([0, 0]) }, content, path)).toThrow(RecordError);
});

it("a damaged file is an error of the record, with its path", () => {
  const path = join(folder, "damaged.safetensors");
  writeFileSync(path, "no");
  expect(() => readSafetensors(path)).toThrow(RecordError);
  expect(() => readSafetensors(path)).toThrow("damaged.safetensors: 2 bytes are too few");
});
