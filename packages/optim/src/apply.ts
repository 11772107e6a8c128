import type { GradientTransformation, OptimizerState } from "./transform";
import { mapTensors, type TensorTree } from "./tensors";

/**
 * Parameters plus updates, in the dtype of each parameter.
 *
 * @example const next = applyUpdates(params, updates);
 */
export function applyUpdates<P>(params: P, updates: P): P {
  return mapTensors((x, u) => x.cast("f32").add(u).cast(x.dtype), params as TensorTree, updates as TensorTree) as P;
}

/**
 * The parameters at which the model is to be evaluated: those of training, unless the optimizer averages.
 *
 * @param params The parameters after the last update.
 */
export function evalParams<P>(optimizer: GradientTransformation, state: OptimizerState, params: P): P {
  const { rule } = optimizer;
  return (rule.evalParams?.(state.buffers, params as TensorTree) ?? params) as P;
}
