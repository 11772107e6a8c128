import { mapTensors } from "../tensors";
import { type GradientTransformation, transformation } from "../transform";

/** Replaces NaN by 0, element by element. Infinite gradients stay infinite. */
export function zeroNans(): GradientTransformation {
  return transformation({
    name: "zeroNans",
    update: (gradients, buffers) => [mapTensors((g) => g.equal(g).where(g, 0), gradients), buffers],
  });
}
