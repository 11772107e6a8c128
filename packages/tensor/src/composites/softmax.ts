import { normalizeAxis } from "../shape";
import { inF32, type Tensor } from "../tensor";

export interface SoftmaxOptions {
  /** The axis whose elements sum to 1. Default: the last. */
  readonly axis?: number;
}

/** The input less its maximum along the axis; the maximum cancels in the result and counts as a constant. */
function shifted(operation: string, x: Tensor, axis: number): { rest: Tensor; own: number } {
  const own = normalizeAxis(operation, axis, x.rank);
  return { rest: x.sub(x.max({ axis: own, keepDims: true }).stopGradient()), own };
}

/** exp(x) / Σ exp(x) along an axis, without overflow. Same shape as `x`. */
export function softmax(x: Tensor, { axis = -1 }: SoftmaxOptions = {}): Tensor {
  return inF32(x, (wide) => {
    const { rest, own } = shifted("softmax", wide, axis);
    const exponentials = rest.exp();
    return exponentials.div(exponentials.sum({ axis: own, keepDims: true }));
  });
}

/** log softmax(x) along an axis, accurate where softmax underflows. Same shape as `x`. */
export function logSoftmax(x: Tensor, { axis = -1 }: SoftmaxOptions = {}): Tensor {
  return inF32(x, (wide) => {
    const { rest, own } = shifted("logSoftmax", wide, axis);
    return rest.sub(rest.exp().sum({ axis: own, keepDims: true }).log());
  });
}
