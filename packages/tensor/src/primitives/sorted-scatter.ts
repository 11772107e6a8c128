/** Sums of updates at sorted positions, for `scatterSum`: the order of every sum is that of the updates. */
import { bitonicWords } from "../kernels/bitonic-sort.wgsl";
import { powerOfTwo } from "../kernels/internal";
import { chunkLength, sumBlockSegments, sumChunks, sumSegments } from "../kernels/segment-sum.wgsl";
import { sizeOf } from "../shape";
import type { Tensor } from "../tensor";
import { orderOfKeys } from "./sort";

/** Blocks that are sorted by themselves: bounds of their length. */
const [shortestBlock, longestBlock] = [256, 4096];
/** How many times the size of updates and result the sums of all blocks may have. */
const mostPartials = 4;

const bitsOf = (count: number): number => Math.log2(powerOfTwo(count));

/**
 * Updates `[…pre, …i, …post]` summed into `[…pre, extent, …post]` at the rows `[…i]`, integers, whose axes begin at `axis`;
 * rows outside are dropped.
 *
 * Few rows: blocks of updates are sorted in workgroup memory and summed by themselves, then the sums of the blocks.
 * Where these would be far more than the updates, all updates are sorted at once, digit by digit.
 */
export function sortedScatter(updates: Tensor, rows: Tensor, axis: number, extent: number): Tensor {
  const [pre, post] = [updates.shape.slice(0, axis), updates.shape.slice(axis + rows.rank)];
  const shape = [...pre, extent, ...post];
  const count = rows.size;
  const extents = [sizeOf(pre), count, sizeOf(post)] as const;
  const bits = bitsOf(extent + 1);
  // As unsigned numbers those below 0 are above all others: one comparison drops both.
  const flat = rows.flatten();
  const keys = (flat.dtype === "u32" ? flat : flat.bitcast("u32")).minimum(extent);
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
    const params = { extents, extent, positionBits: bitsOf(length) };
    if (blocks === 1) return updates.bind(sumBlockSegments, [words, updates], { ...params, shape });
    return updates.bind(sumBlockSegments, [words, updates], { ...params, shape: [blocks, ...shape] }).sum({ axis: 0 });
  }
  const order = orderOfKeys(keys.reshape([1, count]), bits).reshape([count]);
  const sorted = [keys.gather(order, { axis: 0 }), order, updates];
  const chunks = count < chunkLength ? [] : [updates.bind(sumChunks, sorted, { extents })];
  return updates.bind(sumSegments, [...sorted, ...chunks], { extents, extent, shape });
}
