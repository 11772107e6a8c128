import type { Tensor } from "@thalweg/tensor";
import { mapTensors, treeNorm } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";
import { axesWithin } from "./clip";

/** Divides by the norm of all gradients together. Zero gradients stay zero. */
export function normalize(): GradientTransformation {
  return transformation({
    name: "normalize",
    update: (gradients, buffers) => {
      const norm = treeNorm(gradients);
      const isZero = norm.equal(0);
      const factor = isZero.where(1, norm).reciprocal();
      return [mapTensors((g) => g.mul(factor), gradients), buffers];
    },
  });
}

export interface CentralizeOptions {
  /** The axis of output units. Default `"last"`, where this library's layers have it. */
  readonly unitAxis?: "first" | "last";
}

/**
 * Subtracts from the gradient of each output unit its mean. Tensors of rank 0 and 1 stay as they are.
 *
 * @see Yong et al., Gradient Centralization, 2020
 */
export function centralize({ unitAxis = "last" }: CentralizeOptions = {}): GradientTransformation {
  return transformation({
    name: "centralize",
    update: (gradients, buffers) => {
      const center = (g: Tensor) =>
        g.rank <= 1 ? g : g.sub(g.mean({ axis: axesWithin(g, unitAxis), keepDims: true }));
      return [mapTensors(center, gradients), buffers];
    },
  });
}
