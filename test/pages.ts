import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { build as buildWithEsbuild } from "esbuild";
import { type Browser, chromium } from "playwright";
import { build as buildWithVite, createServer as createViteServer } from "vite";
import webpack from "webpack";
import { findChromium, softwareGpuFlags } from "../scripts/chromium.mjs";

/** A page that is being served, until it is disposed of. */
export interface Served extends AsyncDisposable {
  readonly address: string;
}

type Bundle = (folder: string, mode: "development" | "production") => Promise<Served>;

/**
 * What library authors bundle their pages with, without any configuration: each takes a folder with `index.html` (for
 * Vite) or `bundle.html` (for the others) and `src/index.js`.
 */
export const bundlers = {
  async esbuild(folder) {
    const [outfile, entry] = [join(folder, "dist", "main.js"), join(folder, "src", "index.js")];
    await buildWithEsbuild({ entryPoints: [entry], bundle: true, format: "esm", outfile, logLevel: "silent" });
    return served(folder, "bundle.html");
  },
  async Vite(folder, mode) {
    if (mode === "production") {
      rmSync(join(folder, "dist"), { recursive: true, force: true });
      await buildWithVite({ root: folder, logLevel: "error" });
      return served(join(folder, "dist"), "index.html");
    }
    const server = await createViteServer({ root: folder, logLevel: "error", server: { port: 0 } });
    await server.listen();
    const [address = "no address"] = server.resolvedUrls?.local ?? [];
    return { address, [Symbol.asyncDispose]: () => server.close() };
  },
  async webpack(folder, mode) {
    rmSync(join(folder, "dist"), { recursive: true, force: true });
    // As when it is run in that folder.
    const compiler = webpack({ context: folder, mode, output: { path: join(folder, "dist") } });
    const stats = await new Promise<webpack.Stats | undefined>((resolve, reject) => {
      compiler.run((error, result) => (error === null ? resolve(result) : reject(error)));
    });
    await new Promise((resolve) => compiler.close(resolve));
    const { errors = [] } = stats?.toJson({ all: false, errors: true }) ?? {};
    if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join("\n"));
    return served(folder, "bundle.html");
  },
} satisfies Record<string, Bundle>;

/** Serves the files of a folder from localhost, which browsers trust as they trust https. */
export async function serveFolder(folder: string): Promise<Served> {
  const types: Readonly<Record<string, string>> = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
  };
  const server = createHttpServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    readFile(join(folder, normalize(pathname))).then(
      (content) => {
        response.writeHead(200, { "content-type": types[extname(pathname)] ?? "application/octet-stream" });
        response.end(content);
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://localhost:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function served(folder: string, page: string): Promise<Served> {
  const { address, [Symbol.asyncDispose]: close } = await serveFolder(folder);
  return { address: `${address}/${page}`, [Symbol.asyncDispose]: close };
}

/** A headless Chromium with WebGPU, or undefined where none is installed. */
export async function launchChromium(): Promise<Browser | undefined> {
  const found = findChromium();
  if (found === undefined) return undefined;
  const { executablePath, env } = found;
  return chromium.launch({ executablePath, env: env as Record<string, string>, args: softwareGpuFlags });
}

/** Opens a page, waits until its state is `done`, and returns the text of one of its elements. */
export async function readPage(browser: Browser | undefined, address: string, selector: string): Promise<string> {
  if (browser === undefined) throw new Error("No Chromium: install one and set CHROME_PATH to its executable.");
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  try {
    await page.goto(address);
    const settled = page.waitForSelector('[data-state="done"], [data-state="failed"]', { timeout: 120_000 });
    const state = await settled.then(
      (body) => body.getAttribute("data-state"),
      () => "not done",
    );
    if (state !== "done") problems.push(`The page is ${state}: ${await page.textContent("body")}`);
    if (problems.length > 0) throw new Error(`${address}: ${problems.join("\n")}`);
    return (await page.textContent(selector)) ?? "";
  } finally {
    await page.close();
  }
}

/** Writes a page that imports all of every entry point, and lists the names that each exports. */
export function writeListOfExports(folder: string, entryPoints: readonly string[]): void {
  const html = (script: string): string =>
    `<!doctype html><html><head><link rel="icon" href="data:,"></head><body>` +
    `<script type="module" src="${script}"></script></body></html>`;
  const imports = entryPoints.map((entryPoint, index) => `import * as module${index} from "${entryPoint}";`);
  const lists = entryPoints.map((entryPoint, index) => `"${entryPoint}": Object.keys(module${index}).sort()`);
  mkdirSync(join(folder, "src"), { recursive: true });
  writeFileSync(join(folder, "index.html"), html("./src/index.js"));
  writeFileSync(join(folder, "bundle.html"), html("./dist/main.js"));
  writeFileSync(
    join(folder, "src", "index.js"),
    `${imports.join("\n")}
const list = document.createElement("pre");
list.id = "exports";
list.textContent = JSON.stringify({ ${lists.join(", ")} });
document.body.append(list);
document.body.dataset.state = "done";
`,
  );
}
