import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build, preview } from "vite";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** Address of the page, with a closing slash. */
    readonly demoUrl: string;
    /** The folder of the build. */
    readonly demoFolder: string;
  }
}

/** Builds the demo and serves it, for all tests: what visitors get. The server has no data sets. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), "thalweg-demo-"));
  const outDir = join(folder, "dist");
  process.env.THALWEG_CACHE = join(folder, "cache");
  delete process.env.THALWEG_DATA;
  const root = join(import.meta.dirname, "..");
  await build({ root, logLevel: "error", build: { outDir } });
  const server = await preview({ root, logLevel: "error", build: { outDir }, preview: { port: 0, open: false } });
  const [address] = server.resolvedUrls?.local ?? [];
  if (address === undefined) throw new Error("The preview server has no local address.");
  project.provide("demoUrl", address);
  project.provide("demoFolder", outDir);
  return async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  };
}
