import { defineConfig } from "vite";
import { contentSecurity } from "./build/content-security";
import { dataFolder } from "./build/data-folder";

export default defineConfig({
  // Relative addresses: a build works in any folder of any server.
  base: "./",
  resolve: { conditions: ["@thalweg/source", "module", "browser", "development|production"] },
  plugins: [contentSecurity(), dataFolder()],
  worker: { format: "es" },
  build: {
    target: "es2022",
    // Small files stay files: the content security policy has no `data:` for them.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
