import { valueAndGrad } from "@thalweg/autograd";
import * as nn from "@thalweg/nn";
import { applyUpdates, type GradientTransformation, momentum, type OptimizerState } from "@thalweg/optim";
import { compile, init, type Tensor, tensor } from "@thalweg/tensor";
import manifest from "@thalweg/tensor/package.json";
import { type Case, kernelShape, type Layer, type LayerParameters } from "../cases";
import type { Engine } from "../engine";

type Parameters = Readonly<Record<string, { readonly kernel: Tensor; readonly bias: Tensor }>>;

interface State {
  readonly params: Parameters;
  readonly optimizer: OptimizerState;
}

/** Thalweg as its README shows: a model of layers, and the whole step as one compiled program that updates its state in place. */
export async function create(): Promise<Engine> {
  await init();
  return {
    name: "thalweg",
    version: manifest.version,
    async prepare({ case: network, parameters, batches }) {
      const optimizer = momentum({ learningRate: network.learningRate, momentum: network.momentum });
      const step = trainingStep(network, optimizer);
      const params = uploadParameters(network, parameters);
      let state: State = { params, optimizer: optimizer.init(params) };
      const data = batches.map(({ images, labels }) => ({
        images: tensor(images, { shape: [network.batchSize, ...network.imageShape] }),
        labels: tensor(labels),
      }));
      let loss: Tensor | undefined;
      let steps = 0;
      return {
        step() {
          const batch = data[steps++ % data.length];
          if (batch === undefined) throw new Error("thalweg: there is no batch to train on.");
          loss?.dispose();
          [state, loss] = step(state, batch.images, batch.labels);
        },
        async loss() {
          if (loss === undefined) throw new Error("thalweg: no step has run yet.");
          return loss.item();
        },
        dispose() {
          loss?.dispose();
          step.dispose();
          for (const { images, labels } of data) {
            images.dispose();
            labels.dispose();
          }
        },
      };
    },
  };
}

function trainingStep(network: Case, optimizer: GradientTransformation) {
  const model = nn.sequential(Object.fromEntries(network.layers.flatMap(layersOf)));
  const lossOf = (params: Parameters, images: Tensor, labels: Tensor) =>
    nn.softmaxCrossEntropy(model.apply(params, images), labels).mean();
  const train = (state: State, images: Tensor, labels: Tensor): [State, Tensor] => {
    const [loss, gradients] = valueAndGrad(lossOf)(state.params, images, labels);
    const [updates, next] = optimizer.update(gradients, state.optimizer, state.params);
    return [{ params: applyUpdates(state.params, updates), optimizer: next }, loss];
  };
  return compile(train, { donate: [0] });
}

const nameOf = (layer: Layer, index: number): string => `${layer.kind}${index}`;

/** The named layers of the model that stand for one of the case's. */
function layersOf(layer: Layer, index: number): [string, nn.LayerLike][] {
  const name = nameOf(layer, index);
  switch (layer.kind) {
    case "conv":
      return [
        [name, nn.conv2d({ features: layer.outputs, kernel: layer.window, padding: "same" })],
        [`${name}Relu`, nn.relu],
      ];
    case "maxPool":
      return [[name, nn.maxPool({ window: 2 })]];
    case "dense": {
      const dense: [string, nn.LayerLike][] = [
        [`${name}Flatten`, nn.flatten],
        [name, nn.dense({ features: layer.outputs })],
      ];
      return layer.relu ? [...dense, [`${name}Relu`, nn.relu]] : dense;
    }
  }
}

function uploadParameters(network: Case, parameters: readonly LayerParameters[]): Parameters {
  const remaining = [...parameters];
  const entries = network.layers.flatMap((layer, index) => {
    const shape = kernelShape(layer);
    const values = shape === undefined ? undefined : remaining.shift();
    if (shape === undefined || values === undefined) return [];
    return [[nameOf(layer, index), { kernel: tensor(values.kernel, { shape }), bias: tensor(values.bias) }] as const];
  });
  return Object.fromEntries(entries);
}
