import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** Where browsers put themselves, by platform, in order of preference. */
const installed = {
  linux: ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"],
  darwin: ["/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"],
  win32: ["C:/Program Files/Google/Chrome/Application/chrome.exe"],
};

/**
 * Lets headless Chromium compute and draw with WebGPU on SwiftShader. Elsewhere than on Linux it has no Vulkan, and chooses
 * its own back end.
 */
export const softwareGpuFlags = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  ...(process.platform === "linux"
    ? ["--enable-features=Vulkan", "--use-vulkan=swiftshader", "--use-angle=vulkan"]
    : ["--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"]),
];

/**
 * Finds a Chromium for the browser tests: `CHROME_PATH`, else an installed one, else (Linux x64) the one that the npm
 * package `@sparticuz/chromium` carries, unpacked once into the user's cache folder. Needs no root.
 *
 * @returns The executable and the environment to start it with, or `undefined` where there is none.
 */
export function findChromium() {
  const { CHROME_PATH } = process.env;
  if (CHROME_PATH !== undefined && CHROME_PATH !== "") {
    if (!existsSync(CHROME_PATH)) throw new Error(`CHROME_PATH: ${CHROME_PATH} does not exist. Correct or unset it.`);
    return { executablePath: CHROME_PATH, env: process.env };
  }
  const found = installed[process.platform]?.find((path) => existsSync(path));
  if (found !== undefined) return { executablePath: found, env: process.env };
  return process.platform === "linux" && process.arch === "x64" ? fromPackage() : undefined;
}

function fromPackage() {
  const manifest = createRequire(import.meta.url).resolve("@sparticuz/chromium");
  const version = createRequire(import.meta.url)(join(packageRoot(manifest), "package.json")).version;
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const folder = join(cache, "thalweg", `chromium-${version}`);
  if (!existsSync(folder)) unpack(folder);

  const executablePath = join(folder, "chromium");
  const env = existsSync("/etc/fonts")
    ? { ...process.env }
    : { ...process.env, FONTCONFIG_PATH: join(folder, "fonts") };
  if (starts(executablePath, env)) return { executablePath, env };
  // The package also carries the libraries (libnss3 and its like) that a minimal system lacks.
  env.LD_LIBRARY_PATH = [join(folder, "al2023", "lib"), env.LD_LIBRARY_PATH].filter(Boolean).join(":");
  const result = spawnSync(executablePath, ["--version"], { env, encoding: "utf8" });
  if (result.status !== 0) {
    throw new Error(`${executablePath} does not start: ${result.stderr ?? result.error}. Set CHROME_PATH to another.`);
  }
  return { executablePath, env };
}

function packageRoot(file) {
  let folder = dirname(file);
  while (!existsSync(join(folder, "bin", "chromium.br"))) folder = dirname(folder);
  return folder;
}

function starts(executablePath, env) {
  return spawnSync(executablePath, ["--version"], { env, stdio: "ignore" }).status === 0;
}

/**
 * Lets the package unpack itself into `folder`. It chooses the folder by TMPDIR and adds its system libraries only
 * where it believes to be on AWS, hence the child process with a made-up environment. The rename makes it atomic:
 * a killed or a concurrent unpacking leaves no half-written browser behind.
 */
function unpack(folder) {
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
