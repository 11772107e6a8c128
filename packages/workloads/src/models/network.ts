/**
 * Networks of layers in a row that can be described: what `describeProblem` prints comes from the same list that the
 * network is made of, so the two cannot differ.
 */

import * as nn from "@thalweg/nn";
import { formatPath, type Key, placeholder, type Tensor, treeFlatten } from "@thalweg/tensor";
import type { LayerDescription, TensorTree } from "../problem";

/** An initializer, and its name in the notation of the benchmark literature. */
export interface NamedInitializer {
  readonly name: string;
  readonly initializer: nn.Initializer;
}

/** A normal of width `std`, truncated at two `std`, whose variance is not corrected: TN(std). */
export const truncatedNormal = (std: number): NamedInitializer => ({
  name: `TN(${std})`,
  initializer: nn.initializers.truncatedNormal({ std }),
});

/** The same value everywhere. */
export const constant = (value: number): NamedInitializer => ({
  name: `constant ${value}`,
  initializer: nn.initializers.constant(value),
});

/** A normal of variance 2 / (inputs per output), truncated at two standard deviations, with the variance corrected. */
export const heNormal: NamedInitializer = { name: "He normal", initializer: nn.initializers.heNormal };

/** A layer and its description. */
export interface NetworkLayer {
  /** What it computes, in words. */
  readonly operation: string;
  readonly layer: nn.LayerLike;
  /** Names of the initializers, by parameter. */
  readonly initializers: Readonly<Record<string, string>>;
}

/** The initializers of a layer with kernel and bias. */
interface KernelInitializers {
  readonly kernel: NamedInitializer;
  readonly bias: NamedInitializer;
}

const initializerNames = ({ kernel, bias }: KernelInitializers) => ({ kernel: kernel.name, bias: bias.name });

/** A dense layer. */
export function dense(features: number, init: KernelInitializers): NetworkLayer {
  const options = { kernelInit: init.kernel.initializer, biasInit: init.bias.initializer };
  return {
    operation: `dense, ${features} features`,
    layer: nn.dense({ features, ...options }),
    initializers: initializerNames(init),
  };
}

/** How a convolution treats the border, and how its parameters start. */
interface ConvolutionOptions extends KernelInitializers {
  /** `same` keeps rows and columns, `valid` reads no pixel outside of the image. */
  readonly padding: "same" | "valid";
}

/** A convolution with a square kernel and stride 1. */
export function convolution(features: number, kernel: number, options: ConvolutionOptions): NetworkLayer {
  const { padding, kernel: kernelInit, bias } = options;
  return {
    operation: `convolution ${kernel} x ${kernel} ${padding}, ${features} features`,
    layer: nn.conv2d({
      features,
      kernel,
      padding,
      kernelInit: kernelInit.initializer,
      biasInit: bias.initializer,
    }),
    initializers: initializerNames(options),
  };
}

/** Max pooling over 2 x 2 windows side by side, padded where the extent is odd. */
export const pool: NetworkLayer = {
  operation: "max pooling 2 x 2, stride 2, same",
  layer: nn.maxPool({ window: 2, padding: "same" }),
  initializers: {},
};

/** max(x, 0). */
export const relu: NetworkLayer = { operation: "ReLU", layer: nn.relu, initializers: {} };

/** All axes of an example become one. */
export const flatten: NetworkLayer = { operation: "flatten", layer: nn.flatten, initializers: {} };

/** A network as a problem needs it. */
export interface Network {
  readonly layers: readonly LayerDescription[];
  init(key: Key): TensorTree;
  /** The outputs for inputs `[batch, …]`: f32 `[batch, features]`. */
  apply(params: TensorTree, x: Tensor): Tensor;
}

/** What decides a {@link Network}. */
export interface NetworkOptions {
  /** Shape of one example. */
  readonly inputShape: readonly number[];
  /** The layers by name, in order. */
  readonly layers: Readonly<Record<string, NetworkLayer>>;
  /** Whether the regularizer of the problem contains a parameter. Default: none. */
  readonly isDecayed?: ((path: string) => boolean) | undefined;
}

/** Layers one after another. */
export function network({ inputShape, layers, isDecayed = () => false }: NetworkOptions): Network {
  const parts = Object.fromEntries(Object.entries(layers).map(([name, { layer }]) => [name, layer]));
  const model = nn.sequential(parts);
  return {
    layers: describeLayers(inputShape, layers, isDecayed),
    init: (key) => model.init(key, { shape: [1, ...inputShape] }) as TensorTree,
    // A network has no running statistics, and its parameters have the structure that `init` made.
    apply: (params, x) => model.apply(params as object, x),
  };
}

/** Runs the layers on shapes alone and notes what each makes of its input. */
function describeLayers(
  inputShape: readonly number[],
  layers: NetworkOptions["layers"],
  isDecayed: (path: string) => boolean,
): readonly LayerDescription[] {
  let shape: readonly number[] = [1, ...inputShape];
  return Object.entries(layers).map(([name, { operation, layer, initializers: names }]) => {
    const params = typeof layer === "function" ? {} : layer.init(placeholder([2], "u32"), { shape });
    shape = typeof layer === "function" ? layer(placeholder(shape, "f32")).shape : layer.outputShape({ shape });
    const { leaves, paths } = treeFlatten<Tensor>(params);
    const parameters = leaves.map((leaf, index) => {
      const own = formatPath(paths[index] ?? []);
      const path = `${name}.${own}`;
      const initializer = names[own] ?? "default";
      return { path, shape: leaf.shape, count: leaf.size, initializer, decayed: isDecayed(path) };
    });
    return { name, operation, outputShape: shape.slice(1), parameters };
  });
}
