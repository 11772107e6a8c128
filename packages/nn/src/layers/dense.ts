import { formatShape, isFloat, ShapeError, type Tensor } from "@thalweg/tensor";
import { fanInUniform, fansOf, type Initializer } from "../initializers";
import { defineStateless, describe, type Layer, type Nothing, namedRoles, type Role } from "../module";
import { addBias, type KernelParams, makeKernel } from "./kernel";

export interface DenseOptions<Bias extends boolean = true> {
  /** Extent of the last axis of the output. */
  readonly features: number;
  /** Whether a bias is added. Default true. */
  readonly bias?: Bias;
  /** Default: uniform within ±1 / sqrt(in), as in PyTorch. */
  readonly kernelInit?: Initializer;
  /** Default: uniform within ±1 / sqrt(in), as in PyTorch. */
  readonly biasInit?: Initializer;
  /** The role of the kernel; `"head"` for the layer that gives the model's output. Default `"weight"`. */
  readonly role?: Extract<Role, "weight" | "head">;
}

/**
 * `x · kernel + bias` over the last axis: `[…, in]` to `[…, features]`.
 *
 * Parameters: `kernel` `[in, features]`, `bias` `[features]`.
 */
export function dense<Bias extends boolean = true>({
  features,
  bias,
  kernelInit = fanInUniform,
  biasInit = fanInUniform,
  role = "weight",
}: DenseOptions<Bias>): Layer<KernelParams<Bias>, Nothing> {
  return defineStateless<KernelParams<Bias>>({
    kind: "dense",
    init(key, x, path) {
      const inputs = x.shape.at(-1);
      if (inputs === undefined)
        throw new ShapeError(`${describe("dense", path)}: the input is a scalar. Give it a last axis.`);
      const shape = [inputs, features];
      const dtype = isFloat(x.dtype) ? x.dtype : "f32";
      return makeKernel(key, { shape, fans: fansOf(shape), bias: bias !== false, kernelInit, biasInit, dtype });
    },
    roles: namedRoles({ kernel: role, bias: "bias" }),
    forward(params, x, { path }) {
      const { kernel } = params;
      checkFeatures(describe("dense", path), x, kernel);
      return addBias(x.dot(kernel), params);
    },
  });
}

function checkFeatures(layer: string, x: Tensor, kernel: Tensor): void {
  const [expected] = kernel.shape;
  if (x.shape.at(-1) !== expected) {
    throw new ShapeError(
      `${layer}: input ${formatShape(x.shape)} does not fit kernel ${formatShape(kernel.shape)} ` +
        `(axis ${x.rank - 1}: ${x.shape.at(-1)}, expected ${expected})`,
    );
  }
}
