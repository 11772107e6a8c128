import { createReadStream, existsSync, statSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { Connect, Plugin } from "vite";
// The configuration is bundled from sources: no package has to be built before it.
import { cacheFolder, localFolder } from "../../../packages/workloads/src/fetch/cache.node";

/** The part of an address behind `data/`: a folder and a file, nothing that leads out of it. */
const dataPath = /\/data\/([a-z0-9-]+)\/([a-z0-9-]+\.gz)$/;

/**
 * Serves the files of data sets under `data/`, in development and preview: from the folder that `THALWEG_DATA` names, else
 * from the cache that `thalweg data fetch` fills. For a deployed build `npm run data` copies them.
 */
export function dataFolder(): Plugin {
  return {
    name: "data-folder",
    configureServer: ({ middlewares }) => {
      middlewares.use(serveData);
    },
    configurePreviewServer: ({ middlewares }) => {
      middlewares.use(serveData);
    },
  };
}

function serveData(request: IncomingMessage, response: ServerResponse, next: Connect.NextFunction): void {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  if (!pathname.includes("/data/")) {
    next();
    return;
  }
  const [, folder = "", name = ""] = dataPath.exec(pathname) ?? [];
  const roots = [localFolder(), cacheFolder()].filter((root) => root !== undefined);
  // A copy may be kept unpacked; the page recognises its content.
  const candidates = roots.flatMap((root) => [join(root, folder, name), join(root, folder, name.replace(/\.gz$/, ""))]);
  const path = name === "" ? undefined : candidates.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": statSync(path).size });
  createReadStream(path).pipe(response);
}
