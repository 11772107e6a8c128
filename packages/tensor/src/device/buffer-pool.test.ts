import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { DisposedError, OutOfMemoryError } from "../errors";
import { formatBytes, poisonBits, type Storage, sizeClass } from "./buffer-pool";
import { type Device, requestDevice } from "./device";

let device: Device;
beforeAll(async () => {
  device = await requestDevice({ notice: () => undefined });
});
afterEach(async () => {
  await device.idle();
  device.pool.trim();
  expect(device.memory()).toMatchObject({ liveBytes: 0, liveBuffers: 0, pooledBytes: 0 });
});
afterAll(() => device.destroy());

async function words(storage: Storage): Promise<Uint32Array> {
  return new Uint32Array(await device.read(storage.buffer, storage.byteOffset, storage.bytes));
}

describe("sizeClass", () => {
  test("holds the request, wastes at most an eighth of it or 256 bytes, and is its own class", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (bytes) => {
        const size = sizeClass(bytes);
        expect(size).toBeGreaterThanOrEqual(bytes);
        expect(size - bytes).toBeLessThan(Math.max(256, bytes / 8 + 1));
        expect(size % 256).toBe(0);
        expect(sizeClass(size)).toBe(size);
      }),
    );
  });

  test("has eight classes to an octave", () => {
    const classes = new Set(Array.from({ length: 2 ** 14 }, (_, index) => sizeClass(2 ** 14 + 1 + index)));
    expect(classes.size).toBe(8);
  });
});

test.each([
  [0, "0 B"],
  [12, "12 B"],
  [3584, "3.5 KiB"],
  [2 ** 30 + 2 ** 28, "1.25 GiB"],
])("formatBytes prints %d as %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

describe("allocate", () => {
  test("a released buffer is used again by a request of about its size", () => {
    const first = device.pool.allocate(5000, "first");
    const { buffer } = first;
    first.release();
    const before = device.counters.snapshot();
    const second = device.pool.allocate(4900, "second");
    expect(second.buffer).toBe(buffer);
    expect(device.counters.since(before).buffersCreated).toBe(0);
    second.release();
  });

  test("buffers in use are never handed out twice", () => {
    const held = Array.from({ length: 20 }, () => device.pool.allocate(1024, "held"));
    expect(new Set(held.map(({ buffer }) => buffer)).size).toBe(20);
    for (const storage of held) storage.release();
  });

  test.each([
    [0, 4],
    [1, 4],
    [4, 4],
    [10, 12],
  ])("%d bytes give a range of %d bytes", (requested, usable) => {
    const storage = device.pool.allocate(requested, "small");
    expect(storage.bytes).toBe(usable);
    storage.release();
  });

  test.each([-1, 1.5, Number.NaN])("%d bytes are refused", (bytes) => {
    expect(() => device.pool.allocate(bytes, "x")).toThrow(/is not a size/);
  });

  test("memory in use, in the pool and at most is counted with whole buffers", async () => {
    const peakBefore = device.memory().peakBytes;
    const large = device.pool.allocate(2 ** 21, "large");
    const small = device.pool.allocate(100, "small");
    expect(device.memory()).toMatchObject({ liveBytes: 2 ** 21 + 256, pooledBytes: 0, liveBuffers: 2 });
    large.release();
    expect(device.memory()).toMatchObject({ liveBytes: 256, pooledBytes: 2 ** 21, liveBuffers: 1 });
    small.release();
    expect(device.memory()).toMatchObject({ liveBytes: 0, pooledBytes: 2 ** 21 + 256, liveBuffers: 0 });
    expect(device.memory().peakBytes).toBe(Math.max(peakBefore, 2 ** 21 + 256));
    device.pool.trim();
    expect(device.memory()).toMatchObject({ liveBytes: 0, pooledBytes: 0 });
  });

  test("2000 steps of allocating and releasing create buffers in the first step only", () => {
    const step = () => {
      const held = [100, 5000, 5000, 70_000].map((bytes) => device.pool.allocate(bytes, "step"));
      for (const storage of held) storage.release();
    };
    step();
    const memory = device.memory();
    const before = device.counters.snapshot();
    for (let index = 0; index < 2000; index++) step();
    expect(device.counters.since(before).buffersCreated).toBe(0);
    expect(device.memory()).toEqual(memory);
  });

  test("free buffers beyond the pool's bound are destroyed", () => {
    const { maxPooledBytes } = device.pool;
    device.pool.maxPooledBytes = 3000;
    const held = [1024, 1024, 1024].map((bytes) => device.pool.allocate(bytes, "held"));
    for (const storage of held) storage.release();
    device.pool.maxPooledBytes = maxPooledBytes;
    expect(device.memory().pooledBytes).toBe(2048);
  });
});

describe("references", () => {
  test("a range is free when every owner has released it", () => {
    const storage = device.pool.allocate(64, "shared");
    storage.retain();
    storage.release();
    expect(storage.released).toBe(false);
    expect(device.memory().liveBuffers).toBe(1);
    storage.release();
    expect(storage.released).toBe(true);
    expect(device.memory().liveBuffers).toBe(0);
  });

  test("a view keeps its buffer in use and reads its own part", async () => {
    const whole = device.pool.allocate(64, "whole");
    device.write(
      whole.buffer,
      0,
      Uint32Array.from({ length: 16 }, (_, index) => index),
    );
    const view = device.pool.view(whole, 16, 32);
    const nested = device.pool.view(view, 8, 8);
    whole.release();
    view.release();
    expect(device.memory().liveBuffers).toBe(1);
    expect(nested.byteOffset).toBe(24);
    expect(Array.from(await words(nested))).toEqual([6, 7]);
    nested.release();
    expect(device.memory().liveBuffers).toBe(0);
  });

  test("releasing or retaining what was released is an error", () => {
    const storage = device.pool.allocate(64, "gone");
    storage.release();
    expect(() => storage.release()).toThrow(DisposedError);
    expect(() => storage.retain()).toThrow(DisposedError);
    expect(() => device.pool.view(storage, 0, 4)).toThrow(DisposedError);
    expect(device.memory().liveBuffers).toBe(0);
  });

  test.each([
    [-4, 4],
    [2, 4],
    [60, 8],
    [64, 4],
  ])("a view at %d of %d bytes does not fit into 64 bytes", (byteOffset, bytes) => {
    const storage = device.pool.allocate(64, "whole");
    expect(() => device.pool.view(storage, byteOffset, bytes)).toThrow(/do not lie in a range of 64/);
    storage.release();
  });
});

describe("poison", () => {
  test("overwrites released memory when it is on", async () => {
    const size = 3 * 2 ** 18;
    const before = device.pool.allocate(size, "before");
    device.write(before.buffer, 0, new Uint32Array(size / 4).fill(7));
    const { buffer } = before;
    device.pool.poison = true;
    before.release();
    device.pool.poison = false;
    const after = device.pool.allocate(size, "after");
    expect(after.buffer).toBe(buffer);
    expect((await words(after)).every((word) => word === poisonBits)).toBe(true);
    after.release();
  });

  test("leaves memory alone when it is off", async () => {
    const before = device.pool.allocate(256, "before");
    device.write(before.buffer, 0, new Uint32Array(64).fill(7));
    before.release();
    const after = device.pool.allocate(256, "after");
    expect((await words(after)).every((word) => word === 7)).toBe(true);
    after.release();
  });
});

describe("out of memory", () => {
  test("a request above the limit of one buffer is refused at once, with the numbers", async () => {
    const small = await requestDevice({ limits: { maxBufferSize: 2 ** 20 }, notice: () => undefined });
    const held = small.pool.allocate(2 ** 19, "held");
    const refused = () => small.pool.allocate(2 ** 20 + 1, "weights");
    expect(refused).toThrow(OutOfMemoryError);
    expect(refused).toThrowErrorMatchingInlineSnapshot(
      `[OutOfMemoryError: allocate weights: 1048580 bytes are more than one buffer of this device can hold, which is 1048576 bytes (512 KiB in use). Split the tensor or use a smaller batch.]`,
    );
    try {
      refused();
    } catch (error) {
      expect(error).toMatchObject({ requestedBytes: 2 ** 20 + 4, liveBytes: 2 ** 19, limitBytes: 2 ** 20 });
    }
    expect(small.memory().liveBytes).toBe(2 ** 19);
    held.release();
    small.destroy();
  });

  test("a rounded size stays below the limit", async () => {
    const small = await requestDevice({ limits: { maxBufferSize: 10_000 }, notice: () => undefined });
    const storage = small.pool.allocate(9900, "nearly all");
    expect(storage.buffer.size).toBe(9984);
    await small.idle();
    storage.release();
    small.destroy();
  });

  test("a refusal of the driver is thrown by the next read", async () => {
    const { gpu } = device;
    const answer = gpu.popErrorScope.bind(gpu);
    // Drivers hand out memory that does not exist, so that a real refusal would first fill the machine.
    const refuse = vi.spyOn(gpu, "popErrorScope").mockImplementationOnce(async () => {
      await answer();
      return { message: "VK_ERROR_OUT_OF_DEVICE_MEMORY" } as GPUOutOfMemoryError;
    });
    const storage = device.pool.allocate(2 ** 20 - 4, "activations");
    refuse.mockRestore();
    const reading = device.read(storage.buffer, 0, 4);
    await expect(reading).rejects.toThrow(OutOfMemoryError);
    await expect(reading).rejects.toThrowErrorMatchingInlineSnapshot(
      `[OutOfMemoryError: allocate activations: the driver has no 1 MiB more (0 B in use). Use a smaller batch, dispose tensors that are no longer needed, or trim the pool.]`,
    );
    // It was told once.
    await expect(device.read(storage.buffer, 0, 4)).resolves.toBeInstanceOf(ArrayBuffer);
    // A buffer without memory is not used again.
    storage.release();
    expect(device.memory()).toMatchObject({ liveBytes: 0, pooledBytes: 0 });
  });
});
