/** Clipping that keeps what is not finite visible. */
import type { Tensor } from "@thalweg/tensor";

/**
 * What rounding made negative counts as 0. NaN stays NaN: a maximum with 0 may give 0 for it on a GPU, and a curvature of 0 is
 * a wrong number where there is none.
 */
export const nonNegative = (x: Tensor): Tensor => x.less(0).where(0, x);
