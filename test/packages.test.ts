import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPackages, repositoryRoot } from "./architecture";
import { type Outcome, runNode, runTool } from "./commands";

const packages = readPackages(repositoryRoot);
const work = mkdtempSync(join(tmpdir(), "thalweg-packages-"));
const tarballs = join(work, "tarballs");
const consumer = join(work, "consumer");

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

beforeAll(() => {
  built = runTool("turbo", ["run", "build", "--continue", "--output-logs=errors-only"], { timeoutMs: 600_000 });
}, 600_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

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

it.each([".", "examples"])("tsconfig of %s type-checks", (folder) => {
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
  beforeAll(() => {
    mkdirSync(tarballs);
    mkdirSync(consumer);
    const pack = runNode([npm, "pack", "--workspaces", "--pack-destination", tarballs]);
    expect(pack.exitCode, pack.output).toBe(0);

    writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
    const files = readdirSync(tarballs).map((file) => join(tarballs, file));
    expect(files).toHaveLength(packages.length);
    const install = runNode([npm, "install", "--prefer-offline", "--no-audit", "--no-fund", ...files], {
      cwd: consumer,
    });
    expect(install.exitCode, install.output).toBe(0);
    writeFileSync(join(consumer, "program.ts"), program);
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

  it("a program bundles for the browser with nothing of Node in it", async () => {
    const { metafile } = await build({
      entryPoints: [join(consumer, "program.ts")],
      bundle: true,
      format: "esm",
      platform: "browser",
      target: "es2022",
      external: ["node:*", "webgpu", "@sparticuz/chromium"],
      metafile: true,
      write: false,
      outdir: work,
    });
    expect(Object.values(metafile.outputs).flatMap((output) => output.imports)).toEqual([]);
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
