import type { Tensor } from "@thalweg/tensor";
import { mapTensors, type TensorTree } from "../tensors";

/** β a + (1 - β) x for every tensor. @param decay The numbers of a {@link decayConstant}. */
export function updateAverage(
  [beta, complement]: readonly Tensor[],
  average: TensorTree,
  value: TensorTree,
): TensorTree {
  return mapTensors((a, x) => a.mul(beta as Tensor).add(x.mul(complement as Tensor)), average, value);
}

/**
 * 1 - β^t, the weight that an average started at 0 has after t = step + 1 values, as -expm1(t log β): a power near 1
 * would lose most of its digits.
 *
 * @param decay The numbers of a {@link decayConstant}.
 * @param step Index of the update: u32 scalar.
 */
export function biasCorrection(decay: readonly Tensor[], step: Tensor): Tensor {
  return step
    .add(1)
    .cast("f32")
    .mul(decay[2] as Tensor)
    .expm1()
    .neg();
}
