/** Networks and how they are trained: what every engine implements. */
import { uniformGenerator } from "../random";
import { type HostTensor, type HostTensors, mapTensors, reshape, sizeOf, transpose } from "../tensors";

/** One layer of a plain network. */
export type Layer =
  /** Kernel `[inputs, outputs]`, bias `[outputs]`. An image is flattened first, channels fastest. */
  | { readonly kind: "dense"; readonly inputs: number; readonly outputs: number; readonly relu: boolean }
  /** Stride 1. Kernel `[window, window, inputs, outputs]`, bias `[outputs]`, then ReLU. */
  | {
      readonly kind: "conv";
      readonly window: number;
      readonly inputs: number;
      readonly outputs: number;
      readonly padding: "same" | "valid";
    }
  /** Maximum over windows, stride 2; where the windows reach beyond the image, they do so at its end. */
  | { readonly kind: "maxPool"; readonly window: 2 | 3 };

/** What is trained. */
export type Model =
  | { readonly kind: "network"; readonly image: Image; readonly classes: number; readonly layers: readonly Layer[] }
  /**
   * He et al. (2016), section 4.2: a convolution, then `widths.length` stages of `blocks` residual blocks with two 3 × 3
   * convolutions each, batch norm after every convolution, shortcuts by a 1 × 1 convolution where the shape changes, global
   * average pooling, a dense layer. Padding 1 on both sides, also with stride 2. Running statistics with decay 0.9.
   */
  | {
      readonly kind: "resnet";
      readonly image: Image;
      readonly classes: number;
      readonly widths: readonly number[];
      readonly blocks: number;
    }
  /** Embeddings of tokens and positions, blocks with layer norm before causal attention and before a GELU (tanh) network. */
  | {
      readonly kind: "transformer";
      readonly vocabulary: number;
      readonly positions: number;
      readonly features: number;
      readonly heads: number;
      readonly hidden: number;
      readonly blocks: number;
    }
  /** An embedding, LSTM layers one on another from a zero state, a dense layer at every position. Gates: input, forget, cell, output. */
  | {
      readonly kind: "lstm";
      readonly vocabulary: number;
      readonly positions: number;
      readonly features: number;
      readonly layers: number;
    };

type Image = readonly [height: number, width: number, channels: number];

/** A network, how it is trained, and how exactly engines agree on it. */
export interface TrainingCase {
  readonly type: "training";
  readonly name: string;
  readonly description: string;
  readonly model: Model;
  /** Examples per step on a GPU, and on an adapter that computes on the CPU. */
  readonly batchSize: { readonly gpu: number; readonly software: number };
  readonly learningRate: number;
  readonly momentum: number;
  /** Largest accepted relative difference between losses of the first steps; why is said at the cases. */
  readonly tolerance: number;
}

/** All that an engine gets: the case, where to start from, and the batches. */
export interface TrainingProblem {
  readonly case: TrainingCase;
  readonly batchSize: number;
  /** By path, such as `stage0block1.first.conv.kernel`. */
  readonly parameters: HostTensors;
  /** Running statistics of batch norm, by path. */
  readonly statistics: HostTensors;
  readonly batches: readonly Batch[];
}

/** Inputs: images f32 `[batch, height, width, channels]`, or tokens i32 `[batch, positions]`. Labels i32: `[batch]` or `[batch, positions]`. */
export interface Batch {
  readonly inputs: HostTensor;
  readonly labels: HostTensor;
}

const momentum = { learningRate: 0.01, momentum: 0.9 } as const;
const dense = (inputs: number, outputs: number, relu = true): Layer => ({ kind: "dense", inputs, outputs, relu });
const conv = (window: number, inputs: number, outputs: number, padding: "same" | "valid" = "same"): Layer => ({
  kind: "conv",
  window,
  inputs,
  outputs,
  padding,
});

/**
 * The networks that can be measured. Tolerances: single-precision sums in different orders make the losses differ by at most
 * about 1e-6 after a few steps; batch norm and ReLU amplify that as steps go on, because a unit near zero may switch. Ten times
 * what was seen is allowed, more with batch norm. A momentum of 0.89 instead of 0.9 shows as 5e-4.
 */
export const trainingCases: readonly TrainingCase[] = [
  {
    type: "training",
    name: "fmnist_mlp",
    description: "784-1000-500-100-10, ReLU",
    model: {
      kind: "network",
      image: [28, 28, 1],
      classes: 10,
      layers: [dense(784, 1000), dense(1000, 500), dense(500, 100), dense(100, 10, false)],
    },
    batchSize: { gpu: 128, software: 128 },
    ...momentum,
    tolerance: 2e-5,
  },
  {
    type: "training",
    name: "fmnist_2c2d",
    description: "conv 5×5-32, pool, conv 5×5-64, pool, 1024, 10, ReLU",
    model: {
      kind: "network",
      image: [28, 28, 1],
      classes: 10,
      layers: [
        conv(5, 1, 32),
        { kind: "maxPool", window: 2 },
        conv(5, 32, 64),
        { kind: "maxPool", window: 2 },
        dense(3136, 1024),
        dense(1024, 10, false),
      ],
    },
    batchSize: { gpu: 128, software: 64 },
    ...momentum,
    tolerance: 2e-5,
  },
  {
    type: "training",
    name: "cifar10_3c3d",
    description: "conv 5×5-64, pool, conv 3×3-96, pool, conv 3×3-128, pool, 512, 256, 10, ReLU",
    model: {
      kind: "network",
      image: [32, 32, 3],
      classes: 10,
      layers: [
        conv(5, 3, 64, "valid"),
        { kind: "maxPool", window: 3 },
        conv(3, 64, 96, "valid"),
        { kind: "maxPool", window: 3 },
        conv(3, 96, 128),
        { kind: "maxPool", window: 3 },
        dense(1152, 512),
        dense(512, 256),
        dense(256, 10, false),
      ],
    },
    batchSize: { gpu: 128, software: 32 },
    ...momentum,
    tolerance: 2e-5,
  },
  {
    type: "training",
    name: "cifar10_resnet20",
    description: "ResNet-20: 3 stages of 3 blocks with 16, 32, 64 channels, batch norm",
    model: { kind: "resnet", image: [32, 32, 3], classes: 10, widths: [16, 32, 64], blocks: 3 },
    batchSize: { gpu: 128, software: 16 },
    ...momentum,
    tolerance: 1e-3,
  },
  {
    type: "training",
    name: "transformer",
    description: "4 layers of 128 features, 4 heads, hidden 512, 128 positions, vocabulary 256",
    model: {
      kind: "transformer",
      vocabulary: 256,
      positions: 128,
      features: 128,
      heads: 4,
      hidden: 512,
      blocks: 4,
    },
    batchSize: { gpu: 16, software: 4 },
    ...momentum,
    tolerance: 2e-5,
  },
  {
    type: "training",
    name: "char_lstm",
    description: "embedding 128, 2 LSTM layers of 128, 50 positions, vocabulary 83",
    model: { kind: "lstm", vocabulary: 83, positions: 50, features: 128, layers: 2 },
    batchSize: { gpu: 50, software: 50 },
    ...momentum,
    tolerance: 2e-5,
  },
];

/** A parameter before its elements are drawn. */
interface ParameterSpec {
  readonly shape: readonly number[];
  /** Elements are uniform within ±bound, … */
  readonly bound?: number;
  /** … or all the same; default 0. */
  readonly fill?: number;
}

type ParameterSpecs = Record<string, ParameterSpec>;

/** Uniform within ±√(gain / fan-in): gain 6 before ReLU (He), 3 elsewhere. */
const kernelSpec = (shape: readonly number[], gain: number): ParameterSpec => ({
  shape,
  bound: Math.sqrt(gain / sizeOf(shape.slice(0, -1))),
});

const denseSpecs = (name: string, inputs: number, outputs: number, gain = 3): ParameterSpecs => ({
  [`${name}.kernel`]: kernelSpec([inputs, outputs], gain),
  [`${name}.bias`]: { shape: [outputs] },
});

const normSpecs = (name: string, features: number): ParameterSpecs => ({
  [`${name}.scale`]: { shape: [features], fill: 1 },
  [`${name}.bias`]: { shape: [features] },
});

/** The name of a layer of a plain network: its kind and place. */
export const layerName = (layer: Layer, index: number): string => `${layer.kind}${index}`;

/** One residual block: name, channels and stride. */
export interface ResidualBlock {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly stride: 1 | 2;
}

/** The blocks of a residual network in order; a shortcut is projected where inputs and outputs differ. */
export function residualBlocks({ widths, blocks }: Extract<Model, { kind: "resnet" }>): ResidualBlock[] {
  return widths.flatMap((outputs, stage) =>
    Array.from({ length: blocks }, (_, index) => {
      const first = stage > 0 && index === 0;
      const inputs = first ? (widths[stage - 1] ?? outputs) : outputs;
      return { name: `stage${stage}block${index}`, inputs, outputs, stride: first ? (2 as const) : (1 as const) };
    }),
  );
}

function parameterSpecs(model: Model): ParameterSpecs {
  switch (model.kind) {
    case "network":
      return Object.assign(
        {},
        ...model.layers.map((layer, index) => {
          const name = layerName(layer, index);
          if (layer.kind === "dense") return denseSpecs(name, layer.inputs, layer.outputs, 6);
          if (layer.kind === "maxPool") return {};
          const { window, inputs, outputs } = layer;
          return {
            [`${name}.kernel`]: kernelSpec([window, window, inputs, outputs], 6),
            [`${name}.bias`]: { shape: [outputs] },
          };
        }),
      );
    case "resnet": {
      const normalized = (name: string, window: number, inputs: number, outputs: number): ParameterSpecs => ({
        [`${name}.conv.kernel`]: kernelSpec([window, window, inputs, outputs], 6),
        ...normSpecs(`${name}.norm`, outputs),
      });
      const blocks = residualBlocks(model).map(({ name, inputs, outputs }) => ({
        ...normalized(`${name}.first`, 3, inputs, outputs),
        ...normalized(`${name}.second`, 3, outputs, outputs),
        ...(inputs === outputs ? {} : normalized(`${name}.shortcut`, 1, inputs, outputs)),
      }));
      const [first = 0] = model.widths;
      return Object.assign(
        normalized("stem", 3, model.image[2], first),
        ...blocks,
        denseSpecs("head", model.widths.at(-1) ?? 0, model.classes),
      );
    }
    case "transformer": {
      const { vocabulary, positions, features, hidden, blocks } = model;
      const specs: ParameterSpecs = {
        "tokens.table": { shape: [vocabulary, features], bound: 0.1 },
        "positions.table": { shape: [positions, features], bound: 0.1 },
      };
      for (let index = 0; index < blocks; index++) {
        const block = `block${index}`;
        Object.assign(specs, normSpecs(`${block}.attentionNorm`, features));
        for (const name of ["query", "key", "value", "output"]) {
          Object.assign(specs, denseSpecs(`${block}.attention.${name}`, features, features));
        }
        Object.assign(
          specs,
          normSpecs(`${block}.networkNorm`, features),
          denseSpecs(`${block}.expand`, features, hidden),
          denseSpecs(`${block}.contract`, hidden, features),
        );
      }
      return Object.assign(specs, normSpecs("norm", features), denseSpecs("head", features, vocabulary));
    }
    case "lstm": {
      const { vocabulary, features, layers } = model;
      const specs: ParameterSpecs = { "tokens.table": { shape: [vocabulary, features], bound: 0.5 } };
      const around = 1 / Math.sqrt(features);
      for (let index = 0; index < layers; index++) {
        const name = `lstm${index}`;
        specs[`${name}.inputKernel`] = { shape: [features, 4 * features], bound: around };
        specs[`${name}.hiddenKernel`] = { shape: [features, 4 * features], bound: around };
        specs[`${name}.bias`] = { shape: [4 * features], bound: around };
      }
      return Object.assign(specs, denseSpecs("head", features, vocabulary));
    }
  }
}

/** Draws the start of a case from a seed: parameters by their bounds, images and labels uniform. */
export function createTrainingProblem(
  measured: TrainingCase,
  { seed, batchSize, batchCount }: { seed: number; batchSize: number; batchCount: number },
): TrainingProblem {
  const uniform = uniformGenerator(seed);
  const { model } = measured;
  const parameters = mapTensors(parameterSpecs(model), ({ shape, bound, fill = 0 }) => ({
    shape,
    values: Float32Array.from({ length: sizeOf(shape) }, () =>
      bound === undefined ? fill : bound * (2 * uniform() - 1),
    ),
  }));
  const statistics = Object.entries(parameters).flatMap(([name, { shape }]): [string, HostTensor][] =>
    model.kind === "resnet" && name.endsWith(".scale")
      ? [
          [name.replace(/scale$/, "mean"), { shape, values: new Float32Array(sizeOf(shape)) }],
          [name.replace(/scale$/, "variance"), { shape, values: new Float32Array(sizeOf(shape)).fill(1) }],
        ]
      : [],
  );
  const integers = (shape: readonly number[], count: number): HostTensor => ({
    shape,
    values: Int32Array.from({ length: sizeOf(shape) }, () => Math.floor(uniform() * count)),
  });
  const batches = Array.from({ length: batchCount }, (): Batch => {
    if (model.kind === "network" || model.kind === "resnet") {
      const shape = [batchSize, ...model.image];
      const inputs = { shape, values: Float32Array.from({ length: sizeOf(shape) }, uniform) };
      return { inputs, labels: integers([batchSize], model.classes) };
    }
    // The label of a position is the token after it.
    const text = integers([batchSize, model.positions + 1], model.vocabulary);
    const cut = (from: number): HostTensor => ({
      shape: [batchSize, model.positions],
      values: Int32Array.from(
        { length: batchSize * model.positions },
        (_, index) =>
          text.values[Math.floor(index / model.positions) * (model.positions + 1) + (index % model.positions) + from] ??
          0,
      ),
    });
    return { inputs: cut(0), labels: cut(1) };
  });
  return { case: measured, batchSize, parameters, statistics: Object.fromEntries(statistics), batches };
}

/**
 * The same problem for engines whose convolutions take channels first: images `[batch, channels, height, width]`, convolution
 * kernels `[outputs, inputs, window, window]`, and the rows of the first dense layer in the order of such an image.
 */
export function withChannelsFirst(problem: TrainingProblem): TrainingProblem {
  const { model } = problem.case;
  if (model.kind !== "network" && model.kind !== "resnet") return problem;
  // Channels of the image that a dense layer flattens, by the layer's name.
  const flattened = new Map<string, number>();
  if (model.kind === "network") {
    let channels = 1;
    let spatial = false;
    for (const [index, layer] of model.layers.entries()) {
      if (layer.kind === "conv") [channels, spatial] = [layer.outputs, true];
      if (layer.kind !== "dense") continue;
      if (spatial) flattened.set(layerName(layer, index), channels);
      spatial = false;
    }
  }
  const parameters = mapTensors(problem.parameters, (tensor, path) => {
    if (tensor.shape.length === 4) return transpose(tensor, [3, 2, 0, 1]);
    const channels = flattened.get(path.replace(/\.kernel$/, ""));
    if (channels === undefined || tensor.shape.length !== 2) return tensor;
    const [inputs = 0, outputs = 0] = tensor.shape;
    const apart = transpose(reshape(tensor, [inputs / channels, channels, outputs]), [1, 0, 2]);
    return reshape(apart, [inputs, outputs]);
  });
  const batches = problem.batches.map(({ inputs, labels }) => ({ inputs: transpose(inputs, [0, 3, 1, 2]), labels }));
  return { ...problem, parameters, batches };
}
