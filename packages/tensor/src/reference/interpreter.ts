import { decodeElements } from "../dtype";
import { ArgumentError, formatShape, ShapeError } from "../errors";
import { sameShape, sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import type { NdArray } from "./array";

/** The elements of tensors that have none of their own, such as placeholders. */
export type Bindings = ReadonlyMap<Tensor, NdArray>;

/**
 * Evaluates graphs by the `reference` of every primitive: plain loops in float64 on the host. Slow, and the measure for
 * everything that is fast.
 *
 * Integers are exact and wrap like those of the device. Floats are float64 throughout, f16 included: what is compared
 * with the result has to allow for its own rounding. Composite primitives are evaluated by their own reference and are
 * not expanded.
 *
 * @param outputs Tensors to evaluate; common parts of their graphs are evaluated once.
 * @param bindings Values for placeholders. Other tensors may be bound too; then what they are made of is not evaluated.
 * @returns One array per output.
 * @throws ArgumentError if a placeholder is not bound, or a tensor has its elements on a device only.
 */
export function evaluateReference(outputs: readonly Tensor[], bindings: Bindings = new Map()): NdArray[] {
  const values = new Map<Tensor, NdArray>();
  const pending = [...outputs];
  // Depth first on an explicit stack: graphs of training loops are deeper than the call stack.
  while (pending.length > 0) {
    const tensor = pending[pending.length - 1] as Tensor;
    if (values.has(tensor)) {
      pending.pop();
      continue;
    }
    const leaf = bound(tensor, bindings) ?? hostValue(tensor);
    if (leaf !== undefined) {
      values.set(tensor, leaf);
      continue;
    }
    const missing = tensor.inputs.filter((input) => !values.has(input));
    if (missing.length > 0) {
      for (const input of missing) pending.push(input);
      continue;
    }
    const inputs = tensor.inputs.map((input) => values.get(input) as NdArray);
    values.set(tensor, tensor.primitive.reference(inputs, tensor.params, tensor));
  }
  return outputs.map((output) => values.get(output) as NdArray);
}

function bound(tensor: Tensor, bindings: Bindings): NdArray | undefined {
  const value = bindings.get(tensor);
  if (value !== undefined && !sameShape(value.shape, tensor.shape)) {
    throw new ShapeError(
      `evaluateReference: a value ${formatShape(value.shape)} is bound to a tensor ${tensor.toString()}. ` +
        "Bind one of the same shape.",
    );
  }
  return value;
}

function hostValue(tensor: Tensor): NdArray | undefined {
  const { realized, shape, dtype } = tensor;
  if (realized?.kind === "host") {
    return { shape, dtype, values: Float64Array.from(decodeElements(realized.bytes, sizeOf(shape), dtype)) };
  }
  if (realized?.kind === "device") {
    throw new ArgumentError(
      `evaluateReference: the elements of ${tensor.toString()} are on the device. ` +
        "Read them with data() and build the graph on tensor(values, { shape }), or bind them.",
    );
  }
  if (tensor.primitive.lowering.kind === "leaf") {
    throw new ArgumentError(
      `evaluateReference: the ${tensor.primitive.name} ${tensor.toString()} has no elements. Bind an array to it.`,
    );
  }
  return undefined;
}
