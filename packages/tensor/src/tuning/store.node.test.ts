import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { readStored, updateStored } from "./store.node.js";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "thalweg-store-"));
  vi.stubEnv("THALWEG_CACHE", folder);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const append = (word: string) => (before: string | undefined) => `${before ?? ""}${word} `;

describe("the store of measurements in Node", () => {
  it("keeps texts by name, and has none before", async () => {
    expect(await readStored("a")).toBeUndefined();
    await updateStored("a", append("one"));
    await updateStored("b", append("two"));
    expect(await readStored("a")).toBe("one ");
    expect(await readStored("b")).toBe("two ");
  });

  it("loses no change of many at once, and leaves no other file behind", async () => {
    await Promise.all(Array.from({ length: 20 }, (_, index) => updateStored("a", append(String(index)))));
    const words = (await readStored("a"))?.trim().split(" ");
    expect(new Set(words).size).toBe(20);
    expect(readdirSync(join(folder, "tuning"))).toEqual(["a.json"]);
  });

  it("loses no change of two processes", async () => {
    const root = fileURLToPath(new URL("../../../../", import.meta.url));
    const store = fileURLToPath(new URL("./store.node.ts", import.meta.url));
    const script = `
      const { updateStored } = await import(${JSON.stringify(store)});
      for (let i = 0; i < 15; i++) await updateStored("a", (before) => (before ?? "") + process.argv[1] + i + " ");
    `;
    const run = (name: string) =>
      promisify(execFile)(
        process.execPath,
        ["--import", join(root, "scripts/run-sources.mjs"), "--input-type=module", "--eval", script, name],
        { cwd: root, env: { ...process.env, THALWEG_CACHE: folder } },
      );
    await Promise.all([run("x"), run("y")]);
    const words = (await readStored("a"))?.trim().split(" ") ?? [];
    expect(new Set(words).size).toBe(30);
  });

  it("lets a change that fails change nothing", async () => {
    await updateStored("a", append("one"));
    const failing = updateStored("a", () => {
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    await updateStored("a", append("two"));
    expect(await readStored("a")).toBe("one two ");
  });

  it("breaks the lock of a process that died", async () => {
    await updateStored("a", append("one"));
    const lock = join(folder, "tuning", "a.json.lock");
    mkdirSync(lock);
    const longAgo = Date.now() / 1000 - 3600;
    utimesSync(lock, longAgo, longAgo);
    await updateStored("a", append("two"));
    expect(await readStored("a")).toBe("one two ");
    expect(existsSync(lock)).toBe(false);
  });
});
