import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  atomicOffences,
  importOffences,
  type Manifest,
  nameOffences,
  type PackageSources,
  readPackages,
  repositoryFiles,
  repositoryRoot,
} from "./architecture";

const packages = readPackages(repositoryRoot);

describe("the repository", () => {
  it("imports only what is declared, downward and without cycles", () => {
    expect(importOffences(packages)).toEqual([]);
  });

  it("names files after concepts, in kebab-case", () => {
    expect(nameOffences(repositoryFiles(repositoryRoot))).toEqual([]);
  });

  it("has no kernel with atomics on floats", () => {
    expect(packages.flatMap(({ files }) => atomicOffences(files))).toEqual([]);
  });

  it("has one version for all packages", () => {
    expect(new Set(packages.map(({ manifest }) => manifest.version)).size).toBe(1);
  });

  it("has no addresses of a registry in the lock file", () => {
    const lock = readFileSync(join(repositoryRoot, "package-lock.json"), "utf8");
    expect(lock.match(/"resolved": "[a-z+]+:.*/g) ?? []).toEqual([]);
  });

  it("locks the packages of every platform", () => {
    const { packages: locked } = JSON.parse(readFileSync(join(repositoryRoot, "package-lock.json"), "utf8")) as {
      packages: Record<string, { optionalDependencies?: Record<string, string> }>;
    };
    const missing = Object.entries(locked).flatMap(([location, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) =>
          locked[`node_modules/${name}`] === undefined && locked[`${location}/node_modules/${name}`] === undefined,
      ),
    );
    expect(missing, "run node scripts/complete-lock.mjs").toEqual([]);
  });
});

describe("the rules find", () => {
  it("an undeclared import", () => {
    expect(offencesOf({ optim: { "adam.ts": `import { Plot } from "plotting";` } })).toEqual([
      `packages/optim/src/adam.ts: imports "plotting", which packages/optim/package.json does not declare`,
    ]);
  });

  it("an upward import", () => {
    expect(offencesOf({ tensor: { "dot.ts": `export { grad } from "@thalweg/autograd";` }, autograd: {} })).toEqual([
      `packages/tensor/src/dot.ts: imports "@thalweg/autograd", which @thalweg/tensor may not; arrows point one way`,
    ]);
  });

  it("an upward dependency", () => {
    const tensor = toy("tensor", {}, { dependencies: { "@thalweg/autograd": "^1.0.0" } });
    expect(importOffences([tensor, toy("autograd", {})])).toContain(
      "packages/tensor/package.json: @thalweg/tensor may not depend on @thalweg/autograd",
    );
  });

  it("a dependency that nobody imports", () => {
    const nn = toy("nn", {}, { dependencies: { "@thalweg/tensor": "^1.0.0" } });
    expect(importOffences([toy("tensor", {}), nn])).toEqual([
      "packages/nn/package.json: depends on @thalweg/tensor, which no file in src imports",
    ]);
  });

  it("a way into another package's sources", () => {
    expect(offencesOf({ nn: { "a.test.ts": `import { x } from "../../tensor/src/x";` }, tensor: {} })).toEqual([
      `packages/nn/src/a.test.ts: imports "../../tensor/src/x", outside its package; import the published name`,
    ]);
  });

  it("a subpath that is not exported", () => {
    const nn = toy(
      "nn",
      { "a.ts": `import type { X } from "@thalweg/tensor/graph";` },
      { dependencies: { "@thalweg/tensor": "^1.0.0" } },
    );
    expect(importOffences([toy("tensor", {}), nn])).toEqual([
      `packages/nn/src/a.ts: imports "@thalweg/tensor/graph", which @thalweg/tensor does not export`,
    ]);
  });

  it("a module of Node outside a file for Node", () => {
    const files = { "a.ts": `const fs = await import("node:fs");`, "b.node.ts": `import "node:fs";` };
    expect(offencesOf({ tensor: files })).toEqual([
      `packages/tensor/src/a.ts: imports "node:fs", which a browser lacks; only files named *.node.ts may`,
    ]);
  });

  it("the global of Node outside a file for Node", () => {
    const files = {
      "a.ts": "export const debug = () => globalThis.process?.env.DEBUG;",
      "b.node.ts": "process.exit(1);",
      "c.ts": "export const process = (x: number) => x; process(1);",
    };
    expect(offencesOf({ tensor: files })).toEqual([
      "packages/tensor/src/a.ts: uses process, which a browser lacks; only files named *.node.ts may",
    ]);
  });

  it("a file for Node that is imported as if it were an addon", () => {
    expect(offencesOf({ tensor: { "a.ts": `import { b } from "./b.node";`, "b.node.ts": "" } })).toEqual([
      `packages/tensor/src/a.ts: imports "./b.node", which bundlers take for a native addon; write .node.js`,
    ]);
  });

  it("an import of the list of public names", () => {
    expect(offencesOf({ tensor: { "index.ts": "", "a.ts": `import { b } from "./index";` } })).toEqual([
      `packages/tensor/src/a.ts: imports "./index", the list of public names; import the defining file`,
    ]);
  });

  it("a cycle between files, with its path, but none made of types", () => {
    const files = {
      "a.ts": `import { b } from "./b";`,
      "b.ts": `import { c } from "./c/index.js";`,
      "c/index.ts": `import { a } from "../a"; import type { B } from "../b";`,
    };
    expect(offencesOf({ tensor: files })).toEqual([
      "cyclic import: packages/tensor/src/a.ts -> packages/tensor/src/b.ts -> packages/tensor/src/c/index.ts -> packages/tensor/src/a.ts",
    ]);
  });

  it("a package that is not in the table", () => {
    expect(offencesOf({ attic: {} })).toEqual([
      "packages/attic/package.json: @thalweg/attic is not in the table of test/architecture.ts",
    ]);
  });

  it("names that say nothing, and names in another case", () => {
    expect(nameOffences(["src/utils.ts", "src/dotProduct.ts", "src/dot-subgroup.wgsl.ts", "README.md"])).toEqual([
      `src/utils.ts: name the concept, not "utils"`,
      "src/dotProduct.ts: names are kebab-case",
    ]);
  });

  it("atomics on the bits of floats", () => {
    const kernel = "let old = atomicCompareExchangeWeak(&x[i], bits, bitcast<u32>(bitcast<f32>(bits) + value));";
    expect(atomicOffences(new Map([["scatter.wgsl.ts", kernel]]))).toHaveLength(1);
    expect(atomicOffences(new Map([["count.wgsl.ts", "atomicAdd(&count, 1u);"]]))).toHaveLength(0);
  });
});

function offencesOf(all: Readonly<Record<string, Readonly<Record<string, string>>>>): readonly string[] {
  return importOffences(Object.entries(all).map(([name, files]) => toy(name, files)));
}

function toy(name: string, files: Readonly<Record<string, string>>, manifest: Partial<Manifest> = {}): PackageSources {
  const folder = `packages/${name}`;
  return {
    folder,
    manifest: { name: `@thalweg/${name}`, version: "1.0.0", exports: { ".": { "@thalweg/source": "" } }, ...manifest },
    files: new Map(Object.entries(files).map(([path, text]) => [`${folder}/src/${path}`, text])),
  };
}
