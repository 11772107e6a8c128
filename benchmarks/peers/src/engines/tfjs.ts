import "@tensorflow/tfjs-core/dist/register_all_gradients";
import "@tensorflow/tfjs-backend-webgpu";
import * as tf from "@tensorflow/tfjs-core";
import type { Case } from "../cases";
import { kernelShape } from "../cases";
import type { Engine } from "../engine";

/**
 * TensorFlow.js as its guides train a model with the core API: variables, `optimizer.minimize` around a loss, channels last.
 * The fused bias-adding operations of its layers API were tried on lavapipe: they save three dispatches of 84 on `fmnist_mlp`
 * and made it a quarter slower, with no difference on `fmnist_2c2d`. Batching of submits is left at the back end's default.
 */
export async function create(): Promise<Engine> {
  await tf.setBackend("webgpu");
  await tf.ready();
  if (tf.getBackend() !== "webgpu") throw new Error("TensorFlow.js found no WebGPU device.");

  return {
    name: "tfjs",
    version: tf.version_core,
    async prepare({ case: network, parameters, batches }) {
      const shapes = network.layers.flatMap((layer) => {
        const shape = kernelShape(layer);
        return shape === undefined ? [] : [[...shape]];
      });
      const variables = parameters.map(({ kernel, bias }, index) => ({
        kernel: tf.variable(tf.tensor(kernel, shapes[index])),
        bias: tf.variable(tf.tensor1d(bias)),
      }));
      const data = batches.map(({ images, labels }) => ({
        images: tf.tensor(images, [network.batchSize, ...network.imageShape]),
        labels: tf.tidy(() => tf.oneHot(tf.tensor1d(labels, "int32"), network.classes, 1, 0, "float32")),
      }));
      const optimizer = tf.train.momentum(network.learningRate, network.momentum);
      let loss: tf.Scalar | undefined;
      let steps = 0;
      return {
        step() {
          const batch = data[steps++ % data.length];
          if (batch === undefined) throw new Error("tfjs: there is no batch to train on.");
          loss?.dispose();
          loss = optimizer.minimize(() => crossEntropy(network, variables, batch), true) ?? undefined;
        },
        async loss() {
          if (loss === undefined) throw new Error("tfjs: no step has run yet.");
          return (await loss.data())[0] ?? Number.NaN;
        },
        dispose() {
          loss?.dispose();
          optimizer.dispose();
          tf.dispose([variables, data] as unknown as tf.TensorContainer);
        },
      };
    },
  };
}

function crossEntropy(
  network: Case,
  variables: readonly { readonly kernel: tf.Variable; readonly bias: tf.Variable }[],
  batch: { readonly images: tf.Tensor; readonly labels: tf.Tensor },
): tf.Scalar {
  let x = batch.images;
  let used = 0;
  for (const layer of network.layers) {
    if (layer.kind === "maxPool") {
      x = tf.maxPool(x as tf.Tensor4D, 2, 2, "valid");
      continue;
    }
    const { kernel, bias } = variables[used++] ?? {};
    if (kernel === undefined || bias === undefined) throw new Error("tfjs: there are more layers than parameters.");
    if (layer.kind === "conv") {
      const filter = kernel as tf.Tensor as tf.Tensor4D;
      x = tf.relu(tf.add(tf.conv2d(x as tf.Tensor4D, filter, 1, "same"), bias));
    } else {
      const a = tf.reshape<tf.Rank.R2>(x, [network.batchSize, layer.inputs]);
      const z = tf.add(tf.matMul(a, kernel as tf.Tensor as tf.Tensor2D), bias);
      x = layer.relu ? tf.relu(z) : z;
    }
  }
  return tf.losses.softmaxCrossEntropy(batch.labels, x) as tf.Scalar;
}
