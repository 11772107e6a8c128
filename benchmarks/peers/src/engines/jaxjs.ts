import { defaultDevice, init, jit, lax, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import manifest from "../../package.json";
import type { Case, Layer, LayerParameters } from "../cases";
import type { Engine } from "../engine";

type Parameters = { kernel: np.Array; bias: np.Array }[];

/**
 * jax-js as its README recommends for WebGPU: pure functions over trees, reference counts kept by `.ref`, and the whole training
 * step under `jit`. Its convolutions exist for channels first only, so kernels, images and the rows of the first dense layer are
 * brought into that order once, on the host.
 */
export async function create(): Promise<Engine> {
  const devices = await init("webgpu");
  if (!devices.includes("webgpu")) throw new Error("jax-js found no WebGPU device.");
  defaultDevice("webgpu");

  return {
    name: "jax-js",
    version: manifest.dependencies["@jax-js/jax"],
    async prepare({ case: network, parameters, batches }) {
      const step = jit(trainingStep(network));
      let params = uploadParameters(network, parameters);
      let velocity: Parameters = params.map(({ kernel, bias }) => ({
        kernel: np.zeros(kernel.shape),
        bias: np.zeros(bias.shape),
      }));
      const [height, width, channels] = network.imageShape;
      const data = batches.map(({ images, labels }) => ({
        images: np
          .array(transposeHost(images, [network.batchSize, height, width, channels], [0, 3, 1, 2]))
          .reshape([network.batchSize, channels, height, width]),
        labels: np.array(labels, { dtype: np.int32 }),
      }));
      let loss: np.Array | undefined;
      let steps = 0;
      return {
        step() {
          const batch = data[steps++ % data.length];
          if (batch === undefined) throw new Error("jax-js: there is no batch to train on.");
          loss?.dispose();
          [params, velocity, loss] = step(params, velocity, batch.images.ref, batch.labels.ref);
          // A jitted call only notes what is to be run. Asking for readiness, without waiting for it, has the work sent once the
          // event loop turns; neither waiting nor sending nothing until the loss is read was measured to be faster.
          void loss.blockUntilReady();
          return nextTurn();
        },
        async loss() {
          if (loss === undefined) throw new Error("jax-js: no step has run yet.");
          const value = (await loss.ref.data())[0];
          return value ?? Number.NaN;
        },
        dispose() {
          loss?.dispose();
          tree.dispose([params, velocity, data]);
          step.dispose();
        },
      };
    },
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function trainingStep(network: Case) {
  return (
    params: Parameters,
    velocity: Parameters,
    images: np.Array,
    labels: np.Array,
  ): [Parameters, Parameters, np.Array] => {
    const lossOf = (candidates: Parameters) => crossEntropy(network, candidates, images, labels);
    const [loss, gradients] = valueAndGrad(lossOf)(tree.ref(params));
    const newVelocity = tree.map((v: np.Array, g: np.Array) => v.mul(network.momentum).add(g), velocity, gradients);
    const newParams = tree.map(
      (p: np.Array, v: np.Array) => p.sub(v.mul(network.learningRate)),
      params,
      tree.ref(newVelocity),
    );
    return [newParams as Parameters, newVelocity as Parameters, loss];
  };
}

function crossEntropy(network: Case, params: Parameters, images: np.Array, labels: np.Array): np.Array {
  let x = images;
  let used = 0;
  for (const layer of network.layers) {
    if (layer.kind === "maxPool") {
      x = lax.reduceWindow(x, np.max, [2, 2], [2, 2]);
      continue;
    }
    const { kernel, bias } = params[used++] as Parameters[number];
    if (layer.kind === "conv") {
      x = nn.relu(lax.convGeneralDilated(x, kernel, [1, 1], "SAME").add(bias));
    } else {
      const z = np.dot(x.reshape([network.batchSize, -1]), kernel).add(bias);
      x = layer.relu ? nn.relu(z) : z;
    }
  }
  return nn
    .logSoftmax(x)
    .mul(nn.oneHot(labels, network.classes))
    .sum()
    .mul(-1 / network.batchSize);
}

function uploadParameters(network: Case, parameters: readonly LayerParameters[]): Parameters {
  const withParameters = network.layers.filter(
    (layer): layer is Exclude<Layer, { kind: "maxPool" }> => layer.kind !== "maxPool",
  );
  let channels = network.imageShape[2];
  return parameters.map(({ kernel, bias }, index) => {
    const layer = withParameters[index];
    if (layer?.kind === "conv") {
      const { window, inputs, outputs } = layer;
      channels = outputs;
      return {
        kernel: np
          .array(transposeHost(kernel, [window, window, inputs, outputs], [3, 2, 0, 1]))
          .reshape([outputs, inputs, window, window]),
        bias: np.array(bias).reshape([outputs, 1, 1]),
      };
    }
    if (layer?.kind !== "dense") throw new Error("jax-js: there are more parameters than layers.");
    // Rows of the first dense layer follow the flattened image, whose channels come first here.
    const rows = transposeHost(kernel, [layer.inputs / channels, channels, layer.outputs], [1, 0, 2]);
    channels = 1;
    return { kernel: np.array(rows).reshape([layer.inputs, layer.outputs]), bias: np.array(bias) };
  });
}

/** Reorders the axes of a row-major array: axis `i` of the result is axis `order[i]` of the input. */
function transposeHost(
  values: Float32Array,
  shape: readonly number[],
  order: readonly number[],
): Float32Array<ArrayBuffer> {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, extent) => product * extent, 1));
  const result = new Float32Array(values.length);
  const position = shape.map(() => 0);
  for (let index = 0; index < result.length; index++) {
    result[index] =
      values[order.reduce((offset, axis, place) => offset + (position[place] ?? 0) * (strides[axis] ?? 0), 0)] ?? 0;
    for (let place = order.length - 1; place >= 0; place--) {
      position[place] = (position[place] ?? 0) + 1;
      if ((position[place] ?? 0) < (shape[order[place] ?? 0] ?? 1)) break;
      position[place] = 0;
    }
  }
  return result;
}
