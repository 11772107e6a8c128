import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { repositoryRoot } from "./architecture";

/** Paths in backticks; a part in angle brackets stands for a name of the reader's. */
function namedPaths(document: string): string[] {
  const text = readFileSync(join(repositoryRoot, document), "utf8");
  return [...text.matchAll(/`((?:packages|test|docs|scripts|examples)\/[^`\s]+)`/g)].map(([, path]) => path as string);
}

describe.each(["CONTRIBUTING.md", "README.md"])("%s", (document) => {
  it("names files and folders that exist", () => {
    const missing = namedPaths(document).filter((path) => {
      const known = path.replace(/\/[^/]*<.*$/, "");
      return !existsSync(join(repositoryRoot, known));
    });
    expect(missing).toEqual([]);
  });
});

it("ARCHITECTURE.md names files and folders that exist", () => {
  const text = readFileSync(join(repositoryRoot, "ARCHITECTURE.md"), "utf8");
  const names = [
    ...text.matchAll(/`((?:tensor|autograd|curvature|nn|optim|workloads|bench)\/(?:src|test)[^`\s]*)`/g),
  ].map(([, path]) => `packages/${path}`);
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((path) => !existsSync(join(repositoryRoot, path)))).toEqual([]);
});
