/** Sums of updates at sorted positions, for `scatterSum`: the order of every sum is that of the updates. */
import { bitonicWords } from "../kernels/bitonic-sort.wgsl";
import { powerOfTwo } from "../kernels/internal";
import { chunkLength, sumBlockSegments, sumChunks, sumSegments } from "../kernels/segment-sum.wgsl";
import type { Tensor } from "../tensor";
import { orderOfKeys } from "./sort";

/** Blocks that are sorted by themselves: bounds of their length. */
const [shortestBlock, longestBlock] = [256, 4096];
/** How many times the size of updates and result the sums of all blocks may have. */
const mostPartials = 4;

const bitsOf = (count: number): number => Math.log2(powerOfTwo(count));

/**
 * Updates `[pre, n, post]` summed into `[pre, extent, post]` at the rows `[n]`, integers; rows outside are dropped.
 *
 * Few rows: blocks of updates are sorted in workgroup memory and summed by themselves, then the sums of the blocks.
 * Where these would be far more than the updates, all updates are sorted at once, digit by digit.
 */
export function sortedScatter(updates: Tensor, rows: Tensor, extent: number): Tensor {
  const count = updates.shape[1] as number;
  const bits = bitsOf(extent + 1);
  // As unsigned numbers those below 0 are above all others: one comparison drops both.
  const keys = (rows.dtype === "u32" ? rows : rows.bitcast("u32")).minimum(extent);
  const length = Math.min(
    Math.max(powerOfTwo(extent), shortestBlock),
    longestBlock,
    powerOfTwo(count),
    2 ** (32 - bits),
  );
  const blocks = Math.ceil(count / length);
  if (blocks * extent <= mostPartials * (count + extent)) {
    const padded = keys.pad([[0, blocks * length - count]], { value: extent }).reshape([blocks, length]);
    const words = keys.bind(bitonicWords, [padded], { bits });
    const positionBits = bitsOf(length);
    return updates.bind(sumBlockSegments, [words, updates], { extent, positionBits }).sum({ axis: 0 });
  }
  const order = orderOfKeys(keys.reshape([1, count]), bits).reshape([count]);
  const sorted = [keys.gather(order, { axis: 0 }), order, updates];
  const chunks = count < chunkLength ? [] : [updates.bind(sumChunks, sorted, {})];
  return updates.bind(sumSegments, [...sorted, ...chunks], { extent });
}
