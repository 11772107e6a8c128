import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Device, defaultDevice, setDefaultDevice } from "@thalweg/tensor";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { readRecords } from "../src/records/reader.node.js";
import { runCommand } from "./fake-terminal";

let folder: string;
let before: Device | undefined;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "thalweg-tune-"));
  vi.stubEnv("THALWEG_CACHE", folder);
  // The command opens a device of its own.
  before = defaultDevice();
  setDefaultDevice(undefined);
});

afterAll(() => {
  defaultDevice()?.destroy();
  setDefaultDevice(before);
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

it("--tune measures before the clock starts, and the record says so", { timeout: 180_000 }, async () => {
  const out = join(folder, "run");
  const { code, error } = await runCommand(`run digits sgd --budget 5steps --tune --out ${out}`.split(" "));
  expect(code).toBe(0);
  expect(error).toMatch(/tuned (one class|\d+ classes) of kernels/);
  expect(defaultDevice()?.tuning.mode).toBe(true);
  expect(readdirSync(join(folder, "tuning"))).toHaveLength(1);
  const [record] = readRecords(out).records;
  expect(record?.header.environment.tuned).toBe(true);
});
