// Import this first (`node --import ./scripts/run-sources.mjs file.ts`) to run TypeScript of this repository directly.
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { register as registerTypeScript } from "tsx/esm/api";

registerTypeScript({ tsconfig: fileURLToPath(new URL("../tsconfig.json", import.meta.url)) });
register("./source-condition.mjs", import.meta.url);
