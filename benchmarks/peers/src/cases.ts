import { uniformGenerator } from "./random";

/** One layer of a network. Images are `[batch, height, width, channels]`. */
export type Layer =
  /** Kernel `[inputs, outputs]`, bias `[outputs]`. An image is flattened first, channels fastest. */
  | { readonly kind: "dense"; readonly inputs: number; readonly outputs: number; readonly relu: boolean }
  /** Stride 1, zero padding to the same size. Kernel `[window, window, inputs, outputs]`, bias `[outputs]`, then ReLU. */
  | { readonly kind: "conv"; readonly window: number; readonly inputs: number; readonly outputs: number }
  /** Maximum over windows of 2 × 2, stride 2. */
  | { readonly kind: "maxPool" };

/** A network and how it is trained. */
export interface Case {
  readonly name: string;
  /** What the case is, for the table's heading. */
  readonly description: string;
  readonly batchSize: number;
  /** Shape of one image. */
  readonly imageShape: readonly [height: number, width: number, channels: number];
  readonly classes: number;
  readonly layers: readonly Layer[];
  readonly learningRate: number;
  readonly momentum: number;
}

/** Initial parameters of one dense or convolutional layer, row-major, in the layouts that {@link Layer} names. */
export interface LayerParameters {
  readonly kernel: Float32Array;
  readonly bias: Float32Array;
}

/** One batch on the host: images `[batch, height, width, channels]` in [0, 1), labels `[batch]`. */
export interface Batch {
  readonly images: Float32Array;
  readonly labels: Int32Array;
}

/** All that an engine gets: the case, the parameters to start from (one entry per layer with parameters) and the batches. */
export interface Problem {
  readonly case: Case;
  readonly parameters: readonly LayerParameters[];
  readonly batches: readonly Batch[];
}

/** The networks that can be measured, by name. */
export const cases: readonly Case[] = [
  {
    name: "fmnist_mlp",
    description: "784-1000-500-100-10, ReLU, batch 128",
    batchSize: 128,
    imageShape: [28, 28, 1],
    classes: 10,
    layers: [
      { kind: "dense", inputs: 784, outputs: 1000, relu: true },
      { kind: "dense", inputs: 1000, outputs: 500, relu: true },
      { kind: "dense", inputs: 500, outputs: 100, relu: true },
      { kind: "dense", inputs: 100, outputs: 10, relu: false },
    ],
    learningRate: 0.01,
    momentum: 0.9,
  },
  {
    name: "fmnist_2c2d",
    description: "conv5×5-32, pool, conv5×5-64, pool, 1024, 10, ReLU, batch 64",
    batchSize: 64,
    imageShape: [28, 28, 1],
    classes: 10,
    layers: [
      { kind: "conv", window: 5, inputs: 1, outputs: 32 },
      { kind: "maxPool" },
      { kind: "conv", window: 5, inputs: 32, outputs: 64 },
      { kind: "maxPool" },
      { kind: "dense", inputs: 3136, outputs: 1024, relu: true },
      { kind: "dense", inputs: 1024, outputs: 10, relu: false },
    ],
    learningRate: 0.01,
    momentum: 0.9,
  },
];

/** Shape of a layer's kernel, or nothing for a layer without parameters. */
export function kernelShape(layer: Layer): readonly number[] | undefined {
  switch (layer.kind) {
    case "dense":
      return [layer.inputs, layer.outputs];
    case "conv":
      return [layer.window, layer.window, layer.inputs, layer.outputs];
    case "maxPool":
      return undefined;
  }
}

/** Draws the start of a case from a seed: kernels uniform within ±√(6 / fan-in) (He), biases 0, images and labels uniform. */
export function createProblem(network: Case, { seed, batchCount }: { seed: number; batchCount: number }): Problem {
  const uniform = uniformGenerator(seed);
  const parameters = network.layers.flatMap((layer) => {
    const shape = kernelShape(layer);
    if (shape === undefined) return [];
    const outputs = shape[shape.length - 1] ?? 1;
    const size = shape.reduce((product, extent) => product * extent, 1);
    const bound = Math.sqrt((6 * outputs) / size);
    return [
      {
        kernel: Float32Array.from({ length: size }, () => bound * (2 * uniform() - 1)),
        bias: new Float32Array(outputs),
      },
    ];
  });
  const pixels = network.batchSize * network.imageShape.reduce((product, extent) => product * extent, 1);
  const batches = Array.from({ length: batchCount }, () => ({
    images: Float32Array.from({ length: pixels }, uniform),
    labels: Int32Array.from({ length: network.batchSize }, () => Math.floor(uniform() * network.classes)),
  }));
  return { case: network, parameters, batches };
}
