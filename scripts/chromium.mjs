import { existsSync } from "node:fs";
import { tsImport } from "tsx/esm/api";

const command = await tsImport("../packages/bench/src/browser/executable.node.ts", import.meta.url);

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
 * Finds a Chromium for the browser tests: `CHROME_PATH`, else the one that `thalweg bench --in browser` finds.
 *
 * @returns The executable and the environment to start it with, or `undefined` where there is none.
 */
export function findChromium() {
  const { CHROME_PATH } = process.env;
  if (CHROME_PATH === undefined || CHROME_PATH === "") return command.findChromium();
  if (!existsSync(CHROME_PATH)) throw new Error(`CHROME_PATH: ${CHROME_PATH} does not exist. Correct or unset it.`);
  return { executablePath: CHROME_PATH, env: process.env };
}
