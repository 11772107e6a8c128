import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import type { Browser } from "playwright";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium } from "../scripts/chromium.mjs";
import { readPackages, repositoryRoot } from "./architecture";
import { type Outcome, runNode, runTool } from "./commands";
import { bundlers, launchChromium, readPage, serveFolder, writeListOfExports } from "./pages";

/** What is published; an app has no users that import it. */
const packages = readPackages(repositoryRoot).filter(({ folder }) => folder.startsWith("packages/"));
const work = mkdtempSync(join(tmpdir(), "thalweg-packages-"));
const tarballs = join(work, "tarballs");
const consumer = join(work, "consumer");

/** All that may be imported in a browser: every package, without what it names `/node`. */
const entryPoints = packages.flatMap(({ manifest: { name, exports = {} } }) =>
  Object.keys(exports)
    .filter((subpath) => subpath !== "./package.json" && subpath !== "./node")
    .map((subpath) => name + subpath.slice(1)),
);

/** The npm that runs with this Node, as a script. */
const npm = process.env.npm_execpath ?? findNpm();

/** What a user of the published packages might write first. */
const program = `import { grad } from "@thalweg/autograd";
import { dense } from "@thalweg/nn";
import { adam } from "@thalweg/optim";
import { type Tensor, tensor } from "@thalweg/tensor";

const slope = grad((x: Tensor) => x.square().sum());
console.log(JSON.stringify(await slope(tensor([1, 2, 3])).array()), typeof dense, typeof adam);
`;

/** One build for all tests below. It goes on after a failure, so that the other packages are still checked. */
let built: Outcome;
let browser: Browser | undefined;

beforeAll(() => {
  built = runTool("turbo", ["run", "build", "--continue", "--output-logs=errors-only"], { timeoutMs: 600_000 });
}, 600_000);

afterAll(async () => {
  await browser?.close();
  rmSync(work, { recursive: true, force: true });
});

it("every package builds", () => {
  expect(built.exitCode, built.output).toBe(0);
});

describe.each(packages.map(({ folder, manifest }) => ({ folder, manifest })))(
  "$manifest.name",
  ({ folder, manifest }) => {
    it("type-checks", () => {
      const { exitCode, output } = runTool("typescript", ["--noEmit", "-p", folder]);
      expect(exitCode, output).toBe(0);
    });

    it("passes publint", async () => {
      const { messages } = await publint({ pkgDir: join(repositoryRoot, folder), strict: true });
      expect(messages.map((message) => formatMessage(message, { ...manifest }))).toEqual([]);
    });

    it("has types that resolve for its users", () => {
      const { exitCode, output } = runTool("@arethetypeswrong/cli", ["--pack", ".", "--profile", "esm-only"], {
        cwd: join(repositoryRoot, folder),
      });
      expect(exitCode, output).toBe(0);
    });
  },
);

it.each([".", "examples", "apps/demo"])("tsconfig of %s type-checks", (folder) => {
  const { exitCode, output } = runTool("typescript", ["--noEmit", "-p", folder]);
  expect(exitCode, output).toBe(0);
});

it("passes the linter", () => {
  const { exitCode, output } = runTool("@biomejs/biome", ["check", "."]);
  expect(exitCode, output).toBe(0);
});

it("has no unused files and exports", () => {
  const { exitCode, output } = runTool("knip", []);
  expect(exitCode, output).toBe(0);
});

describe("installed from the packed files", () => {
  beforeAll(async () => {
    mkdirSync(tarballs);
    cpSync(join(repositoryRoot, "examples", "browser"), consumer, { recursive: true });
    const workspaces = packages.map(({ folder }) => `--workspace=${folder}`);
    const pack = runNode([npm, "pack", ...workspaces, "--pack-destination", tarballs]);
    expect(pack.exitCode, pack.output).toBe(0);

    const files = readdirSync(tarballs).map((file) => join(tarballs, file));
    expect(files).toHaveLength(packages.length);
    const install = runNode([npm, "install", "--prefer-offline", "--no-audit", "--no-fund", ...files], {
      cwd: consumer,
    });
    expect(install.exitCode, install.output).toBe(0);
    writeFileSync(join(consumer, "program.ts"), program);
    writeListOfExports(join(consumer, "every"), entryPoints);
    browser = await launchChromium();
  }, 600_000);

  it("a program type-checks", () => {
    const options = { module: "nodenext", target: "es2022", strict: true, noEmit: true, skipLibCheck: true, types: [] };
    const config = { compilerOptions: options, files: ["program.ts"] };
    writeFileSync(join(consumer, "tsconfig.json"), JSON.stringify(config));
    const { exitCode, output } = runTool("typescript", ["-p", consumer]);
    expect(exitCode, output).toBe(0);
  });

  it("a program runs in Node", async () => {
    await build({ entryPoints: [join(consumer, "program.ts")], outfile: join(consumer, "program.js"), format: "esm" });
    const { exitCode, output } = runNode(["program.js"], { cwd: consumer });
    expect(exitCode, output).toBe(0);
    expect(output).toContain("[2,4,6] function function");
  });

  describe.skipIf(findChromium() === undefined)("in a browser", () => {
    /** What the example says of its loss at the end, by what built the page. */
    const losses = new Map<string, string>();

    it.each(Object.keys(bundlers))("%s takes every package as it is, and what it makes works", async (bundler) => {
      const bundle = bundlers[bundler as keyof typeof bundlers];
      await using every = await bundle(join(consumer, "every"), "development");
      expect(JSON.parse(await readPage(browser, every.address, "#exports"))).toEqual(exportedInNode());

      await using example = await bundle(consumer, "production");
      losses.set(bundler, await readPage(browser, example.address, "#loss"));
    });

    it("the command trains in a browser", () => {
      const training = ["run", "digits", "sgd", "--bs", "16", "--budget", "5steps", "--in", "browser"];
      const args = ["node_modules/thalweg/bin/thalweg.js", ...training, "--adapter", "software", "--json"];
      const { exitCode, output } = runNode(args, { cwd: consumer });
      expect(exitCode, output).toBe(0);
      expect(output).toContain('"status": "finished"');
    });

    it("a page without a bundler works by an import map", async () => {
      await using server = await serveFolder(consumer);
      losses.set("none", await readPage(browser, `${server.address}/import-map.html`, "#loss"));
    });

    it("the example trains to the same loss, whatever built it", () => {
      expect([...losses.keys()]).toEqual([...Object.keys(bundlers), "none"]);
      expect(new Set(losses.values()).size, JSON.stringify([...losses])).toBe(1);
      expect(Number(losses.get("none"))).toBeLessThan(0.01);
    });
  });

  it("the command answers", () => {
    const { exitCode, output } = runNode(["node_modules/thalweg/bin/thalweg.js", "--help"], { cwd: consumer });
    expect(exitCode, output).toBe(0);
    expect(output).toContain("bench");
  });
});

function findNpm(): string {
  const beside = dirname(process.execPath);
  const unix = join(beside, "..", "lib", "node_modules", "npm", "bin", "npm-cli.js");
  return process.platform === "win32" ? join(beside, "node_modules", "npm", "bin", "npm-cli.js") : unix;
}

/** The names that every entry point exports in Node. */
function exportedInNode(): Record<string, string[]> {
  const script = `const exported = {};
    for (const name of ${JSON.stringify(entryPoints)}) exported[name] = Object.keys(await import(name)).sort();
    console.log(JSON.stringify(exported));`;
  const { exitCode, output } = runNode(["--input-type=module", "--eval", script], { cwd: consumer });
  expect(exitCode, output).toBe(0);
  return JSON.parse(output) as Record<string, string[]>;
}
