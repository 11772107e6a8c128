import { afterEach, describe, expect, it } from "vitest";
import type { Pass } from "../src/compiler/target";
import { compile, conv, softmax, type Tensor, tensor } from "../src/index";
import { retarget } from "../src/testing";
import { useDevice } from "./device";

const device = useDevice();
afterEach(() => {
  retarget(device(), undefined);
});

const wave = (shape: readonly number[], phase: number): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(phase + 1.3 * i)),
    { shape },
  );

interface State {
  readonly kernel: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** A conv, a dense layer, normalised rows, long sums, and updates of the state: something for every pass. */
const step = (state: State, x: Tensor) => {
  const hidden = conv(x, state.kernel, { padding: "same" }).relu();
  const logits = hidden.reshape([4, 128]).dot(state.weight).add(state.bias);
  const error = softmax(logits, { axis: -1 }).sub(0.2);
  const kernel = state.kernel.sub(
    hidden
      .square()
      .mean({ axis: [0, 1, 2] })
      .mul(0.1),
  );
  const weight = state.weight.sub(hidden.reshape([4, 128]).T.dot(error).mul(0.1));
  const bias = state.bias.sub(error.sum({ axis: 0 }).mul(0.1));
  return [
    { kernel, weight, bias },
    { loss: error.square().sum(), norm: x.square().sum().sqrt() },
  ] as const;
};

const begin = (): State => ({ kernel: wave([3, 3, 1, 2], 0), weight: wave([128, 5], 1), bias: wave([5], 2) });

/** State and metrics after three steps, and what a step costs. */
async function train(without: readonly Pass[]) {
  retarget(device(), { without });
  const program = compile(step, { donate: [0] });
  const x = wave([4, 8, 8, 1], 3);
  let state = begin();
  let metrics = { loss: x, norm: x };
  for (let count = 0; count < 3; count++) [state, metrics] = program(state, x);
  const values = await Promise.all([...Object.values(state), ...Object.values(metrics)].map((value) => value.data()));
  const statistics = program.statistics();
  program.dispose();
  return { values: values.map((own) => Array.from(own as Float32Array)), statistics };
}

describe("a step without one of the compiler's passes", () => {
  it.each<Pass>(["rewrites", "parallelize", "fuse", "reorder", "inPlace", "pack", "reuse"])(
    "computes the same up to rounding: %s",
    async (pass) => {
      const [all, less] = [await train([]), await train([pass])];
      for (const [index, expected] of all.values.entries()) {
        for (const [position, value] of expected.entries()) {
          // Values are of order 1, and no sum has more than 512 terms: three steps of them.
          expect(Math.abs((less.values[index]?.[position] as number) - value)).toBeLessThan(3 * 512 * 2 ** -24);
        }
      }
      if (pass === "pack" || pass === "fuse") {
        expect(less.statistics.dispatches).toBeGreaterThan(all.statistics.dispatches);
      }
    },
  );

  it("takes more memory where nothing shares it", async () => {
    const [shared, apart] = [await train(["fuse"]), await train(["fuse", "reuse"])];
    expect(apart.statistics.bytesPeak).toBeGreaterThan(shared.statistics.bytesPeak);
    expect(apart.values).toEqual(shared.values);
  });

  // All of these kernels are small: sharing dispatches would put the gradients into a few.
  it("has the same bits in any order, and holds less memory in a good one", async () => {
    const layers = ["first", "second", "third", "fourth", "fifth", "sixth"] as const;
    type Weights = Record<(typeof layers)[number], Tensor>;
    const weights = Object.fromEntries(layers.map((name, index) => [name, wave([4, 4], index).mul(0.5)])) as Weights;
    /** Backward through a deep network by hand: the gradients of late layers are asked for last. */
    const gradients = (own: Weights, x: Tensor) => {
      const outputs = [x];
      for (const name of layers) outputs.push((outputs.at(-1) as Tensor).dot(own[name]).tanh());
      let back = outputs.at(-1) as Tensor;
      const found: [string, Tensor][] = [];
      for (const [index, name] of [...layers.entries()].toReversed()) {
        const [input, output] = [outputs[index] as Tensor, outputs[index + 1] as Tensor];
        const before = back.mul(output.square().neg().add(1));
        found.unshift([name, input.T.dot(before)]);
        back = before.dot(own[name].T);
      }
      return Object.fromEntries(found);
    };
    const run = async (without: readonly Pass[]) => {
      retarget(device(), { without });
      const program = compile(gradients);
      const values = Object.values(program(weights, wave([4096, 4], 1)));
      const read = await Promise.all(values.map((value) => value.data()));
      const { bytesPeak } = program.statistics();
      program.dispose();
      return { read, bytesPeak };
    };
    const [ordered, asFound] = [await run(["pack"]), await run(["pack", "reorder"])];
    expect(ordered.read).toEqual(asFound.read);
    expect(ordered.bytesPeak).toBeLessThan(0.75 * asFound.bytesPeak);
  });

  it("repeats bit for bit with all of them", async () => {
    expect((await train([])).values).toEqual((await train([])).values);
  });
});
