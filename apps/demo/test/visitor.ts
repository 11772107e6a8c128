import { readFile } from "node:fs/promises";
import { parseRecords, type RunRecord } from "@thalweg/bench";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright";
import { expect, inject } from "vitest";
import { findChromium, softwareGpuFlags } from "../../../scripts/chromium.mjs";

/** Starts a browser. With a GPU it is the software one. */
export async function launch({ withGpu = true } = {}): Promise<Browser> {
  const found = findChromium();
  if (found === undefined) throw new Error("No Chromium: install one and set CHROME_PATH to its executable.");
  return chromium.launch({
    executablePath: found.executablePath,
    env: found.env as Record<string, string>,
    args: withGpu ? softwareGpuFlags : ["--no-sandbox"],
  });
}

/** A race of one run that takes seconds. */
export const shortRace = "#race?target=0.8&every=50&seeds=1&run=adam,learningRate:0.01";

/** Somebody on the page, and what the page did wrong. */
export class Visitor {
  readonly page: Page;
  /** Addresses of everything that was requested. */
  readonly requests: string[] = [];
  /** Errors of the page, and breaches of its security policy. */
  readonly complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", ({ message }) => this.complaints.push(message));
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
  }

  /** Opens an address below the page's in a browser context of its own. */
  static async arrive(browser: Browser, path = "", options: BrowserContextOptions = {}): Promise<Visitor> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const visitor = new Visitor(await context.newPage());
    await visitor.page.goto(inject("demoUrl") + path);
    return visitor;
  }

  async leave(): Promise<void> {
    await this.page.context().close();
  }

  button(name: string) {
    return this.page.getByRole("button", { name, exact: true });
  }

  /** What the controls say of the race. */
  get state() {
    return this.page.locator(".controls .state");
  }

  async start(): Promise<void> {
    await this.button("Start the race").click();
  }

  /** Waits until the race is over, and says how it ended. */
  async outcome(): Promise<string> {
    await this.page.waitForFunction(
      () => /Finished|Stopped|could not/.test(document.querySelector(".controls .state")?.textContent ?? ""),
      undefined,
      { timeout: 220_000 },
    );
    return (await this.state.textContent()) ?? "";
  }

  /** The numbers behind a chart, as its table has them. */
  async chartData(title: string): Promise<readonly (readonly [line: string, x: number, y: number])[]> {
    const chart = this.page.getByRole("figure", { name: title });
    const table = chart.locator("details");
    if ((await table.getAttribute("open")) === null) await table.locator("summary").click();
    await chart.locator("tbody").waitFor({ state: "attached" });
    const rows = await chart
      .locator("tbody tr")
      .evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent ?? "")));
    return rows.map(([line = "", x = "", y = ""]) => [line, Number(x), Number(y)] as const);
  }

  /** Saves what a button gives, and returns its name and content. */
  async save(button: string | RegExp): Promise<{ readonly name: string; readonly content: Buffer }> {
    const downloading = this.page.waitForEvent("download");
    await this.page.getByRole("button", { name: button }).click();
    const download = await downloading;
    return { name: download.suggestedFilename(), content: await readFile(await download.path()) };
  }

  /** The records of the race. */
  async records(): Promise<readonly RunRecord[]> {
    const { name, content } = await this.save(/^Save \d+ record/);
    const { records, problems } = parseRecords(content, name);
    expect(problems).toEqual([]);
    return records;
  }

  /** Opens a file with records. */
  async open(name: string, content: string | Buffer): Promise<void> {
    await this.page
      .getByLabel("Open records")
      .setInputFiles({ name, mimeType: "application/jsonl", buffer: Buffer.from(content) });
  }
}
