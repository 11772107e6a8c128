import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** A browser's executable, and the environment to start it with. */
export interface BrowserExecutable {
  readonly executablePath: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Where browsers of Chromium's kind put themselves, by platform, in order of preference. */
const installed: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  linux: [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/opt/google/chrome/chrome",
    "/usr/bin/microsoft-edge",
  ],
  darwin: [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
  ],
  win32: [
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
  ],
};

/**
 * Finds a Chromium: an installed one, else (Linux x64) the one that the npm package `@sparticuz/chromium` carries, unpacked
 * once into the user's cache folder. Needs no rights on the machine.
 */
export function findChromium(): BrowserExecutable | undefined {
  const found = installed[process.platform]?.find((path) => existsSync(path));
  if (found !== undefined) return { executablePath: found, env: process.env };
  return process.platform === "linux" && process.arch === "x64" ? fromPackage() : undefined;
}

function fromPackage(): BrowserExecutable | undefined {
  const require = createRequire(import.meta.url);
  let root: string;
  try {
    root = packageRoot(require.resolve("@sparticuz/chromium"));
  } catch (error) {
    // It is an optional dependency.
    if ((error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND") return undefined;
    throw error;
  }
  const { version } = require(join(root, "package.json")) as { version: string };
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const folder = join(cache, "thalweg", `chromium-${version}`);
  if (!existsSync(folder)) unpack(folder);

  const executablePath = join(folder, "chromium");
  const env: NodeJS.ProcessEnv = { ...process.env };
  if (!existsSync("/etc/fonts")) env.FONTCONFIG_PATH = join(folder, "fonts");
  if (starts(executablePath, env)) return { executablePath, env };
  // The package also carries the libraries (libnss3 and its like) that a minimal system lacks.
  env.LD_LIBRARY_PATH = [join(folder, "al2023", "lib"), env.LD_LIBRARY_PATH].filter(Boolean).join(":");
  if (starts(executablePath, env)) return { executablePath, env };
  return undefined;
}

function packageRoot(file: string): string {
  let folder = dirname(file);
  while (!existsSync(join(folder, "bin", "chromium.br"))) folder = dirname(folder);
  return folder;
}

const starts = (executablePath: string, env: NodeJS.ProcessEnv): boolean =>
  spawnSync(executablePath, ["--version"], { env, stdio: "ignore" }).status === 0;

/**
 * Lets the package unpack itself into `folder`. It chooses the folder by TMPDIR and adds its system libraries only
 * where it believes to be on AWS, hence the child process with a made-up environment. The rename makes it atomic:
 * a killed or a concurrent unpacking leaves no half-written browser behind.
 */
function unpack(folder: string): void {
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  const script = `import("@sparticuz/chromium").then(({ default: chromium }) => chromium.executablePath())`;
  const result = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    cwd: import.meta.dirname,
    env: { ...process.env, TMPDIR: partial, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs20.x" },
    encoding: "utf8",
  });
  if (result.status !== 0) throw new Error(`Unpacking Chromium into ${partial} failed: ${result.stderr}`);
  try {
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
}
