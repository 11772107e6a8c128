import { type DType, type Key, type Shape, splitKeys, type Tensor } from "@thalweg/tensor";
import type { Fans, Initializer } from "../initializers";

/** Parameters of layers with a bias. */
export type WithBias = { readonly kernel: Tensor; readonly bias: Tensor };

/** Parameters of layers without a bias. */
export type WithoutBias = { readonly kernel: Tensor };

/** A kernel, and a bias unless that was switched off. */
export type KernelParams<Bias extends boolean> = false extends Bias
  ? true extends Bias
    ? WithoutBias & Partial<WithBias>
    : WithoutBias
  : WithBias;

export interface KernelSpec {
  readonly shape: Shape;
  readonly fans: Fans;
  readonly bias: boolean;
  /** Extent of the bias. Default: the last extent of the shape. */
  readonly features?: number;
  readonly kernelInit: Initializer;
  readonly biasInit: Initializer;
  readonly dtype: DType;
}

/** Draws a kernel and, from another key, its bias. */
export function makeKernel<Bias extends boolean>(key: Key, spec: KernelSpec): KernelParams<Bias> {
  const { shape, fans, dtype, kernelInit, biasInit } = spec;
  const [forKernel, forBias] = splitKeys(key) as [Key, Key];
  const kernel = kernelInit(forKernel, shape, fans).cast(dtype);
  if (!spec.bias) return { kernel } as unknown as KernelParams<Bias>;
  const bias = biasInit(forBias, [spec.features ?? (shape.at(-1) as number)], fans).cast(dtype);
  // The type follows the option, which the caller has turned into the flag.
  return { kernel, bias } as unknown as KernelParams<Bias>;
}

/** Adds the bias, if there is one, along the last axis. */
export const addBias = (x: Tensor, { bias }: WithoutBias & Partial<WithBias>): Tensor =>
  bias === undefined ? x : x.add(bias);
