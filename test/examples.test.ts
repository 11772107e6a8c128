import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { repositoryRoot } from "./architecture";
import { runNode } from "./commands";

const examples = readdirSync(join(repositoryRoot, "examples")).filter((name) => name.endsWith(".ts"));

it("there are examples", () => {
  expect(examples).not.toEqual([]);
});

for (const name of examples) {
  it(`examples/${name} runs to its end`, { timeout: 240_000 }, () => {
    const { exitCode, output } = runNode(["--import", "./scripts/run-sources.mjs", `examples/${name}`]);
    expect(exitCode, output).toBe(0);
  });
}
