import { valueAndGrad, vjp } from "@thalweg/autograd";
import * as nn from "@thalweg/nn";
import { applyUpdates, momentum, type OptimizerState } from "@thalweg/optim";
import { compile, conv, type Device, init, type Program, type Tensor, tensor } from "@thalweg/tensor";
import manifest from "@thalweg/tensor/package.json";
import type { KernelOperation, KernelProblem } from "../cases/kernels";
import { type Layer, layerName, type Model, residualBlocks, type TrainingProblem } from "../cases/training";
import type { Engine, KernelRun, KernelTime, Training } from "../engine";
import { type HostTensor, type HostTensors, mapTensors, nest } from "../tensors";

/** Thalweg as its README shows: a model of layers, and the whole step as one compiled program that updates its state in place. */
export async function create(): Promise<Engine> {
  const device = await init();
  return {
    name: "thalweg",
    version: manifest.version,
    train: async (problem) => train(device, problem),
    kernel: async (problem) => runKernel(device, problem),
  };
}

const upload = ({ shape, values }: HostTensor): Tensor => tensor(values, { shape });
const uploadTree = (tensors: HostTensors): object => nest(mapTensors(tensors, upload));

interface State {
  readonly params: object;
  /** Running statistics. */
  readonly statistics: object;
  readonly optimizer: OptimizerState;
}

/** A model as a function of parameters, running statistics and inputs. */
type Apply = (params: object, statistics: object, inputs: Tensor) => readonly [logits: Tensor, statistics: object];

function train(device: Device, { case: measured, parameters, statistics, batches }: TrainingProblem): Training {
  const optimizer = momentum({ learningRate: measured.learningRate, momentum: measured.momentum });
  const apply = modelOf(measured.model);
  const lossOf = (params: object, before: object, inputs: Tensor, labels: Tensor) => {
    const [logits, after] = apply(params, before, inputs);
    return [nn.softmaxCrossEntropy(logits, labels).mean(), after] as const;
  };
  const program = compile(
    (state: State, inputs: Tensor, labels: Tensor): [State, Tensor] => {
      const differentiate = valueAndGrad(lossOf, { hasAux: true });
      const [[loss, next], gradients] = differentiate(state.params, state.statistics, inputs, labels);
      const [updates, after] = optimizer.update(gradients, state.optimizer, state.params);
      return [{ params: applyUpdates(state.params, updates), statistics: next, optimizer: after }, loss];
    },
    { donate: [0] },
  );
  const params = uploadTree(parameters);
  let state: State = { params, statistics: uploadTree(statistics), optimizer: optimizer.init(params) };
  const data = batches.map(({ inputs, labels }) => ({ inputs: upload(inputs), labels: upload(labels) }));
  let loss: Tensor | undefined;
  let steps = 0;
  const nextBatch = () => {
    const batch = data[steps++ % data.length];
    if (batch === undefined) throw new Error("thalweg: there is no batch to train on.");
    return batch;
  };
  return {
    run() {
      const { inputs, labels } = nextBatch();
      loss?.dispose();
      [state, loss] = program(state, inputs, labels);
    },
    wait: () => device.idle(),
    async loss() {
      if (loss === undefined) throw new Error("thalweg: no step has run yet.");
      return loss.item();
    },
    async profile() {
      const { inputs, labels } = nextBatch();
      loss?.dispose();
      const { result, rows } = await program.profile(state, inputs, labels);
      [state, loss] = result;
      return rows;
    },
    plannedBytes: () => plannedBytes(program),
    dispose() {
      loss?.dispose();
      program.dispose();
      for (const { inputs, labels } of data) {
        inputs.dispose();
        labels.dispose();
      }
    },
  };
}

function plannedBytes(program: Pick<Program<readonly never[], unknown>, "statistics">) {
  const { bytesPeak, bytesLowerBound } = program.statistics();
  return { peak: bytesPeak, lowerBound: bytesLowerBound };
}

function modelOf(model: Model): Apply {
  switch (model.kind) {
    case "network":
      return layerModel(networkLayers(model));
    case "resnet":
      return layerModel(residualNetwork(model));
    case "transformer":
      return layerModel(transformer(model));
    case "lstm":
      return lstm(model);
  }
}

const layerModel =
  (layer: nn.Layer): Apply =>
  (params, statistics, inputs) =>
    layer.applyWithState(params, statistics, inputs, { train: true });

const networkLayers = ({ layers }: Extract<Model, { kind: "network" }>): nn.Layer =>
  nn.sequential(Object.fromEntries(layers.flatMap(layersOf)));

/** The named layers of the model that stand for one of the case's. */
function layersOf(layer: Layer, index: number): [string, nn.LayerLike][] {
  const name = layerName(layer, index);
  switch (layer.kind) {
    case "conv":
      return [
        [name, nn.conv2d({ features: layer.outputs, kernel: layer.window, padding: layer.padding })],
        [`${name}Relu`, nn.relu],
      ];
    case "maxPool":
      return [[name, nn.maxPool({ window: layer.window, stride: 2, padding: "same" })]];
    case "dense": {
      const dense: [string, nn.LayerLike][] = [
        [`${name}Flatten`, nn.flatten],
        [name, nn.dense({ features: layer.outputs })],
      ];
      return layer.relu ? [...dense, [`${name}Relu`, nn.relu]] : dense;
    }
  }
}

function residualNetwork(model: Extract<Model, { kind: "resnet" }>): nn.Layer {
  const normalized = (features: number, kernel: number, stride: number) =>
    nn.sequential({
      conv: nn.conv2d({ features, kernel, stride, padding: (kernel - 1) / 2, bias: false }),
      norm: nn.batchNorm(),
    });
  const blocks = residualBlocks(model).map(({ name, inputs, outputs, stride }): [string, nn.LayerLike] => {
    const first = normalized(outputs, 3, stride);
    const second = normalized(outputs, 3, 1);
    const block =
      inputs === outputs
        ? nn.compose("block", { first, second }, (layers, x: Tensor) =>
            nn.relu(layers.second(nn.relu(layers.first(x))).add(x)),
          )
        : nn.compose("block", { first, second, shortcut: normalized(outputs, 1, stride) }, (layers, x: Tensor) =>
            nn.relu(layers.second(nn.relu(layers.first(x))).add(layers.shortcut(x))),
          );
    return [name, block];
  });
  return nn.sequential({
    stem: normalized(model.widths[0] ?? 0, 3, 1),
    stemRelu: nn.relu,
    ...Object.fromEntries(blocks),
    pool: nn.globalAveragePool,
    head: nn.dense({ features: model.classes }),
  });
}

function transformer(model: Extract<Model, { kind: "transformer" }>): nn.Layer {
  const { vocabulary, positions, features, heads, hidden } = model;
  const block = () =>
    nn.compose(
      "block",
      {
        attentionNorm: nn.layerNorm(),
        attention: nn.multiHeadAttention({ heads, features, causal: true }),
        networkNorm: nn.layerNorm(),
        expand: nn.dense({ features: hidden }),
        contract: nn.dense({ features }),
      },
      (layers, x: Tensor) => {
        const attended = x.add(layers.attention(layers.attentionNorm(x)));
        const inner = nn.gelu(layers.expand(layers.networkNorm(attended)), { approximation: "tanh" });
        return attended.add(layers.contract(inner));
      },
    );
  // One row of the table for every position, so that all of it is added.
  const embedded = nn.defineStateless<nn.EmbeddingParams>({
    kind: "positions",
    init: (key) => ({ table: nn.initializers.normal()(key, [positions, features]) }),
    roles: () => ({ table: "embedding" }),
    forward: ({ table }, x: Tensor) => x.add(table),
  });
  return nn.sequential({
    tokens: nn.embedding({ count: vocabulary, features }),
    positions: embedded,
    ...Object.fromEntries(Array.from({ length: model.blocks }, (_, index) => [`block${index}`, block()])),
    norm: nn.layerNorm(),
    head: nn.dense({ features: vocabulary }),
  });
}

function lstm({ vocabulary, features, layers }: Extract<Model, { kind: "lstm" }>): Apply {
  const tokens = nn.embedding({ count: vocabulary, features });
  const cell = nn.lstmCell({ features });
  const head = nn.dense({ features: vocabulary });
  return (params, statistics, inputs) => {
    const named = params as Readonly<Record<string, never>>;
    let x = tokens.apply(named.tokens as unknown as nn.EmbeddingParams, inputs);
    for (let index = 0; index < layers; index++) {
      [, x] = nn.unroll(cell, named[`lstm${index}`] as unknown as nn.LstmParams, x);
    }
    return [head.apply(named.head as unknown as nn.ParamsOf<typeof head>, x), statistics];
  };
}

function runKernel(device: Device, { case: measured, operands }: KernelProblem): KernelRun {
  const inputs = operands.map(upload);
  const program = compile((...args: readonly Tensor[]) => compute(measured.operation, args), { name: measured.name });
  let results: readonly Tensor[] = [];
  const keep = (next: readonly Tensor[]) => {
    for (const result of results) result.dispose();
    results = next;
  };
  return {
    run: () => keep(program(...inputs)),
    wait: () => device.idle(),
    results: async () => Promise.all(results.map(async (result) => (await result.data()) as Float32Array)),
    async profile(): Promise<readonly KernelTime[]> {
      const { result, rows } = await program.profile(...inputs);
      keep(result);
      return rows;
    },
    plannedBytes: () => plannedBytes(program),
    dispose() {
      keep([]);
      program.dispose();
      for (const input of inputs) input.dispose();
    },
  };
}

function compute(operation: KernelOperation, args: readonly Tensor[]): Tensor[] {
  const [a, b, c] = args as [Tensor, Tensor, Tensor];
  switch (operation.kind) {
    case "matmul":
      return [a.matmul(b)];
    case "convolution": {
      const convolve = (x: Tensor, kernel: Tensor) => conv(x, kernel, { padding: "same" });
      if (!operation.gradients) return [convolve(a, b)];
      const [output, pull] = vjp(convolve, a, b);
      return [output, ...pull(c)];
    }
    case "softmax":
      return [nn.softmax(a)];
    case "layerNorm":
      return [nn.layerNorm().apply({ scale: b, bias: c }, a)];
    case "sum":
      if (operation.over === "all") return [a.sum()];
      return [a.sum({ axis: operation.over === "rows" ? 1 : 0 })];
    case "chain": {
      const squared = a.square();
      const bell = squared.neg().exp().mul(b.mul(0.5).add(1));
      return [bell.add(squared.add(1).sqrt().mul(b.sigmoid()))];
    }
  }
}
