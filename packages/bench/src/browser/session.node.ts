import { existsSync } from "node:fs";
import { ThalwegError } from "@thalweg/tensor";
import type { Browser, BrowserType, Page } from "playwright-core";
import { runnerScript } from "#runner-script";
import { UsageError } from "../errors";
import { describeBrowser } from "../platform.browser";
import type { RunEnvironment } from "../records/schema";
import { type BrowserExecutable, findChromium } from "./executable.node.js";
import type { Answer, ErrorDescription, Runner, RunnerEvent, RunnerHost } from "./protocol";
import { RunnerServer } from "./server.node.js";

/** The browsers that can be driven. */
export const browserNames = ["chromium", "firefox", "webkit"] as const;

/** One of {@link browserNames}. */
export type BrowserName = (typeof browserNames)[number];

/** Which browser, and how it is started. */
export interface BrowserOptions {
  /** Default `"chromium"`. */
  readonly browser?: BrowserName | undefined;
  /** The executable. Default: the variable `CHROME_PATH`, one of Playwright's own, an installed one, one from npm. */
  readonly executablePath?: string | undefined;
  /** Whether its window is shown. Default false. */
  readonly headed?: boolean | undefined;
  /**
   * The adapter that will be asked for: for `"software"` the browser is started with a software driver, for `"auto"` only
   * where it has no adapter without. Default: the variable `THALWEG_ADAPTER`, else `"auto"`.
   */
  readonly adapter?: string | undefined;
}

/** A browser with the page that trains. */
export class BrowserSession implements AsyncDisposable {
  /** The adapter to ask for. */
  readonly adapter: string;
  /** Name and version of the browser and the system that it runs on, for records. */
  readonly environment: Pick<RunEnvironment, "runtime" | "platform">;
  readonly page: Page;
  readonly server: RunnerServer;
  /** Told what the page says; whoever calls the page sets it. */
  onEvent: (event: RunnerEvent) => void = () => undefined;
  readonly #browser: Browser;
  #ending: string | undefined;

  private constructor(parts: Pick<BrowserSession, "adapter" | "environment" | "page" | "server">, browser: Browser) {
    this.adapter = parts.adapter;
    this.environment = parts.environment;
    this.page = parts.page;
    this.server = parts.server;
    this.#browser = browser;
    this.page.on("crash", () => this.#ends("the page crashed"));
    this.page.on("close", () => this.#ends("the page was closed"));
    browser.on("disconnected", () => this.#ends("the browser ended"));
  }

  /**
   * Starts a browser and opens the page.
   *
   * @throws UsageError if there is no such browser; ThalwegError with code `browser` if it does not start.
   */
  static async open(options: BrowserOptions = {}): Promise<BrowserSession> {
    const { browser: name = "chromium", adapter = process.env.THALWEG_ADAPTER || "auto" } = options;
    const playwright = await import("playwright-core");
    const executable = findExecutable(playwright[name], name, options.executablePath);
    const server = new RunnerServer(await runnerScript());
    const address = await server.listen();
    let browser: Browser | undefined;
    try {
      const start = async (software: boolean): Promise<Page> => {
        browser = await launch(playwright[name], executable, { name, software, headed: options.headed ?? false });
        const page = await browser.newPage();
        await page.goto(address);
        return page;
      };
      let page = await start(adapter === "software");
      if (adapter === "auto" && name === "chromium" && !(await hasAdapter(page))) {
        await browser?.close();
        page = await start(true);
      }
      return await BrowserSession.#on(page, adapter, server);
    } catch (error) {
      await browser?.close();
      await server.close();
      throw error;
    }
  }

  static async #on(page: Page, adapter: string, server: RunnerServer): Promise<BrowserSession> {
    // A page of a browser that was launched has one.
    const browser = page.context().browser() as Browser;
    const environment = {
      runtime: describeVersion(await page.evaluate(() => navigator.userAgent), browser.version()),
      platform: `${process.platform} ${process.arch}`,
    };
    const session = new BrowserSession({ adapter, environment, page, server }, browser);
    const host: RunnerHost = {
      thalwegEvent: async (event) => session.onEvent(event),
      thalwegOpenRun: (configuration) => server.openRun(configuration),
    };
    for (const [key, value] of Object.entries(host)) await page.exposeFunction(key, value);
    return session;
  }

  /**
   * Asks the page for something and waits for it.
   *
   * @throws the page's own error; ThalwegError with code `browser` if the page or the browser ends before it answers.
   */
  async call<K extends Exclude<keyof Runner, "stop">>(
    method: K,
    request: Parameters<Runner[K]>[0],
  ): Promise<Awaited<ReturnType<Runner[K]>> extends Answer<infer T> ? T : never> {
    let answer: Answer<unknown>;
    try {
      answer = await this.page.evaluate(
        ([name, argument]) =>
          // What is asked for is checked above; in here there are no types of ours.
          (
            globalThis as unknown as { thalwegRunner: Record<string, (argument: unknown) => Promise<Answer<unknown>>> }
          ).thalwegRunner[name]?.(argument) as Promise<Answer<unknown>>,
        [method as string, request as unknown] as const,
      );
    } catch (cause) {
      throw new ThalwegError(
        "browser",
        `${this.environment.runtime}: ${this.#ending ?? firstLine(cause)} before the work was done. ` +
          "All that was recorded is kept, and the same command goes on from there.",
        { cause },
      );
    }
    if ("error" in answer) throw this.server.takeFailure() ?? asError(answer.error);
    return answer.value as never;
  }

  /** Ends the race that is going on as Ctrl-C does in Node; its call answers soon. */
  async stop(): Promise<void> {
    await this.page
      .evaluate(() => (globalThis as unknown as { thalwegRunner: Runner }).thalwegRunner.stop())
      // A page that is gone has stopped.
      .catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
    await this.server.close();
  }

  #ends(how: string): void {
    this.#ending ??= how;
  }
}

/** Errors of the page as errors of their kind, as far as it decides the exit code. */
function asError({ code, message, stack }: ErrorDescription): Error {
  if (code === undefined) return Object.assign(new Error(message), stack === undefined ? {} : { stack });
  const error = code === "usage" || code === "argument" ? new UsageError(message) : new ThalwegError(code, message);
  return Object.assign(error, stack === undefined ? {} : { stack });
}

function findExecutable(type: BrowserType, name: BrowserName, given: string | undefined): BrowserExecutable {
  const { CHROME_PATH } = process.env;
  const path = given ?? (name === "chromium" ? CHROME_PATH || undefined : undefined);
  if (path !== undefined) {
    if (existsSync(path)) return { executablePath: path, env: process.env };
    const source = given === undefined ? "CHROME_PATH" : "--browser-path";
    throw new UsageError(`${source}: ${path} does not exist. Give the path of a browser's executable.`);
  }
  const own = type.executablePath();
  if (own !== "" && existsSync(own)) return { executablePath: own, env: process.env };
  const found = name === "chromium" ? findChromium() : undefined;
  if (found !== undefined) return found;
  throw new UsageError(
    name === "chromium"
      ? "no Chrome, Chromium or Edge found. Install one, or give the path of its executable with --browser-path."
      : `no ${name} found. Only builds of Playwright can be driven: run "npx playwright-core install ${name}".`,
  );
}

async function launch(
  type: BrowserType,
  { executablePath, env }: BrowserExecutable,
  { name, software, headed }: { readonly name: BrowserName; readonly software: boolean; readonly headed: boolean },
): Promise<Browser> {
  try {
    return await type.launch({
      executablePath,
      env: env as Record<string, string>,
      headless: !headed,
      args: name === "chromium" ? [...chromiumFlags(software)] : [],
      firefoxUserPrefs: name === "firefox" ? { "dom.webgpu.enabled": true } : {},
      // The first Ctrl-C lets the race write its record; the browser ends with this process at the latest.
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
    });
  } catch (cause) {
    throw new ThalwegError("browser", `${executablePath} does not start: ${firstLine(cause)}`, { cause });
  }
}

/**
 * What makes a Chromium compute with WebGPU: on Linux it is behind a flag and needs Vulkan; and kernels are timed in
 * nanoseconds instead of steps of 65 microseconds, as in Node.
 */
export function chromiumFlags(software: boolean): readonly string[] {
  const common = ["--enable-unsafe-webgpu", "--disable-dawn-features=timestamp_quantization"];
  if (process.platform !== "linux") {
    return software ? [...common, "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"] : common;
  }
  const vulkan = ["--enable-features=Vulkan", "--use-angle=vulkan"];
  return [...common, ...vulkan, ...(software ? ["--use-vulkan=swiftshader"] : ["--disable-vulkan-surface"])];
}

const hasAdapter = (page: Page): Promise<boolean> =>
  page.evaluate(async () => (await (navigator as { gpu?: GPU }).gpu?.requestAdapter()) != null);

/** Browsers blur their version in what they say to pages; the driver knows it in full. */
function describeVersion(userAgent: string, version: string): string {
  const [name = "browser"] = describeBrowser(userAgent).split(" ");
  return `${name} ${version}`;
}

const firstLine = (error: unknown): string =>
  String(error instanceof Error ? error.message : error).split("\n", 1)[0] ?? "";
