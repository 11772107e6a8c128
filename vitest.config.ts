import { existsSync, readdirSync } from "node:fs";
import { defineConfig } from "vitest/config";

const folder = `${import.meta.dirname}/packages`;
const packages = readdirSync(folder).filter((name) => existsSync(`${folder}/${name}/package.json`));

/** Tests read the sources of every package: no build is needed and none can be stale. */
const conditions = ["@thalweg/source", "module", "node", "development|production"];
const exclude = ["**/*.browser.test.ts", "**/node_modules/**", "**/dist/**"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    pool: "forks",
    isolate: false,
    maxWorkers: 2,
    testTimeout: 30_000,
    // A worker that used many devices takes its time to end; killed before that, it fails the run.
    teardownTimeout: 120_000,
    projects: [
      ...packages.map((name) => ({
        extends: true as const,
        test: { name, root: `${folder}/${name}`, include: ["src/**/*.test.ts", "test/**/*.test.ts"], exclude },
      })),
      {
        extends: true,
        test: { name: "repository", include: ["test/{architecture,contributing,examples,performance}.test.ts"] },
      },
      {
        extends: true,
        test: { name: "demo-unit", root: `${import.meta.dirname}/apps/demo`, include: ["src/**/*.test.ts"], exclude },
      },
      {
        extends: true,
        test: {
          name: "built-demo",
          root: `${import.meta.dirname}/apps/demo`,
          include: ["test/*.e2e.test.ts"],
          globalSetup: ["test/served-build.ts"],
          // All of them train on one software GPU, which shares this machine's processors.
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
      // Builds, packs and installs, and so takes its time: `npm test` runs it last and by itself.
      { extends: true, test: { name: "built-packages", include: ["test/packages.test.ts"], testTimeout: 300_000 } },
    ],
  },
});
