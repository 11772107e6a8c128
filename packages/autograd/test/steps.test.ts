import { compile, type Device, init, scan, type Tensor, tensor } from "@thalweg/tensor";
import { retarget } from "@thalweg/tensor/testing";
import { beforeAll, describe, expect, it } from "vitest";
import { valueAndGrad } from "../src/index";

let device: Device;
beforeAll(async () => {
  device = await init({ notice: () => undefined });
});

/** An even number of steps: a carry that takes turns between two places is back in the first one. */
const [batch, inputs, hidden, count] = [8, 6, 16, 6];
const values = (seed: number, shape: readonly number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(seed + i * 1.7) / 2),
    { shape },
  );

type Weights = { readonly first: Tensor; readonly bias: Tensor; readonly second: Tensor };
type State = { readonly weights: Weights; readonly momentum: Weights; readonly step: Tensor };
type Batch = { readonly x: Tensor; readonly y: Tensor };

const fresh = (): State => ({
  weights: { first: values(1, [inputs, hidden]), bias: values(2, [hidden]), second: values(3, [hidden, 1]) },
  momentum: {
    first: values(0, [inputs, hidden]).mul(0),
    bias: values(0, [hidden]).mul(0),
    second: values(0, [hidden, 1]).mul(0),
  },
  step: tensor(0),
});

/** Gradient descent with momentum on a small network, at a rate that falls with the step. */
function step(state: State, { x, y }: Batch): readonly [State, { readonly loss: Tensor }] {
  const [loss, grads] = valueAndGrad((w: Weights) =>
    x.dot(w.first).add(w.bias).tanh().dot(w.second).sub(y).square().mean(),
  )(state.weights);
  const rate = state.step.add(1).rsqrt().mul(0.1);
  const names = ["first", "bias", "second"] as const;
  const momentum = Object.fromEntries(
    names.map((name) => [name, state.momentum[name].mul(0.9).add(grads[name])]),
  ) as Weights;
  const weights = Object.fromEntries(
    names.map((name) => [name, state.weights[name].sub(momentum[name].mul(rate))]),
  ) as Weights;
  return [{ weights, momentum, step: state.step.add(1) }, { loss }];
}

const batches = { x: values(5, [count, batch, inputs]), y: values(6, [count, batch, 1]) };
const at = (all: Tensor, t: number): Tensor =>
  all.slice([t, 0, 0], [t + 1, all.shape[1] as number, all.shape[2] as number]).reshape(all.shape.slice(1));

describe("several steps of training in one call", () => {
  it("have the losses and the state of single steps, bit for bit", async () => {
    const single = compile(step, { donate: [0] });
    const several = compile((state: State, all: Batch) => scan(step, state, all), { donate: [0] });
    let state = fresh();
    const losses: number[] = [];
    for (let t = 0; t < count; t++) {
      const [next, metrics] = single(state, { x: at(batches.x, t), y: at(batches.y, t) });
      state = next;
      losses.push(await metrics.loss.item());
    }
    const [last, metrics] = several(fresh(), batches);
    expect(metrics.loss.shape).toEqual([count]);
    expect([...(await metrics.loss.data())]).toEqual(losses);
    expect(await last.weights.first.data()).toEqual(await state.weights.first.data());
    expect(await last.momentum.second.data()).toEqual(await state.momentum.second.data());
    single.dispose();
    several.dispose();
  }, 60_000);

  it("are one submit, allocate nothing, copy nothing, and hold no more memory than one step", async () => {
    const single = compile(step, { donate: [0] });
    const several = compile((state: State, all: Batch) => scan(step, state, all), { donate: [0] });
    await single.prepare(fresh(), { x: at(batches.x, 0), y: at(batches.y, 0) });
    let [state, metrics] = several(fresh(), batches);
    [state, metrics] = several(state, batches);
    await metrics.loss.data();
    const { kernels, dispatches, submits, bytesPeak } = several.statistics();
    expect(kernels.every(({ runs }) => runs === count)).toBe(true);
    expect(dispatches).toBe(count * kernels.length);
    expect(submits).toBe(1);
    // State that cannot be replaced in place has a second place, and nothing else comes on top.
    expect(bytesPeak).toBeLessThan(2 * single.statistics().bytesPeak);
    const before = device.counters.snapshot();
    for (let call = 0; call < 4; call++) {
      metrics.loss.dispose();
      [state, metrics] = several(state, batches);
    }
    expect(device.counters.since(before)).toMatchObject({
      submits: 4,
      buffersCreated: 0,
      bindGroupsCreated: 0,
      readbacks: 0,
    });
    single.dispose();
    several.dispose();
  }, 60_000);

  it("are cut into submits of bounded work, with the same result", async () => {
    const run = async (workPerSubmit: number) => {
      retarget(device, { workPerSubmit });
      const several = compile((state: State, all: Batch) => scan(step, state, all), { donate: [0] });
      const before = device.counters.snapshot();
      const [, metrics] = several(fresh(), batches);
      const { submits } = device.counters.since(before);
      const losses = [...(await metrics.loss.data())];
      const planned = several.statistics().submits;
      several.dispose();
      retarget(device, undefined);
      return { losses, submits, planned };
    };
    const whole = await run(Number.POSITIVE_INFINITY);
    const cut = await run(100_000);
    expect(whole.planned).toBe(1);
    expect(cut.planned).toBeGreaterThan(2);
    // What both have besides: the evaluation of the zeros that training starts from.
    expect(cut.submits - whole.submits).toBe(cut.planned - whole.planned);
    expect(cut.losses).toEqual(whole.losses);
  }, 60_000);
});

describe("metrics of a training loop", () => {
  it("are read without waiting, through three buffers: nothing is created while steps are ahead of what is read", async () => {
    const single = compile(step, { donate: [0] });
    const one = { x: at(batches.x, 0), y: at(batches.y, 0) };
    let state = fresh();
    const pending: Promise<number>[] = [];
    const losses: number[] = [];
    const run = async (steps: number) => {
      for (let t = 0; t < steps; t++) {
        const [next, metrics] = single(state, one);
        state = next;
        pending.push(metrics.loss.item().finally(() => metrics.loss.dispose()));
        // Three steps later the value has long arrived.
        if (pending.length > 2) losses.push(await (pending.shift() as Promise<number>));
      }
      losses.push(...(await Promise.all(pending.splice(0))));
    };
    await run(8);
    const before = device.counters.snapshot();
    await run(50);
    const spent = device.counters.since(before);
    expect(spent).toMatchObject({ submits: 100, readbacks: 50, buffersCreated: 0, bindGroupsCreated: 0 });
    expect(losses).toHaveLength(58);
    expect(losses.every((loss, t) => t === 0 || loss < (losses[0] as number))).toBe(true);
    single.dispose();
  }, 60_000);
});
