import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import * as tf from "@tensorflow/tfjs-core";
import type { KernelOperation, KernelProblem } from "../cases/kernels";
import { layerName, type Model, residualBlocks, type TrainingProblem } from "../cases/training";
import type { Engine, KernelRun, Training } from "../engine";
import { type HostTensor, type HostTensors, mapTensors } from "../tensors";

type Variables = Record<string, tf.Variable>;

/**
 * TensorFlow.js as its guides train a model with the core API: variables, `optimizer.minimize` around a loss, channels last.
 * The fused bias-adding operations of its layers API were tried on lavapipe: they save three dispatches of 84 on `fmnist_mlp`
 * and made it a quarter slower, with no difference on `fmnist_2c2d`. Batching of submits is left at the back end's default.
 */
export async function create(): Promise<Engine> {
  await tf.setBackend("webgpu");
  await tf.ready();
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error("TensorFlow.js found no WebGPU device.");
  const wait = async () => {
    // What has been recorded is sent when a batch is full or something is read; nothing is read here.
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    backend.submitQueue();
    await backend.device.queue.onSubmittedWorkDone();
  };
  return {
    name: "tfjs",
    version: tf.version_core,
    train: async (problem) => train(problem, wait),
    kernel: async (problem) => runKernel(problem, wait),
  };
}

const upload = ({ shape, values }: HostTensor): tf.Tensor =>
  tf.tensor(values, [...shape], values instanceof Float32Array ? "float32" : "int32");

function train(
  { case: measured, parameters, statistics, batches }: TrainingProblem,
  wait: () => Promise<void>,
): Training {
  const { model } = measured;
  const variables: Variables = mapTensors(withJoinedKernels(parameters), (host) => tf.variable(upload(host)));
  const running: Variables = mapTensors(statistics, (host) => tf.variable(upload(host), false));
  const classes = model.kind === "network" || model.kind === "resnet" ? model.classes : model.vocabulary;
  const data = batches.map(({ inputs, labels }) => ({
    inputs: upload(inputs),
    labels: tf.tidy(() => tf.oneHot(tf.reshape(upload(labels), [-1]), classes, 1, 0, "float32")),
  }));
  const optimizer = tf.train.momentum(measured.learningRate, measured.momentum);
  let loss: tf.Scalar | undefined;
  let steps = 0;
  return {
    run() {
      const batch = data[steps++ % data.length];
      if (batch === undefined) throw new Error("tfjs: there is no batch to train on.");
      loss?.dispose();
      loss =
        optimizer.minimize(() => {
          const logits = tf.reshape(apply(model, variables, running, batch.inputs), [-1, classes]);
          return tf.losses.softmaxCrossEntropy(batch.labels, logits) as tf.Scalar;
        }, true) ?? undefined;
    },
    wait,
    async loss() {
      if (loss === undefined) throw new Error("tfjs: no step has run yet.");
      return (await loss.data())[0] ?? Number.NaN;
    },
    dispose() {
      loss?.dispose();
      optimizer.dispose();
      tf.dispose([variables, running, data] as unknown as tf.TensorContainer);
    },
  };
}

function take(variables: Variables, name: string): tf.Variable {
  const found = variables[name];
  if (found === undefined) throw new Error(`tfjs: there is no variable ${name}.`);
  return found;
}

/** A matrix product over the last axis, as one product of matrices. */
function dense(variables: Variables, name: string, x: tf.Tensor): tf.Tensor {
  const kernel = take(variables, `${name}.kernel`) as tf.Tensor as tf.Tensor2D;
  const [inputs = 0, outputs = 0] = kernel.shape;
  const rows = tf.reshape<tf.Rank.R2>(x, [-1, inputs]);
  return tf.reshape(tf.add(tf.matMul(rows, kernel), take(variables, `${name}.bias`)), [
    ...x.shape.slice(0, -1),
    outputs,
  ]);
}

function normalize(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), scale), bias);
}

const layerNorm = (variables: Variables, name: string, x: tf.Tensor): tf.Tensor =>
  normalize(x, take(variables, `${name}.scale`), take(variables, `${name}.bias`));

function apply(model: Model, variables: Variables, running: Variables, inputs: tf.Tensor): tf.Tensor {
  switch (model.kind) {
    case "network":
      return network(model, variables, inputs);
    case "resnet":
      return residualNetwork(model, variables, running, inputs);
    case "transformer":
      return transformer(model, variables, inputs);
    case "lstm":
      return lstm(model, variables, inputs);
  }
}

function network({ layers }: Extract<Model, { kind: "network" }>, variables: Variables, inputs: tf.Tensor): tf.Tensor {
  let x = inputs;
  for (const [index, layer] of layers.entries()) {
    const name = layerName(layer, index);
    if (layer.kind === "maxPool") {
      x = tf.maxPool(x as tf.Tensor4D, layer.window, 2, "same");
    } else if (layer.kind === "conv") {
      const filter = take(variables, `${name}.kernel`) as tf.Tensor as tf.Tensor4D;
      x = tf.relu(tf.add(tf.conv2d(x as tf.Tensor4D, filter, 1, layer.padding), take(variables, `${name}.bias`)));
    } else {
      const z = dense(variables, name, tf.reshape(x, [inputs.shape[0] ?? 0, layer.inputs]));
      x = layer.relu ? tf.relu(z) : z;
    }
  }
  return x;
}

function residualNetwork(
  model: Extract<Model, { kind: "resnet" }>,
  variables: Variables,
  running: Variables,
  inputs: tf.Tensor,
): tf.Tensor {
  const normalized = (name: string, x: tf.Tensor, window: number, stride: number): tf.Tensor => {
    const filter = take(variables, `${name}.conv.kernel`) as tf.Tensor as tf.Tensor4D;
    const z = tf.conv2d(x as tf.Tensor4D, filter, stride, (window - 1) / 2, "NHWC", 1, "floor");
    const { mean, variance } = tf.moments(z, [0, 1, 2]);
    const count = z.size / (z.shape[3] ?? 1);
    const move = (key: string, batch: tf.Tensor) => {
      const own = take(running, `${name}.norm.${key}`);
      own.assign(tf.add(tf.mul(own, 0.9), tf.mul(batch, 0.1)));
    };
    move("mean", mean);
    move("variance", tf.mul(variance, count / (count - 1)));
    const [scale, bias] = [take(variables, `${name}.norm.scale`), take(variables, `${name}.norm.bias`)];
    return tf.batchNorm(
      z,
      mean as tf.Tensor1D,
      variance as tf.Tensor1D,
      bias as tf.Tensor as tf.Tensor1D,
      scale as tf.Tensor as tf.Tensor1D,
      1e-5,
    );
  };
  let x = tf.relu(normalized("stem", inputs, 3, 1));
  for (const { name, inputs: before, outputs, stride } of residualBlocks(model)) {
    const shortcut = before === outputs ? x : normalized(`${name}.shortcut`, x, 1, stride);
    const inner = tf.relu(normalized(`${name}.first`, x, 3, stride));
    x = tf.relu(tf.add(normalized(`${name}.second`, inner, 3, 1), shortcut));
  }
  return dense(variables, "head", tf.mean(x, [1, 2]));
}

function transformer(
  model: Extract<Model, { kind: "transformer" }>,
  variables: Variables,
  tokens: tf.Tensor,
): tf.Tensor {
  const { positions, features, heads } = model;
  const batchSize = tokens.shape[0] ?? 0;
  const split = (x: tf.Tensor) =>
    tf.transpose(tf.reshape(x, [batchSize, positions, heads, features / heads]), [0, 2, 1, 3]);
  const rows = tf.expandDims(tf.range(0, positions), 1);
  const future = tf.mul(tf.cast(tf.less(rows, tf.expandDims(tf.range(0, positions), 0)), "float32"), -1e9);
  let x = tf.add(tf.gather(take(variables, "tokens.table"), tokens), take(variables, "positions.table"));
  for (let index = 0; index < model.blocks; index++) {
    const name = `block${index}`;
    const normed = layerNorm(variables, `${name}.attentionNorm`, x);
    const query = split(dense(variables, `${name}.attention.query`, normed));
    const key = split(dense(variables, `${name}.attention.key`, normed));
    const value = split(dense(variables, `${name}.attention.value`, normed));
    const scores = tf.mul(tf.matMul(query, key, false, true), 1 / Math.sqrt(features / heads));
    const weights = tf.softmax(tf.add(scores, future));
    const attended = tf.transpose(tf.matMul(weights, value), [0, 2, 1, 3]);
    const joined = tf.reshape(attended, [batchSize, positions, features]);
    x = tf.add(x, dense(variables, `${name}.attention.output`, joined));
    const inner = gelu(dense(variables, `${name}.expand`, layerNorm(variables, `${name}.networkNorm`, x)));
    x = tf.add(x, dense(variables, `${name}.contract`, inner));
  }
  return dense(variables, "head", layerNorm(variables, "norm", x));
}

function gelu(x: tf.Tensor): tf.Tensor {
  const inner = tf.mul(tf.mul(x, tf.add(tf.mul(tf.square(x), 0.044715), 1)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
}

function lstm(model: Extract<Model, { kind: "lstm" }>, variables: Variables, tokens: tf.Tensor): tf.Tensor {
  const batchSize = tokens.shape[0] ?? 0;
  const none = tf.scalar(0);
  let x: tf.Tensor = tf.gather(take(variables, "tokens.table"), tokens);
  for (let index = 0; index < model.layers; index++) {
    const kernel = take(variables, `lstm${index}.kernel`) as tf.Tensor as tf.Tensor2D;
    const bias = take(variables, `lstm${index}.bias`) as tf.Tensor as tf.Tensor1D;
    let cell = tf.zeros<tf.Rank.R2>([batchSize, model.features]);
    let hidden = tf.zeros<tf.Rank.R2>([batchSize, model.features]);
    const outputs: tf.Tensor[] = [];
    for (const input of tf.unstack(x, 1)) {
      [cell, hidden] = tf.basicLSTMCell(none, kernel, bias, input as tf.Tensor2D, cell, hidden);
      outputs.push(hidden);
    }
    x = tf.stack(outputs, 1);
  }
  return dense(variables, "head", x);
}

/**
 * Parameters as `basicLSTMCell` wants them: one kernel, that of the input above that of the state, and gates in the order input,
 * candidate, forget, output.
 */
function withJoinedKernels(parameters: HostTensors): HostTensors {
  const reorder = ({ shape, values }: HostTensor): HostTensor => {
    const features = (shape.at(-1) ?? 0) / 4;
    const places = [0, 2, 1, 3];
    const from = (index: number) => {
      const column = index % (4 * features);
      return index - column + (places[Math.floor(column / features)] ?? 0) * features + (column % features);
    };
    return { shape, values: Float32Array.from(values, (_, index) => values[from(index)] ?? Number.NaN) };
  };
  const entries = Object.entries(parameters).flatMap(([path, tensor]): [string, HostTensor][] => {
    const name = path.replace(/\.[^.]*$/, "");
    if (path.endsWith(".hiddenKernel")) return [];
    if (path.endsWith(".bias") && `${name}.inputKernel` in parameters) return [[path, reorder(tensor)]];
    if (!path.endsWith(".inputKernel")) return [[path, tensor]];
    const below = parameters[`${name}.hiddenKernel`];
    if (below === undefined) throw new Error(`tfjs: ${name} has no kernel of the state.`);
    const shape = [(tensor.shape[0] ?? 0) + (below.shape[0] ?? 0), tensor.shape[1] ?? 0];
    const values = new Float32Array([...tensor.values, ...below.values]);
    return [[`${name}.kernel`, reorder({ shape, values })]];
  });
  return Object.fromEntries(entries);
}

function runKernel({ case: { operation }, operands }: KernelProblem, wait: () => Promise<void>): KernelRun {
  const inputs = operands.map(upload);
  let results: tf.Tensor[] = [];
  return {
    run() {
      tf.dispose(results);
      results = tf.tidy(() => compute(operation, inputs));
    },
    wait,
    results: () => Promise.all(results.map(async (result) => (await result.data()) as Float32Array)),
    dispose() {
      tf.dispose(results);
      tf.dispose(inputs);
    },
  };
}

function compute(operation: KernelOperation, args: readonly tf.Tensor[]): tf.Tensor[] {
  const [a, b, c] = args as [tf.Tensor, tf.Tensor, tf.Tensor];
  switch (operation.kind) {
    case "matmul":
      return [tf.matMul(a, b)];
    case "convolution": {
      const convolve = (x: tf.Tensor, kernel: tf.Tensor) =>
        tf.conv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, 1, "same");
      if (!operation.gradients) return [convolve(a, b)];
      let output: tf.Tensor | undefined;
      const gradients = tf.grads((x: tf.Tensor, kernel: tf.Tensor) => {
        output = tf.keep(convolve(x, kernel));
        return output;
      })([a, b], c);
      return output === undefined ? gradients : [output, ...gradients];
    }
    case "softmax":
      return [tf.softmax(a)];
    case "layerNorm":
      return [normalize(a, b, c)];
    case "sum":
      return [operation.over === "all" ? tf.sum(a) : tf.sum(a, operation.over === "rows" ? 1 : 0)];
    case "chain": {
      const squared = tf.square(a);
      const bell = tf.mul(tf.exp(tf.neg(squared)), tf.add(tf.mul(b, 0.5), 1));
      return [tf.add(bell, tf.mul(tf.sqrt(tf.add(squared, 1)), tf.sigmoid(b)))];
    }
  }
}
