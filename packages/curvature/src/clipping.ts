/** Limits and maxima that keep infinities visible, which a maximum would replace by a number that is wrong. */
import type { Tensor } from "@thalweg/tensor";

/** x, or `least` where x is smaller. What is not finite stays what it is. */
export const atLeast = (x: Tensor, least: Tensor | number): Tensor => x.less(least).and(x.isFinite()).where(least, x);

/** What rounding made negative counts as 0. */
export const nonNegative = (x: Tensor): Tensor => atLeast(x, 0);

/** The largest element, scalar; NaN if any element is not finite. */
export const largest = (x: Tensor): Tensor => x.isFinite().all().where(x.max(), Number.NaN);
