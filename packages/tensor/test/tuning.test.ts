import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { arange, compile, type Device, requestDevice, type Tensor, type TuneMode } from "../src/index";
import { documentName, parseTable } from "../src/tuning/table";
import { useDevice } from "./device";

useDevice();

let folder: string;
const devices: Device[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "thalweg-tuning-"));
});

beforeEach(() => {
  rmSync(join(folder, "tuning"), { recursive: true, force: true });
  vi.stubEnv("THALWEG_CACHE", folder);
  return () => vi.unstubAllEnvs();
});

afterAll(() => {
  for (const device of devices) device.destroy();
  rmSync(folder, { recursive: true, force: true });
});

async function open(tune: TuneMode = false): Promise<Device> {
  const device = await requestDevice({ notice: () => undefined, tune });
  devices.push(device);
  return device;
}

const tables = (): string[] => (existsSync(join(folder, "tuning")) ? readdirSync(join(folder, "tuning")) : []);
const fileOf = ({ adapter }: Device): string => join(folder, "tuning", `${documentName(adapter)}.json`);

/** A training step in small: two classes of contractions, an epilogue, state that is replaced in place. */
const step = (weights: Tensor, x: Tensor) => {
  const y = x.dot(weights).relu();
  return [weights.sub(x.T.dot(y).mul(1 / 64)), y.sum()] as const;
};
const weights = () =>
  arange(8 * 12)
    .reshape([8, 12])
    .sub(40)
    .div(64);
const input = () =>
  arange(16 * 8)
    .reshape([16, 8])
    .sub(60)
    .div(64);

const compiled = (device: Device, tune?: TuneMode) =>
  compile(step, { device, donate: [0], ...(tune === undefined ? {} : { tune }) });

async function resultOf(program: ReturnType<typeof compiled>): Promise<number[]> {
  const [next, sum] = program(weights(), input());
  return [...(await next.data()), await sum.item()];
}

describe("a tuned program", { timeout: 120_000 }, () => {
  it("computes the same, keeps what it measured, and measures nothing twice", async () => {
    const device = await open();
    const expected = await resultOf(compiled(device));
    const tuned = compiled(device);
    const report = await tuned.tune(weights(), input());

    expect(report.saved).toBe(true);
    expect(report.measured.length).toBeGreaterThan(0);
    for (const { candidates, speedup } of report.measured) {
      expect(candidates.filter(({ outcome }) => outcome === "failed" || outcome === "wrong")).toEqual([]);
      expect(candidates[0]?.outcome).toBe("measured");
      expect(speedup).toBeGreaterThanOrEqual(1);
    }
    const actual = await resultOf(tuned);
    // At most 16 terms below 2 each, of which another order changes the last bits.
    for (const [index, value] of actual.entries()) expect(value).toBeCloseTo(expected[index] as number, 4);

    const kept = parseTable(device.adapter, readFileSync(fileOf(device), "utf8"));
    expect([...kept.keys()].sort()).toEqual(report.measured.map(({ key }) => key).sort());
    const again = await compiled(device).tune(weights(), input());
    expect(again).toEqual({ measured: [], known: kept.size, saved: true });
  });

  it("goes on with its state where it was", async () => {
    const device = await open();
    const run = async (program: ReturnType<typeof compiled>, between: () => Promise<unknown>): Promise<number[]> => {
      let [state] = program(weights(), input());
      await between();
      [state] = program(state, input());
      return [...(await state.data())];
    };
    const expected = await run(compiled(device), async () => undefined);
    const tuned = compiled(device);
    const actual = await run(tuned, () => tuned.tune(weights(), input()));
    for (const [index, value] of actual.entries()) expect(value).toBeCloseTo(expected[index] as number, 4);
  });

  it("leaves nothing behind on the device", async () => {
    const device = await open();
    const program = compiled(device);
    await program.prepare(weights(), input());
    const before = device.memory().liveBytes;
    await program.tune(weights(), input());
    expect(device.memory().liveBytes).toBe(before);
  });
});

describe("a device opened with tune", { timeout: 120_000 }, () => {
  it("true: prepare measures; a call does not", async () => {
    const device = await open(true);
    await resultOf(compiled(device));
    expect(tables()).toEqual([]);
    await compiled(device).prepare(weights(), input());
    expect(device.tuning.reports.length).toBeGreaterThan(0);
    expect(existsSync(fileOf(device))).toBe(true);
  });

  it('"known": what another device measured is used, bit for bit, and nothing is measured', async () => {
    const first = await open(true);
    const measuring = compiled(first);
    await measuring.prepare(weights(), input());
    const expected = await resultOf(measuring);
    const text = readFileSync(fileOf(first), "utf8");

    const second = await open("known");
    expect(second.tuning.entries).toEqual(first.tuning.entries);
    const program = compiled(second);
    await program.prepare(weights(), input());
    expect(second.tuning.reports).toEqual([]);
    expect(await resultOf(program)).toEqual(expected);
    expect(program.statistics().kernels.map(({ code }) => code)).toEqual(
      measuring.statistics().kernels.map(({ code }) => code),
    );
    expect(readFileSync(fileOf(first), "utf8")).toBe(text);
  });

  it("not at all: nothing is read, measured or written", async () => {
    const measuring = await open(true);
    await compiled(measuring).prepare(weights(), input());
    const device = await open();
    await compiled(device).prepare(weights(), input());
    expect(device.tuning.entries.size).toBe(0);
    expect(device.tuning.reports).toEqual([]);
  });

  it("true: a damaged file counts as none, and is replaced", async () => {
    const probe = await open();
    mkdirSync(join(folder, "tuning"));
    writeFileSync(fileOf(probe), "{ broken");
    const device = await open(true);
    expect(device.tuning.entries.size).toBe(0);
    await compiled(device).prepare(weights(), input());
    expect(parseTable(device.adapter, readFileSync(fileOf(probe), "utf8"))).toEqual(device.tuning.entries);
  });

  it("says that it could not keep its measurements, and uses them all the same", async () => {
    const device = await open();
    // A file where the folder should be.
    writeFileSync(join(folder, "tuning"), "");
    const report = await compiled(device).tune(weights(), input());
    expect(report.saved).toBe(false);
    expect(device.tuning.entries.size).toBe(report.measured.length);
    rmSync(join(folder, "tuning"));
  });
});

it("a program's own option decides for it alone", { timeout: 120_000 }, async () => {
  const device = await open();
  await compiled(device).prepare(weights(), input());
  expect(device.tuning.reports).toEqual([]);
  await compiled(device, true).prepare(weights(), input());
  const measured = device.tuning.reports.length;
  expect(measured).toBeGreaterThan(0);
  const program = compiled(device, "known");
  await program.prepare(weights(), input());
  expect(device.tuning.reports).toHaveLength(measured);
});
