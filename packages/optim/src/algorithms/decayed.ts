import type { Tensor } from "@thalweg/tensor";
import { mapTensors, type TensorTree } from "../tensors";

/** The directions plus the decayed parameters where the mask says so; as they are without decay. */
export function decayedIn(
  directions: TensorTree,
  params: TensorTree,
  decay: Tensor | undefined,
  mask: readonly boolean[],
): TensorTree {
  if (decay === undefined) return directions;
  let index = 0;
  return mapTensors((u, x) => (mask[index++] ? u.add(x.mul(decay)) : u), directions, params);
}
