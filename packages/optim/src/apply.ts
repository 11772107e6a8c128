import { mapTensors, type TensorTree } from "./tensors";

/**
 * Parameters plus updates, in the dtype of each parameter.
 *
 * @example const next = applyUpdates(params, updates);
 */
export function applyUpdates<P>(params: P, updates: P): P {
  return mapTensors((x, u) => x.cast("f32").add(u).cast(x.dtype), params as TensorTree, updates as TensorTree) as P;
}
