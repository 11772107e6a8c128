import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { create as createGpu, globals } from "webgpu";
import type { Case } from "./cases";
import { cases } from "./cases";
import type { Engine } from "./engine";
import type { Row } from "./measure";
import { measureCase } from "./measure";
import { formatAgreement, formatTable } from "./table";

/** Loads an engine only when it takes part: the peers look for `navigator.gpu` while they start. */
const engineLoaders: Readonly<Record<string, () => Promise<{ create(): Promise<Engine> }>>> = {
  thalweg: () => import("./engines/thalweg"),
  jaxjs: () => import("./engines/jaxjs"),
  tfjs: () => import("./engines/tfjs"),
};

const usage = `npm start -- [options]
  --cases a,b      ${cases.map(({ name }) => name).join(", ")} (default: all)
  --engines x,y    ${Object.keys(engineLoaders).join(", ")} (default: all)
  --steps N        steps per engine and round (default 10)
  --rounds R       rounds (default 11)
  --seed S         seed of parameters and images (default 1)
  --json FILE      write the rows to FILE`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cases: { type: "string", default: cases.map(({ name }) => name).join(",") },
      engines: { type: "string", default: Object.keys(engineLoaders).join(",") },
      steps: { type: "string", default: "10" },
      rounds: { type: "string", default: "11" },
      seed: { type: "string", default: "1" },
      json: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  const steps = positiveInteger("steps", values.steps);
  const rounds = positiveInteger("rounds", values.rounds);
  const seed = positiveInteger("seed", values.seed);
  const selected = values.cases.split(",").map(findCase);
  const loaders = values.engines.split(",").map(findEngine);

  const adapter = await installWebGpu();
  console.log(
    `Adapter: ${adapter}. ${rounds} rounds of ${steps} steps of each engine in turn; Node ${process.version}.\n`,
  );
  const engines: Engine[] = [];
  for (const load of loaders) engines.push(await (await load()).create());

  const rows: Row[] = [];
  for (const network of selected) {
    const caseRows = await measureCase(network, engines, { steps, rounds, seed, adapter, onProgress });
    clearProgress();
    rows.push(...caseRows);
    console.log(`${network.name} (${network.description})\n${formatTable(caseRows)}\n${formatAgreement(caseRows)}\n`);
    // Written after every case: an interrupted run keeps what it has measured.
    if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`);
  }
  if (!rows.every(({ agrees }) => agrees)) process.exitCode = 1;
}

/**
 * Puts Dawn behind `navigator.gpu` for all engines and returns the name of the adapter they will get. An adapter serves one
 * device, so every engine asks for its own; with the same preference they are of the same kind.
 */
async function installWebGpu(): Promise<string> {
  Object.assign(globalThis, globals);
  const gpu = createGpu([]);
  Object.defineProperty(globalThis, "navigator", {
    value: { gpu, userAgent: `Node.js/${process.versions.node}` },
    configurable: true,
  });
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) {
    throw new UsageError(
      "Dawn found no adapter: install a Vulkan driver, or point VK_DRIVER_FILES at one (see README.md).",
    );
  }
  const { vendor, architecture, description } = adapter.info;
  return description === "" ? `${vendor} ${architecture}` : description;
}

/** A mistake in how the benchmark was called; shown without a stack. */
class UsageError extends Error {}

function positiveInteger(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new UsageError(`--${option}: expected a positive integer, got "${text}".`);
  return value;
}

function findCase(name: string): Case {
  const found = cases.find((network) => network.name === name);
  if (found === undefined)
    throw new UsageError(`--cases: there is no case "${name}"; choose from ${cases.map((c) => c.name).join(", ")}.`);
  return found;
}

function findEngine(name: string): () => Promise<{ create(): Promise<Engine> }> {
  const load = engineLoaders[name];
  if (load === undefined)
    throw new UsageError(
      `--engines: there is no engine "${name}"; choose from ${Object.keys(engineLoaders).join(", ")}.`,
    );
  return load;
}

function onProgress(message: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${message}`);
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
}

main()
  .catch((error: unknown) => {
    console.error(error instanceof UsageError ? error.message : error);
    process.exitCode = 1;
  })
  // Dawn's threads would keep the process alive.
  .finally(() => process.exit());
