/**
 * Sums of updates that go to one row, from their sorted order: one invocation per element of the result looks up where
 * its updates begin, with a binary search, and adds them in the order in which they were given.
 *
 * Traffic: updates and results once; neighbours read neighbouring columns and the same sorted words.
 */
import type { Aval } from "../primitives/definition";
import type { Shape } from "../shape";
import { internalKernel } from "./internal";

const size = 64;

/** Sorted positions whose updates are summed ahead if they all go to one row: no sum has more terms in a row than that. */
export const chunkLength = 1024;

const grid = ({ shape }: Aval): { readonly elements: number; readonly workgroups: number } => {
  const elements = shape.reduce((product, extent) => product * extent, 1);
  return { elements, workgroups: Math.ceil(elements / size) };
};

/** The first position from `low` on, before `end`, whose word is not below `wanted`. */
const lowerBound = (words: string, low: string, end: string, wanted: string): string => `
  var first = ${low};
  var beyond = ${end};
  while (first < beyond) {
    let middle = (first + beyond) / 2u;
    if (${words}[middle] < ${wanted}) { first = middle + 1u; } else { beyond = middle; }
  }`;

interface SegmentParams {
  /** The updates as `[pre, n, post]`, whatever axes they have. */
  readonly extents: readonly [number, number, number];
  /** Rows of the result. */
  readonly extent: number;
  /** Axes of the result. */
  readonly shape: Shape;
}

interface BlockParams extends SegmentParams {
  /** The lowest bits of a word, which have the position in the block; the others are the row. */
  readonly positionBits: number;
}

/**
 * Sorted words `[blocks, length]`, u32, and updates `[pre, n, post]` to what the updates of each block make of each row,
 * `[blocks, pre, extent, post]` in the given axes.
 */
export const sumBlockSegments = internalKernel<BlockParams>({
  name: "sumBlockSegments",
  shape: ([, updates], { shape }) => ({ shape, dtype: (updates as Aval).dtype }),
  kernel([words, updates], output, { extents, extent, positionBits }) {
    const [, length] = (words as Aval).shape as [number, number];
    const { dtype } = updates as Aval;
    const [pre, count, post] = extents;
    const { elements, workgroups } = grid(output);
    return {
      label: `segment_sums_${dtype}_${extent}x${post}`,
      body: ({ inputs: [sorted, from], output: name }) => `
  let element = number * ${size}u + local;
  if (element >= ${elements}u) { return; }
  let row = element / ${post}u % ${extent}u;
  let outer = element / ${post * extent}u;
  let sorted_first = outer / ${pre}u * ${length}u;
  let start = (outer % ${pre}u * ${count}u + sorted_first) * ${post}u + element % ${post}u;${lowerBound(
    sorted as string,
    "sorted_first",
    `sorted_first + ${length}u`,
    `(row << ${positionBits}u)`,
  )}
  var total = ${dtype}(0);
  for (var i = first; i < sorted_first + ${length}u; i++) {
    let word = ${sorted}[i];
    if ((word >> ${positionBits}u) != row) { break; }
    total += ${from}[start + (word & ${2 ** positionBits - 1}u) * ${post}u];
  }
  ${name}[element] = total;`,
      workgroupSize: size,
      workgroups,
      flops: pre * count * post,
    };
  },
});

/**
 * Sorted rows `[n]`, u32, the order `[n]`, i32, that sorts them, and updates `[pre, n, post]` to the sums over chunks of
 * sorted positions, `[pre, ⌊n / chunkLength⌋, post]`; 0 where a chunk goes to several rows.
 */
export const sumChunks = internalKernel<Pick<SegmentParams, "extents">>({
  name: "sumChunks",
  shape([, , updates], { extents: [pre, count, post] }) {
    return { shape: [pre, Math.floor(count / chunkLength), post], dtype: (updates as Aval).dtype };
  },
  kernel([, , updates], output, { extents: [, count, post] }) {
    const { dtype } = updates as Aval;
    const chunks = output.shape[1] as number;
    const { elements, workgroups } = grid(output);
    return {
      label: `chunk_sums_${dtype}_${post}`,
      body: ({ inputs: [rows, order, from], output: name }) => `
  let element = number * ${size}u + local;
  if (element >= ${elements}u) { return; }
  let first = element / ${post}u % ${chunks}u * ${chunkLength}u;
  let start = element / ${post * chunks}u * ${count * post}u + element % ${post}u;
  var total = ${dtype}(0);
  if (${rows}[first] == ${rows}[first + ${chunkLength - 1}u]) {
    for (var i = first; i < first + ${chunkLength}u; i++) { total += ${from}[start + u32(${order}[i]) * ${post}u]; }
  }
  ${name}[element] = total;`,
      workgroupSize: size,
      workgroups,
      flops: 0,
    };
  },
});

/** As {@link sumChunks}, and its result if there are chunks, to the sums for each row, `[pre, extent, post]`. */
export const sumSegments = internalKernel<SegmentParams>({
  name: "sumSegments",
  shape: ([, , updates], { shape }) => ({ shape, dtype: (updates as Aval).dtype }),
  kernel([, , updates, chunkSums], output, { extents: [pre, count, post], extent }) {
    const { dtype } = updates as Aval;
    const chunks = chunkSums?.shape[1] ?? 0;
    const { elements, workgroups } = grid(output);
    return {
      label: `segment_sums_${dtype}_${extent}x${post}`,
      body({ inputs: [rows, order, from, sums], output: name }) {
        const whole = `
    if (i % ${chunkLength}u == 0u && i + ${chunkLength}u <= ${count}u && ${rows}[min(i + ${chunkLength - 1}u, ${count - 1}u)] == row) {
      total += ${sums}[(outer * ${chunks}u + i / ${chunkLength}u) * ${post}u + column];
      i += ${chunkLength}u;
      continue;
    }`;
        return `
  let element = number * ${size}u + local;
  if (element >= ${elements}u) { return; }
  let column = element % ${post}u;
  let row = element / ${post}u % ${extent}u;
  let outer = element / ${post * extent}u;
  let start = outer * ${count * post}u + column;${lowerBound(rows as string, "0u", `${count}u`, "row")}
  var total = ${dtype}(0);
  var i = first;
  while (i < ${count}u) {
    if (${rows}[i] != row) { break; }${sums === undefined ? "" : whole}
    total += ${from}[start + u32(${order}[i]) * ${post}u];
    i++;
  }
  ${name}[element] = total;`;
      },
      workgroupSize: size,
      workgroups,
      flops: pre * count * post,
    };
  },
});
