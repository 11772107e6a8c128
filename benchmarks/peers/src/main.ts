/** The command: every case in a process of its own, so that no case finds memory, shaders or damage of another. */
import { execFileSync, fork } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import manifest from "../package.json";
import { type KernelCase, kernelCases } from "./cases/kernels";
import { type TrainingCase, trainingCases } from "./cases/training";
import type { Engine } from "./engine";
import { type EngineSource, measureCase } from "./measure";
import type { AdapterName, Results, Row } from "./results";
import { formatSummary, formatTable } from "./table";
import { installWebGpu, UsageError } from "./webgpu";

type Case = KernelCase | TrainingCase;

const cases: readonly Case[] = [...trainingCases, ...kernelCases];
const groups: Readonly<Record<string, readonly Case[]>> = { training: trainingCases, kernels: kernelCases };

/** Loads an engine only when it takes part: the peers look for `navigator.gpu` while they start. */
const engineLoaders: Readonly<Record<string, (options: { python: string }) => Promise<Engine>>> = {
  thalweg: async () => (await import("./engines/thalweg")).create(),
  "jax-js": async () => (await import("./engines/jaxjs")).create(),
  tfjs: async () => (await import("./engines/tfjs")).create(),
  pytorch: async (options) => (await import("./engines/pytorch")).create(options),
};

const usage = `npm start -- [options]
  --cases a,b      training, kernels, or any of
                   ${cases.map(({ name }) => name).join(", ")} (default: all)
  --engines x,y    ${Object.keys(engineLoaders).join(", ")} (default: all; pytorch where Python has it)
  --rounds R       rounds (default 9)
  --round-ms T     milliseconds that a round of one engine shall take about (default 400)
  --steps N        runs per engine and round, instead of as many as fill a round
  --compare N      training steps whose losses are compared (default 6)
  --batch N        examples per step, instead of those of the case
  --limit S        seconds after which a stage of an engine is given up (default 300)
  --seed S         seed of parameters and data (default 1)
  --python P       the Python that has PyTorch (default python3)
  --json FILE      write the results to FILE
  --append         keep what FILE says about cases that are not run now`;

/** What a worker is asked to do. */
interface Task {
  readonly case: string;
  readonly engines: readonly string[];
  readonly python: string;
  readonly rounds: number;
  readonly roundMs: number;
  readonly runs: number | undefined;
  readonly compared: number;
  readonly batchSize: number | undefined;
  readonly seed: number;
}

/** What a worker says. */
type Message =
  | { readonly kind: "adapter"; readonly adapter: AdapterName }
  | { readonly kind: "stage"; readonly engine?: string; readonly doing: string }
  | { readonly kind: "rows"; readonly rows: readonly Row[] }
  | { readonly kind: "failure"; readonly message: string; readonly isUsage: boolean };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cases: { type: "string", default: "training,kernels" },
      engines: { type: "string" },
      rounds: { type: "string", default: "9" },
      "round-ms": { type: "string", default: "400" },
      steps: { type: "string" },
      compare: { type: "string", default: "6" },
      batch: { type: "string" },
      limit: { type: "string", default: "300" },
      seed: { type: "string", default: "1" },
      python: { type: "string", default: "python3" },
      json: { type: "string" },
      append: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  const selected = values.cases.split(",").flatMap(findCases);
  const engines = values.engines === undefined ? availableEngines(values.python) : values.engines.split(",");
  for (const name of engines) checkEngine(name);
  const common = {
    python: values.python,
    rounds: positiveInteger("rounds", values.rounds),
    roundMs: positiveInteger("round-ms", values["round-ms"]),
    runs: values.steps === undefined ? undefined : positiveInteger("steps", values.steps),
    compared: positiveInteger("compare", values.compare),
    batchSize: values.batch === undefined ? undefined : positiveInteger("batch", values.batch),
    seed: positiveInteger("seed", values.seed),
  };
  const limit = positiveInteger("limit", values.limit);

  const { json } = values;
  const earlier = values.append && json !== undefined && existsSync(json) ? readResults(json) : undefined;
  const names = new Set(selected.map(({ name }) => name));
  let rows: Row[] = (earlier?.rows ?? []).filter((row) => !names.has(row.case));
  let adapter = earlier?.adapter;
  for (const measured of selected) {
    const outcome = await runCase({ ...common, case: measured.name, engines }, limit);
    if (adapter !== undefined && adapter.name !== outcome.adapter.name) {
      throw new UsageError(`${json} is about ${adapter.name}, but this machine has ${outcome.adapter.name}.`);
    }
    if (adapter === undefined) console.log(`Adapter: ${outcome.adapter.name}. Node ${process.version}.\n`);
    adapter = outcome.adapter;
    rows = [...rows, ...outcome.rows];
    console.log(`${measured.name} (${measured.description})\n${formatTable(outcome.rows)}\n`);
    // Written after every case: an interrupted run keeps what it has measured.
    if (json !== undefined) writeResults(json, adapter, rows);
  }
  console.log(formatSummary(rows));
  // A case that an engine cannot run is a result. Thalweg has to run them all.
  if (rows.some(({ engine, error }) => engine === "thalweg" && error !== undefined)) process.exitCode = 1;
}

/** Runs one case in a process of its own; without the engine that ended or stopped it, if one did. */
async function runCase(task: Task, limit: number): Promise<{ adapter: AdapterName; rows: Row[] }> {
  const lost: Row[] = [];
  const measured = findCase(task.case);
  const { name, type, description } = measured;
  let { engines } = task;
  let adapter: AdapterName | undefined;
  while (engines.length > 0) {
    const outcome = await runWorker({ ...task, engines }, limit);
    adapter = outcome.adapter ?? adapter;
    if (outcome.rows !== undefined && adapter !== undefined) {
      const order = [...outcome.rows, ...lost];
      return { adapter, rows: order };
    }
    const { engine, doing } = outcome.stage;
    const problem = outcome.isLate ? `took more than ${limit} s (${doing})` : `ended the process (${doing})`;
    if (engine === undefined) throw new Error(`${task.case}: the process ended without a result (${doing}).`);
    lost.push({ case: name, type, description, engine, version: "", error: problem });
    engines = engines.filter((other) => other !== engine);
  }
  if (adapter === undefined) throw new Error(`${task.case}: no engine could be started.`);
  return { adapter, rows: lost };
}

interface Outcome {
  readonly adapter: AdapterName | undefined;
  readonly rows: readonly Row[] | undefined;
  readonly stage: { readonly engine?: string; readonly doing: string };
  readonly isLate: boolean;
}

function runWorker(task: Task, limit: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = fork(process.argv[1] ?? "", ["worker", JSON.stringify(task)]);
    let adapter: AdapterName | undefined;
    let rows: readonly Row[] | undefined;
    let stage: Outcome["stage"] = { doing: "starts" };
    let isLate = false;
    const giveUp = () => {
      isLate = true;
      child.kill("SIGKILL");
    };
    let timer = setTimeout(giveUp, 1000 * limit);
    child.on("message", (message: Message) => {
      if (message.kind === "adapter") adapter = message.adapter;
      if (message.kind === "rows") rows = message.rows;
      if (message.kind === "failure") reject(new (message.isUsage ? UsageError : Error)(message.message));
      if (message.kind !== "stage") return;
      stage = message;
      clearTimeout(timer);
      timer = setTimeout(giveUp, 1000 * limit);
      showProgress(`${task.case}: ${message.engine ?? "everything"} ${message.doing}`);
    });
    child.on("error", reject);
    child.on("exit", () => {
      clearTimeout(timer);
      showProgress("");
      resolve({ adapter, rows, stage, isLate });
    });
  });
}

async function work(task: Task): Promise<void> {
  const send = (message: Message) => new Promise<void>((resolve) => process.send?.(message, () => resolve()));
  try {
    const adapter = await installWebGpu();
    await send({ kind: "adapter", adapter });
    const sources = task.engines.map(
      (name): EngineSource => ({ name, create: () => (engineLoaders[name] as (o: Task) => Promise<Engine>)(task) }),
    );
    const { rounds, roundMs, runs, compared, batchSize, seed } = task;
    const rows = await measureCase(findCase(task.case), sources, {
      rounds,
      roundMs,
      runs,
      compared,
      batchSize,
      seed,
      isSoftware: adapter.isSoftware,
      onStage: (stage) => void send({ kind: "stage", ...stage }),
    });
    await send({ kind: "rows", rows });
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const isUsage = error instanceof UsageError;
    await send({ kind: "failure", message: isUsage ? error.message : message, isUsage });
  }
}

const readResults = (path: string): Results => JSON.parse(readFileSync(path, "utf8")) as Results;

function writeResults(path: string, adapter: AdapterName, rows: readonly Row[]): void {
  const versions: Record<string, string> = {
    node: process.versions.node,
    dawn: `webgpu ${manifest.dependencies.webgpu}`,
  };
  for (const { engine, version } of rows) if (version !== "") versions[engine] = version;
  const results: Results = { kind: "peers", adapter, date: new Date().toISOString().slice(0, 10), versions, rows };
  writeFileSync(path, `${JSON.stringify(results, undefined, 2)}\n`);
}

/** All engines, PyTorch only where Python can load it. */
function availableEngines(python: string): string[] {
  return Object.keys(engineLoaders).filter((name) => {
    if (name !== "pytorch") return true;
    try {
      execFileSync(python, ["-c", "import torch"], { stdio: "ignore" });
      return true;
    } catch {
      console.log(`Without PyTorch: ${python} cannot import torch.`);
      return false;
    }
  });
}

function positiveInteger(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new UsageError(`--${option}: expected a positive integer, got "${text}".`);
  return value;
}

const findCases = (name: string): readonly Case[] => groups[name] ?? [findCase(name)];

function findCase(name: string): Case {
  const found = cases.find((known) => known.name === name);
  if (found === undefined)
    throw new UsageError(`--cases: there is no case "${name}"; choose from ${cases.map((c) => c.name).join(", ")}.`);
  return found;
}

function checkEngine(name: string): void {
  if (engineLoaders[name] === undefined)
    throw new UsageError(
      `--engines: there is no engine "${name}"; choose from ${Object.keys(engineLoaders).join(", ")}.`,
    );
}

/** One line that changes on a terminal, lines elsewhere. */
function showProgress(message: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${message}`);
  else if (message !== "") process.stderr.write(`${message}\n`);
}

(process.argv[2] === "worker" ? work(JSON.parse(process.argv[3] ?? "{}") as Task) : main())
  .catch((error: unknown) => {
    console.error(error instanceof UsageError ? error.message : error);
    process.exitCode = 1;
  })
  // Dawn's threads would keep the process alive.
  .finally(() => process.exit());
