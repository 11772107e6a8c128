/** EKFAC: second moments of gradients along the pairs of eigenvectors of the factors. */
import { concat, full, oneHot, type Tensor } from "@thalweg/tensor";
import type { Block, EmbeddingBlock, KroneckerBlock, LinearTap, LookupTap } from "./blocks";
import { type Inverses, intoBasis } from "./damping";
import { maskOf, shifted } from "./factors";
import { inRows } from "./rows";
import type { Collected } from "./statistics";

/**
 * The eigenbases with ρ Σ over examples and vectors of (Qbᵀ G Qa)² for values, G the gradient of one vector for one
 * example: the diagonal of the exact block in the basis, so that no other diagonal there is closer to the block.
 *
 * @see George et al., Fast approximate natural gradient descent in a Kronecker-factored eigenbasis (2018)
 */
export function correctEigenvalues(blocks: readonly Block[], bases: Inverses, collected: Collected): Inverses {
  const corrected = Object.entries(bases).map(([name, basis]) => {
    const block = blocks.find((each) => each.name === name);
    if (!("values" in basis) || (block?.kind !== "kronecker" && block?.kind !== "embedding")) return [name, basis];
    const turned = intoBasis(basis, layerGradients(block, collected));
    return [
      name,
      {
        ...basis,
        values: turned
          .square()
          .sum({ axis: [0, 1] })
          .mul(collected.scale),
      },
    ];
  });
  return Object.fromEntries(corrected);
}

/**
 * The gradients of a layer for every example and vector, `[N, K, groups, out, in]`: written as what they are, and never
 * stored where a reduction follows.
 */
export function layerGradients(block: KroneckerBlock | EmbeddingBlock, collected: Collected): Tensor {
  return rowsOfUses(block, collected)
    .map(({ sent, seen }) =>
      sent
        .dot(seen, {
          batch: [
            [0, 2],
            [0, 1],
          ],
          contract: [[3], [2]],
        })
        .moveAxis(1, 2),
    )
    .reduce((sum, part) => sum.add(part));
}

/** What one use of a layer's weight sent and saw at its positions. */
export interface UseRows {
  /** `[N, K, groups, positions, out]`. */
  readonly sent: Tensor;
  /** `[N, groups, positions, in]`; a bias is one more input, of 1. */
  readonly seen: Tensor;
}

export function rowsOfUses(block: KroneckerBlock | EmbeddingBlock, collected: Collected): UseRows[] {
  return collected.taps(block).map(({ inputs, gradients }, index) => {
    const tap = block.taps[index] as LinearTap | LookupTap;
    const seen =
      "input" in tap ? linearInputs(block, inputs, tap, collected) : lookedUp(inputs, block.layout.ins, collected);
    return { sent: inRows(gradients, shifted(tap.result, 2), 2), seen };
  });
}

function linearInputs(
  block: KroneckerBlock | EmbeddingBlock,
  inputs: Tensor,
  { input }: LinearTap,
  collected: Collected,
): Tensor {
  const axes = shifted(input, 1);
  const mask = maskOf(inputs, axes.shared, collected);
  const real = inRows(mask === undefined ? inputs : inputs.mul(mask), axes, 1);
  if (block.kind === "embedding" || block.bias === undefined) return real;
  const ones = mask === undefined ? full([1, 1, 1, 1], 1) : mask.reshape([real.shape[0] as number, 1, -1, 1]);
  return concat([real, ones.expand([...real.shape.slice(0, 3), 1])], { axis: 3 });
}

/** `[N, 1, positions, rows]`. */
function lookedUp(indices: Tensor, rows: number, collected: Collected): Tensor {
  const hit = oneHot(indices.cast("i32").reshape([collected.examples, 1, -1]), rows);
  const mask = maskOf(
    indices,
    indices.shape.slice(1).map((_, axis) => axis + 1),
    collected,
  );
  return mask === undefined ? hit : hit.mul(mask.reshape([collected.examples, 1, -1, 1]));
}
