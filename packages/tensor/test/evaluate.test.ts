import { describe, expect, it, vi } from "vitest";
import {
  arange,
  compile,
  conv,
  debugNonFinite,
  evaluate,
  full,
  NonFiniteError,
  OutOfMemoryError,
  requestDevice,
  scope,
  type Tensor,
  tensor,
  UnsupportedError,
} from "../src/index";
import { useDevice } from "./device";

const device = useDevice();

describe("evaluation", () => {
  it("plans a structure once, whatever the data", async () => {
    const f = (x: Tensor) => x.mul(3).add(x.sum());
    await f(tensor([1, 2, 3])).data();
    const before = device().counters.snapshot();
    expect(await f(tensor([4, 5, 6])).array()).toEqual([27, 30, 33]);
    expect(device().counters.snapshot().pipelinesCreated).toBe(before.pipelinesCreated);
  });

  it("keeps no data of former evaluations alive", async () => {
    const before = device().memory().liveBytes;
    for (let size = 1; size <= 8; size++) {
      const x = full([1024, size], 1).mul(2);
      const y = x.add(1);
      await evaluate([x, y]);
      x.dispose();
      y.dispose();
    }
    expect(device().memory().liveBytes).toBeLessThanOrEqual(before);
  });

  it("computes several tensors in one submit", async () => {
    const x = arange(8);
    const before = device().counters.snapshot();
    await evaluate([x.add(1), x.mul(2), x.sum()]);
    expect(device().counters.snapshot().submits - before.submits).toBe(1);
  });

  it("does not compute again what was computed", async () => {
    const x = arange(100).sin();
    await x.data();
    const before = device().counters.snapshot();
    await x.data();
    expect(device().counters.snapshot().dispatches).toBe(before.dispatches);
  });

  it("frees what a scope made and did not return", async () => {
    const inner: Tensor[] = [];
    const kept = scope(() => {
      const a = tensor([1, 2, 3]);
      inner.push(a.mul(2), a);
      return tensor([4]).add(1);
    });
    expect(inner.map((x) => x.disposed)).toEqual([true, true]);
    expect(await kept.item()).toBe(5);
  });

  it("splits grids beyond the limit of one dimension", async () => {
    const count = 65_535 * 64 * 4 + 1;
    expect(
      await full([count], 1, { dtype: "i32" })
        .add(arange(count, { dtype: "i32" }))
        .slice([count - 1])
        .item(),
    ).toBe(count);
    expect(await arange(count, { dtype: "i32" }).greater(-1).cast("i32").sum().item()).toBe(count);
  });
});

describe("the debug mode", () => {
  it("names the first operation that gave no finite number, and its line", async () => {
    debugNonFinite(true);
    try {
      const x = tensor([1, 0, 2]);
      const bad = x.log().mul(0).add(x);
      const failure = await bad.data().catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(NonFiniteError);
      expect((failure as Error).message).toMatch(
        /came first from log\(f32 \[3\]\) giving f32 \[3\], made at .*evaluate\.test\.ts:\d+/,
      );
    } finally {
      debugNonFinite(false);
    }
  });

  it("looks into compiled programs, with donated state too", async () => {
    debugNonFinite(true);
    try {
      const step = compile((s: { x: Tensor }) => [{ x: s.x.sub(1) }, s.x.sqrt().sum()] as const, { donate: [0] });
      const [next, fine] = step({ x: tensor([1, 0.5]) });
      expect(await fine.item()).toBeCloseTo(1 + Math.SQRT1_2, 6);
      const [, bad] = step(next);
      await expect(bad.item()).rejects.toThrowError(/came first from sqrt\(f32 \[2\]\)/);
    } finally {
      debugNonFinite(false);
    }
  });

  it("says nothing where all is finite", async () => {
    debugNonFinite(true);
    try {
      expect(await tensor([1, 2]).log().exp().sum().item()).toBeCloseTo(3, 5);
    } finally {
      debugNonFinite(false);
    }
  });
});

describe("limits", () => {
  it("of the device are kept: few bindings, small ones", async () => {
    const small = await requestDevice({
      notice: () => undefined,
      limits: { maxStorageBuffersPerShaderStage: 4, maxStorageBufferBindingSize: 2 ** 20 },
    });
    try {
      const many = Array.from({ length: 12 }, (_, i) => tensor([i, i]));
      const total = many.reduce((sum, x) => sum.add(x.mul(x)));
      await evaluate([total], small);
      expect(await total.array()).toEqual([506, 506]);
      await expect(
        evaluate(
          [
            arange(2 ** 19)
              .add(1)
              .reshape([2, -1])
              .sum({ axis: 0 })
              .mul(2),
          ],
          small,
        ),
      ).resolves.toBeUndefined();
      const large = arange(2 ** 19).add(1);
      const failure = await evaluate([large], small).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(OutOfMemoryError);
      expect((failure as Error).message).toMatchInlineSnapshot(
        `"add: a tensor f32 [524288] takes 2097152 bytes, one binding of this device has at most 1048576. Split it along an axis, or store it in a smaller dtype."`,
      );
    } finally {
      small.destroy();
    }
  });

  it("of one buffer bound arenas: temporaries that are alive together spread over several", async () => {
    const small = await requestDevice({ notice: () => undefined, limits: { maxBufferSize: 2 ** 20 } });
    try {
      // Six products of half a megabyte, all of which exist before the first is used.
      const x = arange(256 * 16)
        .reshape([256, 16])
        .mul(1e-3);
      const products = Array.from({ length: 6 }, (_, i) =>
        x.dot(
          arange(16 * 512)
            .add(i)
            .reshape([16, 512])
            .mul(1e-3),
        ),
      );
      const total = products.reduceRight((sum, p) => sum.add(p.div(p.max())), full([256, 512], 0)).sum();
      await evaluate([total], small);
      const alone = products.map((p) => p.div(p.max()).sum());
      await evaluate(alone, small);
      const parts = await Promise.all(alone.map((part) => part.item()));
      const sum = parts.reduce((a, b) => a + b);
      // Sums of 131,072 terms in blocks: relative errors far below 1e-5.
      expect(Math.abs((await total.item()) / sum - 1)).toBeLessThan(1e-5);
    } finally {
      small.destroy();
    }
  });

  it("that are exceeded by temporaries are reported with what was planned", async () => {
    const allocate = vi.spyOn(device().pool, "allocate").mockImplementation((bytes) => {
      throw new OutOfMemoryError("the driver has no more.", { requestedBytes: bytes, liveBytes: 0 });
    });
    try {
      const x = arange(64).reshape([8, 8]);
      const failure = await evaluate([x.dot(x).max({ axis: 1 }).sum()]).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(OutOfMemoryError);
    } finally {
      allocate.mockRestore();
    }
    const real = device().pool.allocate.bind(device().pool);
    const arenas = vi.spyOn(device().pool, "allocate").mockImplementation((bytes, label) => {
      if (!label.startsWith("arena")) return real(bytes, label);
      throw new OutOfMemoryError("the driver has no more.", { requestedBytes: bytes, liveBytes: 0 });
    });
    try {
      const x = arange(64).reshape([8, 8]);
      const failure = await evaluate([x.dot(x.add(1)).max({ axis: 1 }).sum()]).catch((error: unknown) => error);
      expect((failure as Error).message).toMatch(
        /planned \d+ bytes of temporaries in \d+ buffers .*the driver has no more/,
      );
    } finally {
      arenas.mockRestore();
    }
  });

  it("f16 needs an adapter that has it", async () => {
    const x = tensor([1, 2.5]).cast("f16");
    if (device().features.has("shader-f16")) expect(await x.mul(2).array()).toEqual([2, 5]);
    else await expect(x.data()).rejects.toThrowError(UnsupportedError);
  });
});

describe("convolution", () => {
  it("never stores the unfolded tensor", async () => {
    const x = arange(2 * 16 * 16 * 4).reshape([2, 16, 16, 4]);
    const kernel = full([3, 3, 4, 8], 0.01);
    await evaluate([x, kernel]);
    device().pool.trim();
    const before = device().memory();
    const y = conv(x, kernel, { padding: "same" });
    await evaluate([y]);
    const { liveBytes, pooledBytes } = device().memory();
    // The result and nothing else; unfolded, the input alone would take nine times its size.
    expect(liveBytes + pooledBytes - before.liveBytes).toBeLessThanOrEqual(1.25 * y.bytes);
  });
});
