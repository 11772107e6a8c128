import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { AxeResults } from "axe-core";
import type { Browser } from "playwright";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { launch, shortRace, Visitor } from "./visitor";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds, one line for each element. */
async function violations({ page }: Visitor): Promise<readonly string[]> {
  // Not as an element of the page, which its security policy forbids.
  await page.evaluate(axeSource);
  const results = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<AxeResults> } };
    return (await axe.run()).violations;
  });
  return results.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target}: ${failureSummary}`),
  );
}

describe("every view", () => {
  it.each(["light", "dark"] as const)("has nothing that axe finds, in %s colours", async (colorScheme) => {
    const visitor = await Visitor.arrive(browser, "", { colorScheme });
    const { page } = visitor;
    await page.getByText("Trains in this tab").waitFor();
    const recorded = await (await fetch(new URL("recorded/digits.jsonl", page.url()))).text();
    await visitor.open("digits.jsonl", recorded);
    await page.getByText("12 records opened.").waitFor();
    for (const summary of await page.locator("summary:visible").all()) await summary.click();
    expect(await violations(visitor)).toEqual([]);
    for (const view of ["Help", "Valley"]) {
      await page.getByRole("navigation").getByRole("link", { name: view }).click();
      await page.getByRole("heading", { level: 1, name: view }).waitFor({ state: "attached" });
      expect(await violations(visitor)).toEqual([]);
    }
    expect(visitor.complaints).toEqual([]);
    await visitor.leave();
  });

  it.each([360, 768, 1920])("fits into %i pixels", async (width) => {
    const visitor = await Visitor.arrive(browser, "", { viewport: { width, height: 800 } });
    await visitor.page.getByText("Trains in this tab").waitFor();
    for (const view of ["Race", "Valley", "Help"]) {
      await visitor.page.getByRole("navigation").getByRole("link", { name: view }).click();
      await visitor.page.waitForTimeout(200);
      expect(await visitor.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
    await visitor.leave();
  });

  it("keeps the colours that the visitor chose", async () => {
    const visitor = await Visitor.arrive(browser, "", { colorScheme: "light" });
    const background = () => visitor.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await visitor.page.getByText("Dark", { exact: true }).click();
    const dark = await background();
    expect(dark).not.toBe(light);
    await visitor.page.reload();
    expect(await background()).toBe(dark);
    await visitor.leave();
  });
});

describe("the page", () => {
  it("asks its own server only, evaluates nothing, and has a policy that says so", async () => {
    const visitor = await Visitor.arrive(browser, shortRace);
    const { page } = visitor;
    await visitor.start();
    await visitor.outcome();
    const origin = new URL(inject("demoUrl")).origin;
    const elsewhere = visitor.requests.filter(
      (address) => !/^(blob|data):/.test(address) && new URL(address).origin !== origin,
    );
    expect(visitor.requests.length).toBeGreaterThan(4);
    expect(elsewhere).toEqual([]);
    expect(visitor.complaints).toEqual([]);
    await visitor.button("Measure").click();
    await page.getByText(/\d GFLOPS \(256 × 256\)/).waitFor();
    const policy = await page.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute("content");
    expect(policy).toMatch(/default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self';/);
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    const inlined = await page.evaluate(
      () =>
        new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", ({ violatedDirective }) => resolve(violatedDirective));
          const script = document.createElement("script");
          script.textContent = "document.title = 'inlined'";
          document.head.append(script);
        }),
    );
    expect(inlined).toBe("script-src-elem");
    await visitor.leave();
  });

  it("is there in two seconds, with less than 300 kB of packed scripts before the engine", async () => {
    const times: number[] = [];
    let scripts: readonly string[] = [];
    // The best of three: other work on this machine is no property of the page.
    for (let attempt = 0; attempt < 3 && !times.some((time) => time < 2000); attempt++) {
      const visitor = await Visitor.arrive(browser);
      await visitor.page.getByLabel("Target accuracy").fill("90");
      times.push(await visitor.page.evaluate(() => performance.now()));
      scripts = visitor.requests.filter((address) => /\.js$/.test(address));
      await visitor.leave();
    }
    expect(Math.min(...times)).toBeLessThan(2000);
    const files = scripts.map((address) => new URL(address).pathname).filter((path) => !/\/main-/.test(path));
    const packed = files.map((path) => gzipSync(readFileSync(join(inject("demoFolder"), path))).length);
    expect(files.length).toBeGreaterThan(1);
    expect(packed.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(300_000);
  });
});
