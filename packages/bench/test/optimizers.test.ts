import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { optimizers } from "@thalweg/optim";
import { init } from "@thalweg/tensor";
import type { TestProblem } from "@thalweg/workloads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { race } from "../src/race";
import { folderStore } from "../src/records/folder.node.js";
import { linear } from "./linear-problem";

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "thalweg-optimizers-"));
  await init({ notice: () => {} });
});
afterAll(() => rmSync(root, { recursive: true }));

// What only runs have: two programs, another point of evaluation, the loss and the curvature from the workload.
describe.each(Object.keys(optimizers))("%s in a run", (optimizer) => {
  it("trains without divergence", { timeout: 120_000 }, async () => {
    const { records } = await race({
      workload: linear as unknown as TestProblem,
      algorithms: [optimizer],
      seeds: [1],
      store: folderStore(join(root, optimizer)),
      budget: { steps: 40 },
      evaluationInterval: 20,
    });
    const [record] = records;
    expect(record?.end?.status).toBe("finished");
    const losses = record?.evaluations.map(({ phases }) => phases.trainEval?.loss ?? Number.NaN) ?? [];
    expect(losses.length).toBeGreaterThanOrEqual(3);
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(Math.min(...losses.slice(1))).toBeLessThan(losses[0] ?? Number.NaN);
  });
});
