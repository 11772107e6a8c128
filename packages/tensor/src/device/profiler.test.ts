import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UnsupportedError } from "../errors";
import { type Device, requestDevice } from "./device";
import { chromeTrace, durations, formatProfile, TimestampProfiler } from "./profiler";

let device: Device;
beforeAll(async () => {
  device = await requestDevice({ notice: () => undefined });
});
afterAll(() => device.destroy());

/** Passes of which pass i adds up `work[i]` numbers. */
function encode(encoder: GPUCommandEncoder, profiler: TimestampProfiler, work: readonly number[]): void {
  for (const [index, rounds] of work.entries()) {
    const spec = {
      label: `sum_${rounds}`,
      code: `
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
          var sum = i;
          for (var round = 0u; round < ${rounds}u; round++) { sum = sum * 1664525u + out[(i + round) % 64u]; }
          out[i] = sum;
        }`,
      workgroupSize: [64],
      bindings: ["read_write"] as const,
    };
    const group = device.bindGroup(spec, [{ buffer: storage.buffer, offset: 0, size: 256 }], "out");
    const pass = encoder.beginComputePass({ timestampWrites: profiler.timestampWrites(index) });
    pass.setPipeline(device.pipeline(spec));
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
  }
}
let storage: ReturnType<Device["pool"]["allocate"]>;
beforeAll(() => {
  storage = device.pool.allocate(256, "out");
});

describe("TimestampProfiler", () => {
  test("every adapter of the suite has a clock", () => {
    expect(TimestampProfiler.isAvailable(device)).toBe(true);
  });

  test("more work takes longer, and each pass has its own time", async () => {
    const profiler = new TimestampProfiler(device, 3);
    const encoder = device.gpu.createCommandEncoder();
    encode(encoder, profiler, [100, 2_000_000, 100]);
    profiler.resolve(encoder);
    device.submit([encoder.finish()]);
    const [short = Number.NaN, long = Number.NaN] = await profiler.read();
    // 128 million rounds cannot be done in a millisecond, nor can 6,400 take that long on a clock without steps.
    expect(long).toBeGreaterThan(1e6);
    expect(long).toBeGreaterThan(short);
    expect(await profiler.read(2)).toHaveLength(2);
    profiler.destroy();
  });

  test("passes beyond one query set go to the next", async () => {
    const profiler = new TimestampProfiler(device, 2049);
    expect(profiler.timestampWrites(2047)).toMatchObject({
      beginningOfPassWriteIndex: 4094,
      endOfPassWriteIndex: 4095,
    });
    expect(profiler.timestampWrites(2048)).toMatchObject({ beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 });
    expect(profiler.timestampWrites(2048).querySet).not.toBe(profiler.timestampWrites(2047).querySet);
    const encoder = device.gpu.createCommandEncoder();
    profiler.resolve(encoder);
    device.submit([encoder.finish()]);
    expect(await profiler.read()).toHaveLength(2049);
    profiler.destroy();
  });

  test.each([-1, 2])("pass %d of two is refused", (index) => {
    const profiler = new TimestampProfiler(device, 2);
    expect(() => profiler.timestampWrites(index)).toThrow(UnsupportedError);
    profiler.destroy();
  });

  test("a device without timestamps is refused", () => {
    const without = { features: new Set<string>() } as unknown as Device;
    expect(() => new TimestampProfiler(without, 1)).toThrow(UnsupportedError);
  });
});

test("durations are differences, and NaN where the clock went backwards", () => {
  expect(Array.from(durations(new BigUint64Array([100n, 350n, 7n, 7n, 9n, 8n])))).toEqual([250, 0, Number.NaN]);
});

const rows = [
  { label: "dot_f32", ns: 2_000_000, flops: 4e9, bytes: 1e8 },
  { label: "relu", ns: 500_000, flops: 0, bytes: 5e7 },
  { label: "dot_f32", ns: 1_000_000, flops: 2e9, bytes: 5e7 },
  { label: "relu", ns: Number.NaN, flops: 0, bytes: 5e7 },
];

describe("formatProfile", () => {
  test("adds up calls of a kernel and puts the most expensive first", () => {
    expect(formatProfile(rows)).toMatchInlineSnapshot(`
      "kernel   calls      time  GFLOPS   GB/s    share
      dot_f32      2  3.000 ms  2000.0   50.0   85.7 %
      relu         2  0.500 ms       -  100.0   14.3 %
      total        4  3.500 ms  1714.3   57.1  100.0 %"
    `);
  });

  test("no rows make a table of nothing", () => {
    expect(formatProfile([])).toMatchInlineSnapshot(`
      "kernel  calls      time  GFLOPS  GB/s  share
      total       0  0.000 ms       -     -      -"
    `);
  });
});

test("chromeTrace puts kernels one after the other in microseconds and leaves out times that are not known", () => {
  expect(chromeTrace(rows).traceEvents.map(({ name, ts, dur }) => [name, ts, dur])).toEqual([
    ["dot_f32", 0, 2000],
    ["relu", 2000, 500],
    ["dot_f32", 2500, 1000],
  ]);
  expect(JSON.parse(JSON.stringify(chromeTrace(rows)))).toEqual(chromeTrace(rows));
});
