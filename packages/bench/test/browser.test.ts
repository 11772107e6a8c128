import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultDevice, requestDevice, setDefaultDevice } from "@thalweg/tensor";
import { dataSources } from "@thalweg/workloads";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { findChromium } from "../src/browser/executable.node.js";
import type { RaceRequest } from "../src/browser/protocol";
import { type BrowserRaceOptions, raceInBrowser } from "../src/browser/race.node.js";
import { BrowserSession } from "../src/browser/session.node.js";
import { type RaceResult, race } from "../src/race";
import { folderStore } from "../src/records/folder.node.js";
import type { RunRecord } from "../src/records/reader";
import { readRecords } from "../src/records/reader.node.js";
import { runCommand } from "./fake-terminal";

/** SwiftShader in Node offers 12 buffers per stage and Chromium 10, which would make other plans, and so other sums. */
const device = { adapter: "software", limits: { maxStorageBuffersPerShaderStage: 10 } };

const request: Omit<RaceRequest, "device"> = {
  workload: "digits",
  algorithms: [{ optimizer: "momentum", hyperparameters: { learningRate: 0.05 } }],
  seeds: [42],
  batchSize: 32,
  budget: { steps: 36 },
  target: { value: 0.9999 },
  evaluationInterval: 6,
  trainLogInterval: 1,
};

let folder: string;
let inNode: RunRecord;

/** The numbers of a run, without its times. */
const numbers = ({ training, evaluations, end }: RunRecord) => ({
  training,
  evaluations: evaluations.map(({ step, regularizer, phases }) => ({ step, regularizer, phases })),
  steps: end?.step,
});

function only({ records }: RaceResult): RunRecord {
  expect(records).toHaveLength(1);
  return records[0] as RunRecord;
}

const keep = (): BrowserRaceOptions => ({ ...request, device, store: folderStore(folder, "chromium") });
const ofBrowser = (): RunRecord => readRecords(join(folder, "records", "chromium")).records[0] as RunRecord;

async function train(options: Partial<BrowserRaceOptions> = {}): Promise<RaceResult> {
  await using session = await BrowserSession.open({ adapter: "software" });
  return await raceInBrowser(session, { ...keep(), ...options });
}

/** Trains until a step, and then does something to the page that ends the race. */
async function trainUntil(last: number, disturb: (page: Page) => Promise<unknown>): Promise<RaceResult> {
  await using session = await BrowserSession.open({ adapter: "software" });
  let isDisturbed = false;
  return await raceInBrowser(session, {
    ...keep(),
    onProgress: ({ step }) => {
      if (step <= last || isDisturbed) return;
      isDisturbed = true;
      // What crashes answers with an error at best.
      void disturb(session.page).catch(() => undefined);
    },
  });
}

describe.skipIf(findChromium() === undefined && !process.env.CHROME_PATH)("a race in a browser", () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "thalweg-browser-"));
    const before = defaultDevice();
    const own = await requestDevice({ ...device, notice: () => {} });
    setDefaultDevice(own);
    inNode = only(await race({ ...request, openDevice: async () => own, store: folderStore(folder) }));
    setDefaultDevice(before);
    own.destroy();
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  afterEach(() => vi.unstubAllEnvs());

  it("gives the losses of Node bit by bit, whatever interrupts it", { timeout: 300_000 }, async () => {
    // Ctrl-C ends the record in good order.
    const interruption = new AbortController();
    const stopped = await train({
      signal: interruption.signal,
      onProgress: ({ step }) => {
        if (step > 2) interruption.abort();
      },
    });
    expect(stopped.interrupted).toBe(true);
    expect(only(stopped).end).toMatchObject({ status: "killed", reason: "stopped by a signal" });

    // A page that crashes writes nothing more.
    await expect(trainUntil(8, (page) => page.goto("chrome://crash"))).rejects.toThrow(
      /^chrome [\d.]+: the page crashed before the work was done\./,
    );
    expect(ofBrowser().end).toBeUndefined();

    // A device that is lost ends the run with its reason.
    const crashGpu = async (page: Page) =>
      (await page.context().browser()?.newBrowserCDPSession())?.send("Browser.crashGpuProcess");
    await expect(trainUntil(14, crashGpu)).rejects.toMatchObject({
      code: "device-lost",
    });
    expect(ofBrowser().end).toMatchObject({ status: "killed", reason: expect.stringContaining("lost") });

    const whole = only(await train());
    expect(whole.header.environment.runtime).toMatch(/^chrome \d+\.\d+\.\d+\.[1-9]/);
    expect(whole.header.environment.platform).toBe(`${process.platform} ${process.arch}`);
    expect(whole.header.configuration).toEqual(inNode.header.configuration);
    expect(whole.resumes).toHaveLength(3);
    expect(whole.training).toHaveLength(36);
    expect(numbers(whole)).toEqual(numbers(inNode));
  });

  it("runs from the command line, beside Node's records and in one table with them", { timeout: 120_000 }, async () => {
    const command = ["bench", "digits", "--optimizers", "momentum", "--lr", "momentum=0.05", "--seeds", "42,"];
    const options = ["--bs", "32", "--budget", "36steps", "--target", "0.9999", "--eval-every", "6"];
    const place = ["--in", "browser", "--adapter", "software", "--train-log-interval", "1", "--out", folder];
    // Both runs are complete by now: nothing is trained, and the report has them.
    const { code, out, error } = await runCommand([...command, ...options, ...place, "--report", "svg"]);
    expect(error).toContain("no run reached 99.99 % test accuracy");
    expect(code).toBe(3);
    expect(out).toContain("momentum in chrome");
    expect(out).toContain("momentum in node");
    const { out: report } = await runCommand(["report", folder, "--out", "svg", "--json"]);
    const [{ optimizers }] = JSON.parse(report).races;
    expect(optimizers.map(({ label }: { label: string }) => label).sort()).toEqual([
      "momentum in chrome",
      "momentum in node",
    ]);
  });

  it("reads the files of data sets from this machine, and checks them in the page", { timeout: 60_000 }, async () => {
    const data = join(folder, "data");
    vi.stubEnv("THALWEG_DATA", data);
    vi.stubEnv("THALWEG_CACHE", join(folder, "cache"));
    const command = ["run", "fmnist_logreg", "sgd", "--in", "browser", "--adapter", "software", "--out", folder];
    mkdirSync(join(data, "fashion-mnist"), { recursive: true });
    const missing = await runCommand(command);
    expect(missing).toMatchObject({ code: 1, out: "" });
    expect(missing.error).toContain("train-images-idx3-ubyte.gz: not found in");

    for (const { name } of Object.values(dataSources.fmnist.files)) {
      writeFileSync(join(data, "fashion-mnist", name), "short");
    }
    const damaged = await runCommand(command);
    expect(damaged).toMatchObject({ code: 1, out: "" });
    expect(damaged.error).toContain(`error: ${join(data, "fashion-mnist")}`);
    expect(damaged.error).toContain("the file is cut off");
  });

  it("shows the devices and the profile of a browser", { timeout: 120_000 }, async () => {
    const devices = await runCommand(["devices", "--in", "browser", "--json"]);
    expect(JSON.parse(devices.out)).toContainEqual(
      expect.objectContaining({ use: "--adapter software", adapter: expect.objectContaining({ isSoftware: true }) }),
    );
    const profile = ["profile", "digits", "--bs", "8", "--steps", "5", "--in", "browser", "--adapter", "software"];
    expect(JSON.parse((await runCommand([...profile, "--json"])).out)).toMatchObject({ steps: 5, batchSize: 8 });
  });
});

describe("a browser that cannot be had", () => {
  it.each([
    ["--browser-path without a browser", ["--browser-path", "/no/browser"]],
    ["--headed without a browser", ["--headed"]],
    ["--in an unknown place", ["--in", "opera"]],
    ["an executable that is not there", ["--in", "browser", "--browser-path", "/no/browser"]],
  ])("%s is one message with the way out", async (_, options) => {
    const { code, out, error } = await runCommand(["bench", "digits", ...options]);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(error).toMatchSnapshot();
  });

  it("an executable that is no browser is said to be none", async () => {
    const command = ["bench", "digits", "--in", "browser", "--browser-path", process.execPath];
    const { code, error } = await runCommand(command);
    expect(code).toBe(1);
    expect(error).toMatch(/^error: .* does not start: /);
  });
});
