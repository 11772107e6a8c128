// Steps per second in a browser and in Node, on the same adapter. Writes docs/performance/<adapter>.browser.json, from which
// node scripts/performance.mjs makes the table in docs/performance.md.
//
//   node --import ./scripts/run-sources.mjs packages/bench/bench/browser.bench.ts [--adapter software] [--rounds 5] [--steps 60]
//
// Both train the same runs in turn, with the limits of the browser's device, so that their programs are the same. Steps per
// second are those of the records: wall-clock time of training, without compilation and evaluation. To have one and the same
// SwiftShader in both, name Chromium's: VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json, with --node-adapter auto.
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { memoryStore, type RunRecord, race } from "@thalweg/bench";
import { BrowserSession, raceInBrowser } from "@thalweg/bench/node";
import { requestDevice, setDefaultDevice } from "@thalweg/tensor";
import { localFolder } from "@thalweg/workloads/node";
import { version } from "../package.json";
import { quartiles } from "../src/report/statistics";

const { values: flags } = parseArgs({
  options: {
    adapter: { type: "string", default: "software" },
    "node-adapter": { type: "string" },
    rounds: { type: "string", default: "5" },
    steps: { type: "string", default: "60" },
  },
});
const [rounds, steps] = [Number(flags.rounds), Number(flags.steps)];

/** One whose steps are work for the adapter, and one whose steps are over before the next is encoded. */
const cases = [
  { workload: "digits", batchSize: 64, optimizer: "momentum", steps },
  { workload: "digits", batchSize: 8, optimizer: "adam", steps: 4 * steps },
  ...(localFolder(process.env) === undefined
    ? []
    : [{ workload: "fmnist_logreg", batchSize: 32, optimizer: "momentum", steps: 10 * steps }]),
];

await using session = await BrowserSession.open({ adapter: flags.adapter });
const { limits } = await session.call("device", { adapter: flags.adapter });
/** Other limits would make other plans. */
const caps = {
  maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
  maxBufferSize: limits.maxBufferSize,
  maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
  maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
  maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
};
const device = await requestDevice({ adapter: flags["node-adapter"] ?? flags.adapter, limits: caps, notice: () => {} });
setDefaultDevice(device);

const rate = ({ end }: RunRecord): number => (end?.step ?? 0) / (end?.seconds.training ?? Number.NaN);
const losses = ({ training }: RunRecord): string => JSON.stringify(training.map(({ loss }) => loss));

const rows = [];
for (const { workload, batchSize, optimizer, steps } of cases) {
  const request = {
    workload,
    algorithms: [{ optimizer }],
    batchSize,
    budget: { steps },
    evaluationInterval: steps,
    seeds: [42],
  };
  const inNode: number[] = [];
  const inBrowser: number[] = [];
  let areEqual = true;
  for (let round = 0; round < rounds; round++) {
    const node = (await race({ ...request, store: memoryStore(), openDevice: async () => device })).records[0];
    const own = { adapter: flags.adapter, limits: caps };
    const browser = (await raceInBrowser(session, { ...request, store: memoryStore(), device: own })).records[0];
    if (node === undefined || browser === undefined) throw new Error("a race without a record");
    inNode.push(rate(node));
    inBrowser.push(rate(browser));
    areEqual &&= losses(node) === losses(browser);
    console.log(`${workload} ${optimizer}: node ${rate(node).toFixed(1)}, browser ${rate(browser).toFixed(1)} steps/s`);
  }
  rows.push({
    case: `${workload}, ${optimizer}, batch ${batchSize}`,
    stepsPerSecondInNode: quartiles(inNode),
    stepsPerSecondInBrowser: quartiles(inBrowser),
    ratio: quartiles(inBrowser.map((own, round) => own / (inNode[round] as number))),
    hasSameLosses: areEqual,
  });
}

const [browserName = "browser", browserVersion = ""] = session.environment.runtime.split(" ");
const versions = { node: process.versions.node, [browserName]: browserVersion, thalweg: version };
const folder = resolve(import.meta.dirname, "../../../docs/performance");
const file = join(folder, `${device.adapter.architecture || device.adapter.vendor}.browser.json`);
const results = {
  kind: "browser",
  adapter: { ...device.adapter },
  date: new Date().toISOString().slice(0, 10),
  versions,
  rows,
};
writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
console.log(`wrote ${file}. Now: node scripts/performance.mjs`);
device.destroy();
