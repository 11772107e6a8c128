import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { findChromium, softwareGpuFlags } from "./scripts/chromium.mjs";

const chromium = findChromium();
if (chromium === undefined) {
  throw new Error("No Chromium for the browser tests: install one and set CHROME_PATH to its executable.");
}

export default defineConfig({
  resolve: { conditions: ["@thalweg/source", "module", "browser", "development|production"] },
  // Found while the tests run it would reload the page in their midst.
  optimizeDeps: { include: ["fast-check"] },
  test: {
    name: "browser",
    include: ["packages/{tensor,autograd,bench}/**/*.browser.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    testTimeout: 30_000,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      instances: [{ browser: "chromium" }],
      provider: playwright({
        launchOptions: {
          executablePath: chromium.executablePath,
          env: chromium.env as Record<string, string>,
          args: softwareGpuFlags,
        },
      }),
    },
  },
});
