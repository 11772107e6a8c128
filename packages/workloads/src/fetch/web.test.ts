import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { DataError } from "../errors";
import { sha256 } from "./checksum";
import { type DataFile, fashionMnistSource } from "./sources";
import { webFiles } from "./web";

const content = new TextEncoder().encode("hello");

async function helloFile(): Promise<DataFile> {
  const sum = await sha256(content);
  return { name: "hello.gz", bytes: 25, sha256: "unused", content: { bytes: content.length, sha256: sum } };
}

describe("sha256", () => {
  it("gives the digest of the standard's example", async () => {
    const digest = await sha256(new TextEncoder().encode("abc"));
    expect(digest).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  });
});

describe("webFiles", () => {
  it("reads from the folder that the page names, and checks", async () => {
    const asked: string[] = [];
    const fetch = async (address: string | URL | Request) => {
      asked.push(String(address));
      return new Response(content);
    };
    const file = await helloFile();
    expect(await webFiles({ base: "/data/", fetch }).read(fashionMnistSource, file)).toEqual(content);
    await webFiles({ fetch }).read(fashionMnistSource, file);
    expect(asked).toEqual(["/data/fashion-mnist/hello.gz", `${fashionMnistSource.address}hello.gz`]);
  });

  it.each([
    ["a refusal", () => new Response("", { status: 403 }), "the server answers 403"],
    ["another file", () => new Response("jello"), "wrong SHA-256"],
  ])("turns %s into a DataError", async (_, answer, message) => {
    const read = webFiles({ fetch: async () => answer() }).read(fashionMnistSource, await helloFile());
    await expect(read).rejects.toThrow(DataError);
    await expect(read).rejects.toThrow(message);
  });

  it("turns a network that does not answer into a DataError", async () => {
    const fetch = () => Promise.reject(new TypeError("Failed to fetch"));
    const read = webFiles({ fetch }).read(fashionMnistSource, await helloFile());
    await expect(read).rejects.toThrow("hello.gz: cannot be reached. Check that the page may reach this address");
  });
});

describe("the main entry", () => {
  it("reaches no module of Node", () => {
    const seen = new Set<string>();
    const visit = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const [, name = ""] of readFileSync(file, "utf8").matchAll(/from "([^"]+)"/g)) {
        expect(name, file).not.toMatch(/^node:|\.node\b/);
        if (name.startsWith(".")) visit(join(dirname(file), `${name}.ts`));
      }
    };
    visit(resolve(import.meta.dirname, "../index.ts"));
    expect(seen.size).toBeGreaterThan(10);
  });
});
