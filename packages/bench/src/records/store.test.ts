import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { configuration } from "../../test/example-records";
import { folderStore } from "./folder.node.js";
import { memoryStore } from "./store";

const root = mkdtempSync(join(tmpdir(), "thalweg-store-"));
afterAll(() => rmSync(root, { recursive: true }));

const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : new TextDecoder().decode(bytes));

describe.each([
  ["in a folder", () => folderStore(join(root, "results"))],
  ["in memory", memoryStore],
] as const)("a store %s", (_, create) => {
  const store = create();

  it("has nothing for a configuration that never ran", async () => {
    const run = await store.open({ ...configuration, seed: 7 });
    expect([await run.read(), await run.readCheckpoint()]).toEqual([undefined, undefined]);
  });

  it("gives back, to whoever opens the same configuration, what was appended and replaced", async () => {
    const run = await store.open(configuration);
    await run.create("é\n");
    await run.append("two\n");
    await run.append("thr");
    await run.replaceCheckpoint(Uint8Array.of(1, 2));
    await run.replaceCheckpoint(Uint8Array.of(3));
    run.close();
    run.close();
    const again = await store.open({ ...configuration });
    expect(again.path).toBe(run.path);
    expect(text(await again.read())).toBe("é\ntwo\nthr");
    expect(Array.from((await again.readCheckpoint()) ?? [])).toEqual([3]);
    await again.truncate(7);
    await again.append("end\n");
    again.close();
    expect(text(await (await store.open(configuration)).read())).toBe("é\ntwo\nend\n");
  });

  it("keeps configurations apart", async () => {
    const other = await store.open({ ...configuration, seed: 8 });
    expect(await other.read()).toBeUndefined();
    expect(other.path).toMatch(/digits__adam__seed8__[0-9a-f]{12}\.jsonl$/);
    expect(other.checkpoint).toBe(`${other.path.replace(/^.*[/\\]/, "").replace(".jsonl", "")}.safetensors`);
  });
});
