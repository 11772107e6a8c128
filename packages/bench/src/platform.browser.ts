import { webFiles } from "@thalweg/workloads";
import { version } from "../package.json";
import type { Platform } from "./platform";

/** All packages of Thalweg have one version, so that this one's is that of all which decide a record's numbers. */
const recordedPackages = ["tensor", "autograd", "nn", "optim", "workloads", "bench"].map((name) => `@thalweg/${name}`);

export const describeRuntime: Platform["describeRuntime"] = () => ({
  packages: Object.fromEntries(recordedPackages.map((name) => [name, version])),
  runtime: describeBrowser(navigator.userAgent),
  platform: describeSystem(navigator.userAgent),
});

export const defaultFiles: Platform["defaultFiles"] = () => webFiles();

export const createDocument: Platform["createDocument"] = () => document;

/**
 * Name and version of a browser, as `chrome 147.0.7727.24`, from what it says of itself. Chrome and its kin call themselves
 * Safari too, and Edge and Opera call themselves Chrome: the most particular name counts.
 */
export function describeBrowser(userAgent: string): string {
  const names: readonly (readonly [name: string, token: string])[] = [
    ["edge", "Edg"],
    ["opera", "OPR"],
    ["firefox", "Firefox"],
    ["chrome", "HeadlessChrome"],
    ["chrome", "Chrome"],
    ["safari", "Version"],
  ];
  for (const [name, token] of names) {
    const [, version] = new RegExp(`\\b${token}/([\\d.]+)`).exec(userAgent) ?? [];
    if (version !== undefined) return `${name} ${version}`;
  }
  return `browser (${userAgent})`;
}

/** The operating system in the first parentheses of a user agent: `X11; Linux x86_64`. */
function describeSystem(userAgent: string): string {
  return /\(([^)]*)\)/.exec(userAgent)?.[1] ?? "unknown";
}
