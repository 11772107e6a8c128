// Writes docs/demo/*.png: every view in light and dark, wide and on a phone. npm run screenshots -w @thalweg/demo
// Names of views choose among them: npm run screenshots -w @thalweg/demo -- valley
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright";
import { createServer } from "vite";
import { findChromium, softwareGpuFlags } from "../../../scripts/chromium.mjs";
import { views } from "../src/shell/views";

const root = join(import.meta.dirname, "..");
const folder = join(root, "../../docs/demo");
const wide = { width: 1440, height: 900 };
const phone = { width: 390, height: 844 };
/** Reaches its target on any adapter in a minute or so. */
const race = "#race?target=0.9&seeds=42,43";

const chosen = process.argv.slice(2);
const isChosen = (view: string): boolean => chosen.length === 0 || chosen.includes(view);

const found = findChromium();
if (found === undefined) throw new Error("No Chromium: install one and set CHROME_PATH to its executable.");
mkdirSync(folder, { recursive: true });
const server = await createServer({ root, server: { port: 0 } });
await server.listen();
const address = server.resolvedUrls?.local[0] ?? "";
const browser = await chromium.launch({
  executablePath: found.executablePath,
  env: found.env as Record<string, string>,
  args: softwareGpuFlags,
});
try {
  if (isChosen("race")) await raceShots(browser);
  if (isChosen("valley")) await valleyShots(browser);
  for (const { id } of views.filter((view) => !["race", "valley"].includes(view.id) && isChosen(view.id))) {
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await browser.newPage({ viewport: wide, colorScheme });
      await page.goto(`${address}#${id}`);
      // Time for what a view draws once it is there.
      await page.waitForTimeout(6000);
      await shoot(page, `${id}-${colorScheme}`);
      await page.close();
    }
  }
} finally {
  await browser.close();
  await server.close();
}

/** One race, shown in both schemes and both sizes. */
async function raceShots(own: Browser): Promise<void> {
  const page = await own.newPage({ viewport: wide, colorScheme: "light" });
  await page.goto(address + race);
  await page.getByRole("button", { name: "Start the race" }).click();
  await page.getByText(/^Finished/).waitFor({ timeout: 600_000 });
  await page.getByRole("button", { name: "Measure" }).click();
  await page.getByText(/GFLOPS \(/).waitFor({ timeout: 60_000 });
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(wide);
    await page.waitForTimeout(800);
    await shoot(page, `race-${colorScheme}`);
    await page.setViewportSize(phone);
    await page.waitForTimeout(800);
    await shoot(page, `race-phone-${colorScheme}`);
  }
  await page.close();
}

/** The first function, with all paths and curves, in both schemes and both sizes. */
async function valleyShots(own: Browser): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    // Without motion the whole paths are there from the start.
    const page = await own.newPage({ viewport: wide, colorScheme, reducedMotion: "reduce" });
    await page.goto(`${address}#valley`);
    await page.waitForFunction(
      () => {
        const cards = document.querySelectorAll(".runner").length;
        const drawn = document.querySelectorAll(".runner:has(.curve)").length;
        return (
          cards > 0 && drawn === cards && !document.querySelector(".results")?.textContent?.includes("being computed")
        );
      },
      undefined,
      { timeout: 120_000 },
    );
    await shoot(page, `valley-${colorScheme}`);
    await page.setViewportSize(phone);
    await page.waitForTimeout(800);
    await shoot(page, `valley-phone-${colorScheme}`);
    await page.close();
  }
}

async function shoot(page: Page, name: string): Promise<void> {
  const path = join(folder, `${name}.png`);
  await page.screenshot({ path, fullPage: true });
  console.log(path);
}
