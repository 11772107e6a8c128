import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ArgumentError, DeviceLostError, ThalwegError, UnsupportedError } from "../errors";
import { findGpu } from "./adapter.node.js";
import { type Device, defaultDevice, init, type PipelineSpec, requestDevice, setDefaultDevice } from "./device";
import { bufferUsage } from "./gpu-flags";

const silent = { notice: () => undefined };

let device: Device;
beforeAll(async () => {
  device = await requestDevice(silent);
});
afterEach(() => expect(device.takeErrors()).toEqual([]));
afterAll(() => device.destroy());

const double: PipelineSpec = {
  label: "double",
  code: `
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> out: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x < arrayLength(&out)) { out[id.x] = 2.0 * x[id.x]; }
    }`,
  workgroupSize: [64],
  bindings: ["read", "read_write"],
};

/** A command buffer that the device refuses: a copy from a buffer to itself. */
function refusedCommands(on: Device, label: string): GPUCommandBuffer {
  const storage = on.pool.allocate(16, "self");
  const encoder = on.gpu.createCommandEncoder({ label });
  encoder.copyBufferToBuffer(storage.buffer, 0, storage.buffer, 8, 8);
  storage.release();
  return encoder.finish({ label });
}

describe("computing", () => {
  test("a kernel runs from upload to read, and everything it took is counted", async () => {
    const [x, out] = [device.pool.allocate(400, "x"), device.pool.allocate(400, "out")];
    const before = device.counters.snapshot();
    device.write(
      x.buffer,
      x.byteOffset,
      Float32Array.from({ length: 100 }, (_, index) => index),
    );
    const pipeline = device.pipeline(double);
    const ranges = [x, out].map(({ buffer, byteOffset: offset, bytes: size }) => ({ buffer, offset, size }));
    const group = device.bindGroup(double, ranges, "double");
    const encoder = device.gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(2);
    device.counters.dispatches++;
    pass.end();
    device.submit([encoder.finish()]);
    const result = new Float32Array(await device.read(out.buffer, 0, 400));
    expect(Array.from(result)).toEqual(Array.from({ length: 100 }, (_, index) => 2 * index));
    expect(device.counters.since(before)).toEqual({
      dispatches: 1,
      submits: 2,
      buffersCreated: 1,
      bindGroupsCreated: 1,
      pipelinesCreated: 1,
      readbacks: 1,
      bytesUploaded: 400,
      bytesRead: 400,
    });
    x.release();
    out.release();
  });

  test("a bind group needs one range for each binding", () => {
    expect(() => device.bindGroup(double, [], "none")).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: bindGroup none: 0 ranges for the 2 bindings of double. Give one range per binding.]`,
    );
  });

  test("the adapter is described", () => {
    expect(`${device.adapter.vendor}${device.adapter.description}`).not.toBe("");
    expect(device.adapter.subgroupMinSize).toBeLessThanOrEqual(device.adapter.subgroupMaxSize);
  });
});

describe("write and read", () => {
  test.each([
    [0, 5],
    [1, 1],
    [3, 6],
    [7, 0],
    [0, 16],
  ])("bytes from %d, %d of them, need no alignment", async (byteOffset, bytes) => {
    const storage = device.pool.allocate(16, "bytes");
    const data = Uint8Array.from({ length: 16 }, (_, index) => index + 1);
    device.write(storage.buffer, 0, data);
    const result = new Uint8Array(await device.read(storage.buffer, byteOffset, bytes));
    expect(Array.from(result)).toEqual(Array.from(data.subarray(byteOffset, byteOffset + bytes)));
    storage.release();
  });

  test.each([1, 2, 3, 4, 5, 7])("an array of %d bytes is written and filled up with zeros", async (length) => {
    const storage = device.pool.allocate(8, "bytes");
    device.write(storage.buffer, 0, new Uint8Array(8).fill(255));
    // A part of a larger array, so that a mix-up of offsets is seen.
    device.write(storage.buffer, 0, new Uint8Array(20).fill(9).subarray(5, 5 + length));
    const result = new Uint8Array(await device.read(storage.buffer, 0, 8));
    const filled = Math.ceil(length / 4) * 4;
    expect(Array.from(result)).toEqual(
      Array.from({ length: 8 }, (_, index) => (index < length ? 9 : index < filled ? 0 : 255)),
    );
    storage.release();
  });

  test("ranges outside of the buffer are refused", async () => {
    const storage = device.pool.allocate(256, "small");
    await expect(device.read(storage.buffer, 250, 8)).rejects.toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: read: bytes 250 to 258 are outside of the buffer "small", which has 256.]`,
    );
    await expect(device.read(storage.buffer, -4, 8)).rejects.toThrow(ArgumentError);
    expect(() => device.write(storage.buffer, 256, new Uint8Array(1))).toThrow(ArgumentError);
    storage.release();
  });

  test("many reads at once give each its own bytes", async () => {
    const held = Array.from({ length: 12 }, (_, index) => {
      const storage = device.pool.allocate(4 << index, `held ${index}`);
      device.write(storage.buffer, 0, new Uint32Array(1 << index).fill(index));
      return storage;
    });
    const results = await Promise.all(held.map(({ buffer, bytes }) => device.read(buffer, 0, bytes)));
    for (const [index, result] of results.entries()) {
      expect(new Uint32Array(result)).toEqual(new Uint32Array(1 << index).fill(index));
    }
    for (const storage of held) storage.release();
  });

  test("a read sees the bytes as they were when it was called", async () => {
    const storage = device.pool.allocate(4, "changing");
    const reads = [1, 2, 3, 4, 5].map((value) => {
      device.write(storage.buffer, 0, Uint32Array.of(value));
      return device.read(storage.buffer, 0, 4);
    });
    storage.release();
    expect((await Promise.all(reads)).map((bytes) => new Uint32Array(bytes)[0])).toEqual([1, 2, 3, 4, 5]);
  });

  test("reads in a row and three at a time need three staging buffers altogether", async () => {
    const fresh = await requestDevice(silent);
    const storage = fresh.pool.allocate(1024, "metrics");
    const before = fresh.counters.snapshot();
    for (let round = 0; round < 50; round++) {
      await Promise.all([1, 2, 3].map((part) => fresh.read(storage.buffer, 0, part * 256)));
      await fresh.read(storage.buffer, 0, 1024);
    }
    // Sizes 256, 512 and 768 first; then 1024 takes the place of 256, and is large enough for everything.
    expect(fresh.counters.since(before)).toMatchObject({ buffersCreated: 4, readbacks: 200, submits: 200 });
    fresh.destroy();
  });
});

describe("limits", () => {
  test("caps are what plans see, and what is refused", async () => {
    const capped = await requestDevice({
      ...silent,
      limits: { maxStorageBufferBindingSize: 2 ** 20, maxStorageBuffersPerShaderStage: 1 },
    });
    expect(capped.limits).toMatchObject({ maxStorageBufferBindingSize: 2 ** 20, maxStorageBuffersPerShaderStage: 1 });
    expect(() => capped.pipeline(double)).toThrowErrorMatchingInlineSnapshot(
      `[UnsupportedError: pipeline double: 2 storage buffers, but this device allows 1 (maxStorageBuffersPerShaderStage). Split the kernel or choose a smaller variant.]`,
    );
    const { buffer } = capped.pool.allocate(2 ** 21, "two bindings long");
    const one: PipelineSpec = { ...double, label: "one", bindings: ["read"] };
    const whole = () => capped.bindGroup(one, [{ buffer, offset: 0, size: 2 ** 21 }], "whole");
    expect(whole).toThrow(UnsupportedError);
    expect(whole).toThrow(/2097152 bytes, but this device allows 1048576/);
    capped.bindGroup(one, [{ buffer, offset: 2 ** 20, size: 2 ** 20 }], "half");
    await capped.idle();
    capped.destroy();
  });

  test("the standard's default limits can be asked for, and the device itself then holds them", async () => {
    const capped = await requestDevice({
      ...silent,
      limits: { maxComputeInvocationsPerWorkgroup: 256, maxStorageBuffersPerShaderStage: 8 },
    });
    expect(capped.gpu.limits.maxComputeInvocationsPerWorkgroup).toBe(256);
    expect(capped.gpu.limits.maxStorageBuffersPerShaderStage).toBe(8);
    capped.destroy();
  });

  test("a limit that does not exist is refused", async () => {
    await expect(requestDevice({ limits: { maxBuffer: 1 } as object })).rejects.toThrow(/unknown limit "maxBuffer"/);
  });
});

describe("errors that the device reports late", () => {
  test("are thrown by the next read, once", async () => {
    const storage = device.pool.allocate(16, "x");
    device.submit([refusedCommands(device, "copy to itself")]);
    const reading = device.read(storage.buffer, 0, 16);
    await expect(reading).rejects.toThrow(ThalwegError);
    await expect(reading).rejects.toMatchObject({ code: "validation" });
    await expect(reading).rejects.toThrow(/the GPU refused a command.*Source and destination are the same buffer/s);
    await expect(device.read(storage.buffer, 0, 16)).resolves.toBeInstanceOf(ArrayBuffer);
    storage.release();
  });

  test("are thrown by idle", async () => {
    device.submit([refusedCommands(device, "copy to itself")]);
    await expect(device.idle()).rejects.toMatchObject({ code: "validation" });
    await expect(device.idle()).resolves.toBeUndefined();
  });

  test("can be taken before", async () => {
    device.submit([refusedCommands(device, "copy to itself")]);
    await device.gpu.queue.onSubmittedWorkDone();
    expect(device.takeErrors().map(({ code }) => code)).toContain("validation");
    await expect(device.idle()).resolves.toBeUndefined();
  });

  test("are told when the device is destroyed, if nobody has seen them", async () => {
    const lines: string[] = [];
    const other = await requestDevice({ notice: (line) => lines.push(line) });
    lines.length = 0;
    other.submit([refusedCommands(other, "copy to itself")]);
    await other.gpu.queue.onSubmittedWorkDone();
    other.destroy();
    expect(lines.join("\n")).toMatch(/an error that was never read: device: the GPU refused a command/);
  });
});

describe("loss", () => {
  const uses: readonly [string, (lost: Device, buffer: GPUBuffer) => unknown][] = [
    ["allocate", (lost) => lost.pool.allocate(4, "x")],
    ["pipeline", (lost) => lost.pipeline(double)],
    ["pipelineAsync", (lost) => lost.pipelineAsync(double)],
    ["bindGroup", (lost) => lost.bindGroup({ ...double, bindings: [] }, [], "x")],
    ["submit", (lost) => lost.submit([])],
    ["write", (lost, buffer) => lost.write(buffer, 0, new Uint8Array(4))],
    ["read", (lost, buffer) => lost.read(buffer, 0, 4)],
    ["idle", (lost) => lost.idle()],
  ];

  test("a read under way fails, and everything after it", async () => {
    const lost = await requestDevice(silent);
    const { buffer } = lost.pool.allocate(4, "x");
    lost.submit([lost.gpu.createCommandEncoder().finish({ label: "step 17" })]);
    const waiting = lost.idle();
    // What a driver reset looks like from here: the device goes away without our doing.
    lost.gpu.destroy();
    await expect(waiting).rejects.toThrow(DeviceLostError);
    await expect(waiting).rejects.toThrowErrorMatchingInlineSnapshot(
      `[DeviceLostError: device: the GPU device is lost (destroyed: device was destroyed). Last submitted: "step 17". Request a new device and restore the last checkpoint.]`,
    );
    expect(lost.lost).toBe(true);
    for (const [, use] of uses) await expect(async () => use(lost, buffer)).rejects.toThrow(DeviceLostError);
    lost.destroy();
  });

  test.each(uses)("%s after destroy fails", async (_, use) => {
    const destroyed = await requestDevice(silent);
    const { buffer } = destroyed.pool.allocate(4, "x");
    destroyed.destroy();
    expect(destroyed.lost).toBe(true);
    await expect(async () => use(destroyed, buffer)).rejects.toThrow(/destroy\(\) was called.*Nothing was submitted/);
  });

  test("destroy fails reads under way, and can be called again", async () => {
    const destroyed = await requestDevice(silent);
    const storage = destroyed.pool.allocate(4, "x");
    const reading = destroyed.read(storage.buffer, 0, 4);
    destroyed.destroy();
    await expect(reading).rejects.toThrow(/Last submitted: "read x"/);
    destroyed.destroy();
    storage.release();
    expect(destroyed.memory()).toMatchObject({ liveBytes: 0, pooledBytes: 0, liveBuffers: 0 });
  });
});

describe("a device of the caller's own", () => {
  test("is used, and outlives ours", async () => {
    const { adapter } = await findGpu({ adapter: "auto", powerPreference: undefined });
    const own = await adapter.requestDevice();
    const wrapped = await requestDevice({ ...silent, gpu: own });
    expect(wrapped.gpu).toBe(own);
    expect(wrapped.adapter.description).toBe(own.adapterInfo.description);
    expect(wrapped.limits.maxComputeInvocationsPerWorkgroup).toBe(256);
    wrapped.destroy();
    own.pushErrorScope("validation");
    own.createBuffer({ size: 4, usage: bufferUsage.storage }).destroy();
    expect(await own.popErrorScope()).toBeNull();
    own.destroy();
  });
});

describe("notice", () => {
  test("one line is given exactly if the adapter computes on the CPU", async () => {
    const lines: string[] = [];
    const other = await requestDevice({ notice: (line) => lines.push(line) });
    expect(lines).toHaveLength(other.adapter.isSoftware ? 1 : 0);
    for (const line of lines) expect(line).toMatch(/^thalweg: computing on the CPU \(.+\)\. Everything works/);
    other.destroy();
  });
});

describe("the default device", () => {
  test("concurrent calls of init share one device, and a destroyed one is replaced", async () => {
    const former = defaultDevice();
    setDefaultDevice(undefined);
    const [first, second] = await Promise.all([init(silent), init(silent)]);
    expect(second).toBe(first);
    expect(defaultDevice()).toBe(first);
    expect(await init()).toBe(first);
    first.destroy();
    expect(defaultDevice()).toBeUndefined();
    const third = await init(silent);
    expect(third).not.toBe(first);
    third.destroy();
    setDefaultDevice(former);
  });

  test("a failed init can be repeated", async () => {
    const former = defaultDevice();
    setDefaultDevice(undefined);
    await expect(init({ ...silent, adapter: "no such adapter" })).rejects.toThrow(UnsupportedError);
    const device = await init(silent);
    expect(defaultDevice()).toBe(device);
    device.destroy();
    setDefaultDevice(former);
  });

  test("it can be set", () => {
    const former = defaultDevice();
    setDefaultDevice(device);
    expect(defaultDevice()).toBe(device);
    setDefaultDevice(former);
  });
});
