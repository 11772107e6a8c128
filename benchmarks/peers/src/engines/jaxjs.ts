import { blockUntilReady, defaultDevice, init, jit, lax, nn, numpy as np, tree, valueAndGrad, vjp } from "@jax-js/jax";
import manifest from "../../package.json";
import type { KernelOperation, KernelProblem } from "../cases/kernels";
import {
  layerName,
  type Model,
  residualBlocks,
  type TrainingCase,
  type TrainingProblem,
  withChannelsFirst,
} from "../cases/training";
import type { Engine, KernelRun, Training } from "../engine";
import { type HostTensor, type HostTensors, mapTensors, transpose } from "../tensors";

type Arrays = Record<string, np.Array>;

/**
 * jax-js as its README recommends for WebGPU: pure functions over trees, reference counts kept by `.ref`, and the whole training
 * step under `jit`. Its convolutions exist for channels first only, so kernels, images and the rows of the first dense layer are
 * brought into that order once, on the host.
 */
export async function create(): Promise<Engine> {
  provideIteratorHelpers();
  const devices = await init("webgpu");
  if (!devices.includes("webgpu")) throw new Error("jax-js found no WebGPU device.");
  defaultDevice("webgpu");
  return {
    name: "jax-js",
    version: manifest.dependencies["@jax-js/jax"],
    train: async (problem) => train(withChannelsFirst(problem)),
    kernel: async (problem) => runKernel(problem),
  };
}

/** jax-js maps and filters iterators, which Node can do from version 22 on. */
function provideIteratorHelpers(): void {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object;
  if ("map" in prototype) return;
  const provide = (name: string, value: unknown) =>
    Object.defineProperty(prototype, name, { configurable: true, writable: true, value });
  provide("map", function* <T, R>(this: Iterable<T>, fn: (value: T) => R): Generator<R> {
    for (const value of this) yield fn(value);
  });
  provide("filter", function* <T>(this: Iterable<T>, fn: (value: T) => boolean): Generator<T> {
    for (const value of this) if (fn(value)) yield value;
  });
}

const upload = ({ shape, values }: HostTensor): np.Array =>
  (values instanceof Float32Array ? np.array(values) : np.array(values, { dtype: np.int32 })).reshape([...shape]);
const uploadAll = (tensors: HostTensors): Arrays => mapTensors(tensors, upload);

/** Lets the event loop turn, in which jax-js sends what a jitted call has noted. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function train(problem: TrainingProblem): Training {
  const step = jit(trainingStep(problem.case));
  let params = uploadAll(problem.parameters);
  let statistics = uploadAll(problem.statistics);
  let velocity: Arrays = mapTensors(problem.parameters, ({ shape }) => np.zeros([...shape]));
  const data = problem.batches.map(({ inputs, labels }) => ({ inputs: upload(inputs), labels: upload(labels) }));
  let loss: np.Array | undefined;
  let steps = 0;
  return {
    run() {
      const batch = data[steps++ % data.length];
      if (batch === undefined) throw new Error("jax-js: there is no batch to train on.");
      loss?.dispose();
      [params, statistics, velocity, loss] = step(params, statistics, velocity, batch.inputs.ref, batch.labels.ref);
      // A jitted call only notes what is to be run. Asking for readiness, without waiting for it, has the work sent once the
      // event loop turns; neither waiting nor sending nothing until the loss is read was measured to be faster.
      void loss.blockUntilReady();
      return nextTurn();
    },
    async wait() {
      await loss?.blockUntilReady();
    },
    async loss() {
      if (loss === undefined) throw new Error("jax-js: no step has run yet.");
      return (await loss.ref.data())[0] ?? Number.NaN;
    },
    dispose() {
      loss?.dispose();
      tree.dispose([params, statistics, velocity, data]);
      step.dispose();
    },
  };
}

function trainingStep({ model, learningRate, momentum }: TrainingCase) {
  const lossOf = (params: Arrays, statistics: Arrays, inputs: np.Array, labels: np.Array): [np.Array, Arrays] => {
    const [logits, next] = apply(model, params, statistics, inputs);
    const classes = logits.shape.at(-1) ?? 1;
    const rows = logits.size / classes;
    const picked = nn.logSoftmax(logits.reshape([rows, classes])).mul(nn.oneHot(labels.reshape([rows]), classes));
    return [picked.sum().mul(-1 / rows), next];
  };
  return (
    params: Arrays,
    statistics: Arrays,
    velocity: Arrays,
    inputs: np.Array,
    labels: np.Array,
  ): [Arrays, Arrays, Arrays, np.Array] => {
    const differentiate = valueAndGrad((candidates: Arrays) => lossOf(candidates, statistics, inputs, labels), {
      hasAux: true,
    });
    const [[loss, next], gradients] = differentiate(tree.ref(params)) as unknown as [[np.Array, Arrays], Arrays];
    const newVelocity = tree.map((v: np.Array, g: np.Array) => v.mul(momentum).add(g), velocity, gradients);
    const newParams = tree.map((p: np.Array, v: np.Array) => p.sub(v.mul(learningRate)), params, tree.ref(newVelocity));
    return [newParams as Arrays, next, newVelocity as Arrays, loss];
  };
}

/** Takes an array out of a tree by its path. */
function take(arrays: Arrays, name: string): np.Array {
  const found = arrays[name];
  if (found === undefined) throw new Error(`jax-js: there is no array ${name}.`);
  return found;
}

/** Kernels and scales are used once per step, so that no reference has to be counted. */
const dense = (params: Arrays, name: string, x: np.Array): np.Array =>
  np.dot(x, take(params, `${name}.kernel`)).add(take(params, `${name}.bias`));

const layerNorm = (params: Arrays, name: string, x: np.Array): np.Array =>
  nn
    .standardize(x)
    .mul(take(params, `${name}.scale`))
    .add(take(params, `${name}.bias`));

/** Logits, and the next running statistics. */
function apply(model: Model, params: Arrays, statistics: Arrays, inputs: np.Array): [np.Array, Arrays] {
  switch (model.kind) {
    case "network":
      return [network(model, params, inputs), statistics];
    case "resnet":
      return residualNetwork(model, params, statistics, inputs);
    case "transformer":
      return [transformer(model, params, inputs), statistics];
    case "lstm":
      return [lstm(model, params, inputs), statistics];
  }
}

function network({ layers }: Extract<Model, { kind: "network" }>, params: Arrays, inputs: np.Array): np.Array {
  const batchSize = inputs.shape[0] ?? 0;
  let x = inputs;
  for (const [index, layer] of layers.entries()) {
    const name = layerName(layer, index);
    if (layer.kind === "maxPool") {
      // Windows of three reach one pixel beyond even extents; after ReLU a zero there is as good as nothing.
      const padded =
        layer.window === 3
          ? np.pad(x, [
              [0, 0],
              [0, 0],
              [0, 1],
              [0, 1],
            ])
          : x;
      x = lax.reduceWindow(padded, np.max, [layer.window, layer.window], [2, 2]);
    } else if (layer.kind === "conv") {
      const padding = layer.padding === "same" ? "SAME" : "VALID";
      const bias = take(params, `${name}.bias`).reshape([layer.outputs, 1, 1]);
      x = nn.relu(lax.convGeneralDilated(x, take(params, `${name}.kernel`), [1, 1], padding).add(bias));
    } else {
      const z = dense(params, name, x.reshape([batchSize, -1]));
      x = layer.relu ? nn.relu(z) : z;
    }
  }
  return x;
}

function residualNetwork(
  model: Extract<Model, { kind: "resnet" }>,
  params: Arrays,
  statistics: Arrays,
  inputs: np.Array,
): [np.Array, Arrays] {
  const next: Arrays = {};
  const normalized = (name: string, x: np.Array, window: number, stride: number): np.Array => {
    const border: [number, number] = [(window - 1) / 2, (window - 1) / 2];
    const z = lax.convGeneralDilated(x, take(params, `${name}.conv.kernel`), [stride, stride], [border, border]);
    const channels = z.shape[1] ?? 0;
    const count = z.size / channels;
    const mean = np.mean(z.ref, [0, 2, 3], { keepdims: true });
    const centered = z.sub(mean.ref);
    const variance = np.mean(np.square(centered.ref), [0, 2, 3], { keepdims: true });
    const move = (key: string, batch: np.Array) => {
      const moved = take(statistics, `${name}.norm.${key}`)
        .mul(0.9)
        .add(batch.reshape([channels]).mul(0.1));
      next[`${name}.norm.${key}`] = lax.stopGradient(moved);
    };
    move("mean", mean);
    move("variance", variance.ref.mul(count / (count - 1)));
    const perChannel = (key: string) => take(params, `${name}.norm.${key}`).reshape([channels, 1, 1]);
    return centered
      .div(np.sqrt(variance.add(1e-5)))
      .mul(perChannel("scale"))
      .add(perChannel("bias"));
  };
  let x = nn.relu(normalized("stem", inputs, 3, 1));
  for (const { name, inputs: before, outputs, stride } of residualBlocks(model)) {
    const shortcut = before === outputs ? x.ref : normalized(`${name}.shortcut`, x.ref, 1, stride);
    const inner = nn.relu(normalized(`${name}.first`, x, 3, stride));
    x = nn.relu(normalized(`${name}.second`, inner, 3, 1).add(shortcut));
  }
  return [dense(params, "head", np.mean(x, [2, 3])), next];
}

function transformer(model: Extract<Model, { kind: "transformer" }>, params: Arrays, tokens: np.Array): np.Array {
  const [batchSize = 0, positions = 0] = tokens.shape;
  const { features, heads } = model;
  const split = (x: np.Array) => x.reshape([batchSize, positions, heads, features / heads]);
  let x = np.take(take(params, "tokens.table"), tokens, 0).add(take(params, "positions.table"));
  for (let index = 0; index < model.blocks; index++) {
    const name = `block${index}`;
    const normed = layerNorm(params, `${name}.attentionNorm`, x.ref);
    const query = split(dense(params, `${name}.attention.query`, normed.ref));
    const key = split(dense(params, `${name}.attention.key`, normed.ref));
    const value = split(dense(params, `${name}.attention.value`, normed));
    const attended = nn.dotProductAttention(query, key, value, { isCausal: true });
    x = x.add(dense(params, `${name}.attention.output`, attended.reshape([batchSize, positions, features])));
    const inner = nn.gelu(dense(params, `${name}.expand`, layerNorm(params, `${name}.networkNorm`, x.ref)));
    x = x.add(dense(params, `${name}.contract`, inner));
  }
  return dense(params, "head", layerNorm(params, "norm", x));
}

/** Products with the input are taken for all positions at once; the recurrence is unrolled, for there is no scan. */
function lstm(model: Extract<Model, { kind: "lstm" }>, params: Arrays, tokens: np.Array): np.Array {
  const [batchSize = 0, positions = 0] = tokens.shape;
  const { features } = model;
  // Not np.take: under jit its gradient fails here ("routine primitive scatter input is not imm").
  let x = np.dot(nn.oneHot(tokens, model.vocabulary), take(params, "tokens.table"));
  for (let index = 0; index < model.layers; index++) {
    const name = `lstm${index}`;
    const fromInput = np.dot(x, take(params, `${name}.inputKernel`)).add(take(params, `${name}.bias`));
    const kernel = take(params, `${name}.hiddenKernel`);
    let hidden: np.Array | undefined;
    let cell: np.Array | undefined;
    const outputs: np.Array[] = [];
    for (let position = 0; position < positions; position++) {
      const own = fromInput.ref.slice([], position);
      const gates = hidden === undefined ? own : own.add(np.dot(hidden, kernel.ref));
      const gate = (place: number) => gates.ref.slice([], [place * features, (place + 1) * features]);
      const entering = nn.sigmoid(gate(0)).mul(np.tanh(gate(2)));
      const next: np.Array = cell === undefined ? entering : nn.sigmoid(gate(1)).mul(cell).add(entering);
      const output = nn.sigmoid(gate(3)).mul(np.tanh(next.ref));
      gates.dispose();
      outputs.push(output.ref);
      [hidden, cell] = [output, next];
    }
    tree.dispose([hidden, cell]);
    fromInput.dispose();
    kernel.dispose();
    x = np.stack(outputs, 1).reshape([batchSize, positions, features]);
  }
  return dense(params, "head", x);
}

function runKernel({ case: { operation }, operands }: KernelProblem): KernelRun {
  const isConvolution = operation.kind === "convolution";
  // Images channels first, kernels [outputs, inputs, window, window].
  const orders = isConvolution
    ? [
        [0, 3, 1, 2],
        [3, 2, 0, 1],
        [0, 3, 1, 2],
      ]
    : [];
  const inputs = operands.map((operand, index) => {
    const order = orders[index];
    return upload(order === undefined ? operand : transpose(operand, order));
  });
  const program = jit((args: np.Array[]): np.Array[] => compute(operation, args));
  let results: np.Array[] = [];
  return {
    run() {
      tree.dispose(results);
      results = program(tree.ref(inputs));
      void blockUntilReady(results);
      return nextTurn();
    },
    async wait() {
      await blockUntilReady(results);
    },
    async results() {
      const backwards = isConvolution
        ? [
            [0, 2, 3, 1],
            [0, 2, 3, 1],
            [2, 3, 1, 0],
          ]
        : [];
      return Promise.all(
        results.map(async (result, index) => {
          const values = new Float32Array(await result.ref.data());
          const order = backwards[index];
          if (order === undefined) return values;
          return transpose({ shape: result.shape, values }, order).values as Float32Array;
        }),
      );
    },
    dispose() {
      tree.dispose(results);
      tree.dispose(inputs);
      program.dispose();
    },
  };
}

function compute(operation: KernelOperation, args: np.Array[]): np.Array[] {
  const [a, b, c] = args as [np.Array, np.Array, np.Array];
  switch (operation.kind) {
    case "matmul":
      return [np.matmul(a, b)];
    case "convolution": {
      const convolve = (x: np.Array, kernel: np.Array) => lax.convGeneralDilated(x, kernel, [1, 1], "SAME");
      if (!operation.gradients) return [convolve(a, b)];
      const [output, pull] = vjp(convolve, [a, b]);
      const gradients = pull(c) as np.Array[];
      pull.dispose();
      return [output, ...gradients];
    }
    case "softmax":
      return [nn.softmax(a)];
    case "layerNorm":
      return [nn.standardize(a).mul(b).add(c)];
    case "sum":
      return [operation.over === "all" ? np.sum(a) : np.sum(a, operation.over === "rows" ? 1 : 0)];
    case "chain": {
      const squared = np.square(a);
      const bell = np.exp(squared.ref.mul(-1)).mul(b.ref.mul(0.5).add(1));
      return [bell.add(np.sqrt(squared.add(1)).mul(nn.sigmoid(b)))];
    }
  }
}
