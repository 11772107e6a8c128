import { describe, expect, it } from "vitest";
import { arange, compile, DisposedError, full, type Tensor, tensor, zeros } from "../src/index";
import { useDevice } from "./device";

const device = useDevice();

describe("compile", () => {
  it("computes what the function computes, for every signature", async () => {
    const add = compile((a: Tensor, b: Tensor) => a.add(b).mul(2));
    expect(await add(tensor([1, 2]), tensor([3, 4])).array()).toEqual([8, 12]);
    expect(await add(tensor([[1], [2]]), tensor([[3, 5]])).array()).toEqual([
      [8, 12],
      [10, 14],
    ]);
  });

  it("takes numbers, strings and booleans as constants of the trace", async () => {
    const scale = compile((x: Tensor, by: number, mode: "plus" | "minus") =>
      mode === "plus" ? x.mul(by) : x.mul(-by),
    );
    expect(await scale(tensor([1, 2]), 3, "plus").array()).toEqual([3, 6]);
    expect(await scale(tensor([1, 2]), 3, "minus").array()).toEqual([-3, -6]);
  });

  it("uses tensors that the function closes over", async () => {
    const weights = tensor([10, 20]);
    const f = compile((x: Tensor) => x.mul(weights));
    expect(await f(tensor([1, 2])).array()).toEqual([10, 40]);
  });

  it("returns leaves, equal results and trees as they are", async () => {
    const f = compile((x: Tensor) => ({ same: x, twice: [x.add(1), x.add(1)], nothing: null }));
    const result = f(tensor([1, 2]));
    expect(await result.same.array()).toEqual([1, 2]);
    expect(await result.twice[0]?.array()).toEqual([2, 3]);
    expect(await result.twice[1]?.array()).toEqual([2, 3]);
    expect(result.nothing).toBeNull();
  });

  it("handles empty tensors", async () => {
    const f = compile((x: Tensor) => ({ sum: x.sum(), rows: x.sum({ axis: 1 }), x: x.add(1) }));
    const result = f(zeros([0, 3]));
    expect(await result.sum.item()).toBe(0);
    expect(await result.rows.array()).toEqual([]);
    expect(await result.x.array()).toEqual([]);
  });

  it("computes large results in memory that the caller keeps, small ones in memory that stays", async () => {
    const f = compile((x: Tensor) => x.add(1));
    const size = 2 ** 19;
    const [first, second] = [f(full([size], 1)), f(full([size], 2))];
    expect(f.statistics().bytesPeak).toBe(4 * size);
    for (const [result, value] of [
      [first, 2],
      [second, 3],
    ] as const) {
      const data = await result.data();
      expect(data.every((own) => own === value)).toBe(true);
      result.dispose();
    }
    const x = full([size], 3);
    f(x).dispose();
    f(x).dispose();
    const before = device().counters.snapshot();
    f(x).dispose();
    f(x).dispose();
    const { buffersCreated, bindGroupsCreated } = before;
    expect(device().counters.snapshot()).toMatchObject({ buffersCreated, bindGroupsCreated });
    f(tensor([1]));
    expect(f.statistics().bytesPeak).toBe(2 * 256);
  });

  it("says how to get a device, how to read, and what is no argument", () => {
    const f = compile((x: Tensor) => x.add(1));
    expect(() => compile((x: Tensor) => x)(Symbol("x") as unknown as Tensor)).toThrowErrorMatchingInlineSnapshot(
      `[ArgumentError: The argument at 0 is no tensor, number, string or boolean. Close over anything else instead of passing it.]`,
    );
    expect(() => f.statistics()).toThrowError(/has not been called/);
  });

  it("refuses reading inside of the trace with a clear message", async () => {
    let read: Promise<unknown> | undefined;
    const f = compile((x: Tensor) => {
      read = x.add(1).data();
      read.catch(() => undefined);
      return x;
    });
    f(tensor([1]));
    await expect(read).rejects.toThrowError(/while a function is traced/);
  });
});

describe("donated state", () => {
  const momentum = () =>
    compile(
      function train(state: { p: Tensor; v: Tensor; step: Tensor }, g: Tensor) {
        const v = state.v.mul(0.5).add(g);
        return [{ p: state.p.sub(v), v, step: state.step.add(1) }, { norm: state.p.square().sum() }] as const;
      },
      { donate: [0] },
    );

  it("is updated in place, step after step", async () => {
    const step = momentum();
    let state = { p: tensor([1, 2]), v: tensor([0, 0]), step: tensor(0, { dtype: "i32" }) };
    const norms: number[] = [];
    for (let i = 0; i < 3; i++) {
      const [next, { norm }] = step(state, tensor([1, 1]));
      norms.push(await norm.item());
      state = next;
    }
    expect(norms).toEqual([5, 1, 2.5]);
    expect(await state.p.array()).toEqual([1 - 1 - 1.5 - 1.75, 2 - 1 - 1.5 - 1.75]);
    expect(await state.step.item()).toBe(3);
  });

  it("cannot be used after the call", async () => {
    const step = momentum();
    const state = { p: tensor([1, 2]), v: tensor([0, 0]), step: tensor(0, { dtype: "i32" }) };
    step(state, tensor([1, 1]));
    await expect(state.p.data()).rejects.toThrowError(DisposedError);
    expect(() => state.p.add(1)).toThrowErrorMatchingInlineSnapshot(
      `[DisposedError: A tensor f32 [2] was used after it was donated to train. Keep a copy if you need it.]`,
    );
  });

  it("of several lineages does not mix", async () => {
    const step = momentum();
    const start = (x: number) => ({ p: tensor([x]), v: tensor([0]), step: tensor(0, { dtype: "i32" }) });
    let [a, b] = [start(1), start(100)];
    for (let i = 0; i < 3; i++) {
      [a] = step(a, tensor([1]));
      [b] = step(b, tensor([10]));
    }
    expect(await a.p.array()).toEqual([1 - 1 - 1.5 - 1.75]);
    expect(await b.p.array()).toEqual([100 - 10 - 15 - 17.5]);
  });

  it("may be replaced in part by the caller", async () => {
    const step = momentum();
    let state = { p: tensor([1]), v: tensor([0]), step: tensor(0, { dtype: "i32" }) };
    [state] = step(state, tensor([1]));
    [state] = step({ ...state, v: tensor([100]) }, tensor([1]));
    expect(await state.p.array()).toEqual([0 - 51]);
  });

  it("may trade places, be read by others, and be read elsewhere than it is written", async () => {
    const swap = compile((s: { a: Tensor; b: Tensor }) => ({ a: s.b, b: s.a }), { donate: [0] });
    const swapped = swap({ a: tensor([1]), b: tensor([2]) });
    expect([await swapped.a.item(), await swapped.b.item()]).toEqual([2, 1]);
    const flip = compile((s: { a: Tensor }) => [{ a: s.a.flip(0).add(1) }, s.a.sum()] as const, { donate: [0] });
    const [flipped, sum] = flip({ a: tensor([1, 2, 3]) });
    expect(await flipped.a.array()).toEqual([4, 3, 2]);
    expect(await sum.item()).toBe(6);
    const chain = compile((s: { a: Tensor; b: Tensor }) => ({ a: s.a.add(s.b), b: s.a.mul(s.b).sum().expand([2]) }), {
      donate: [0],
    });
    const chained = chain({ a: tensor([1, 2]), b: tensor([3, 4]) });
    expect(await chained.a.array()).toEqual([4, 6]);
    expect(await chained.b.array()).toEqual([11, 11]);
  });

  it("cannot be passed twice", () => {
    const x = tensor([1]);
    const f = compile((a: Tensor, b: Tensor) => [a.add(b)], { donate: [0] });
    expect(() => f(x, x)).toThrowError(/passed twice/);
  });

  it("may be a graph that was never computed", async () => {
    const f = compile((a: Tensor) => a.add(1), { donate: [0] });
    expect(await f(arange(3).mul(2)).array()).toEqual([1, 3, 5]);
  });
});

describe("a step in steady state", () => {
  const tiny = () =>
    compile(
      (state: { w: Tensor; v: Tensor; history: Tensor; step: Tensor }, x: Tensor) => {
        const gradient = x.T.dot(x.dot(state.w)).mul(1e-6);
        const v = state.v.mul(0.9).add(gradient);
        const at = state.history.iotaLike(0).equal(state.step.rem(state.history.size));
        const history = at.where(x.dot(state.w).square().mean(), state.history);
        return { w: state.w.sub(v), v, history, step: state.step.add(1) };
      },
      { donate: [0] },
    );

  const start = () => ({
    w: full([4, 1], 1),
    v: zeros([4, 1]),
    history: zeros([8]),
    step: tensor(0, { dtype: "i32" }),
  });

  it("is one submit and creates nothing", async () => {
    const step = tiny();
    const x = arange(12).reshape([3, 4]);
    let state = step(step(start(), x), x);
    const before = device().counters.snapshot();
    for (let i = 0; i < 10; i++) state = step(state, x);
    const after = device().counters.snapshot();
    expect({
      submits: after.submits - before.submits,
      dispatches: after.dispatches - before.dispatches,
      buffers: after.buffersCreated - before.buffersCreated,
      bindGroups: after.bindGroupsCreated - before.bindGroupsCreated,
      pipelines: after.pipelinesCreated - before.pipelinesCreated,
      readbacks: after.readbacks - before.readbacks,
    }).toEqual({
      submits: 10,
      dispatches: 10 * step.statistics().dispatches,
      buffers: 0,
      bindGroups: 0,
      pipelines: 0,
      readbacks: 0,
    });
    expect(await state.step.item()).toBe(12);
  });

  it("holds live bytes constant over 10,000 steps", async () => {
    const step = tiny();
    const x = arange(12).reshape([3, 4]);
    let state = step(step(start(), x), x);
    await state.step.item();
    const before = device().memory();
    for (let i = 0; i < 10_000; i++) {
      state = step(state, x);
      if (i % 1000 === 0) await device().idle();
    }
    expect(await state.step.item()).toBe(10_002);
    // Less only where the garbage collector found tensors of earlier tests; one leaked byte a step would be 10,000.
    expect(device().memory().liveBytes).toBeLessThanOrEqual(before.liveBytes);
    expect(device().memory().liveBuffers).toBeLessThanOrEqual(before.liveBuffers);
  }, 60_000);

  it("gives the same bits in two runs, whatever happens between the steps", async () => {
    const x = arange(12).reshape([3, 4]).mul(0.3);
    const run = async (between: () => Promise<unknown>) => {
      const step = tiny();
      let state = start();
      for (let i = 0; i < 5; i++) {
        state = step(state, x);
        await between();
      }
      return state.w.data();
    };
    const quiet = await run(async () => undefined);
    const noisy = await run(() => arange(1000).mul(Math.PI).sum().item());
    expect(noisy).toEqual(quiet);
  });
});
