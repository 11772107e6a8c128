/**
 * Cumulative sums within blocks of an axis: the last of the three dispatches of a long one (sums of blocks, their
 * cumulative sums, this).
 *
 * Rows that lie together in memory: one workgroup per block, neighbouring elements per invocation, which it sums, then
 * reads again from the cache; partial sums are combined in workgroup memory. Other axes, and CPUs: one invocation per
 * column of a block; no barrier. Traffic: 8 bytes per element. The order of the terms is fixed by the shape and the form.
 */
import type { CompileTarget } from "../compiler/target";
import type { DType } from "../dtype";
import { invariant } from "../errors";
import type { Aval, WrittenKernel } from "../primitives/definition";
import { endBeyond, internalKernel, loopBound } from "./internal";

interface ScanParams {
  /** The elements as `[pre, n, post]`, whatever axes they have. */
  readonly extents: readonly [number, number, number];
  /** Elements of a block. */
  readonly length: number;
  /** Sums from the end of the axis. */
  readonly reverse: boolean;
}

/** Elements that one workgroup scans where there are many blocks, and where there is one, which one invocation may do. */
export const rowBlock = 1024;
export const longestRow = 4096;
/** Elements that one invocation scans along an axis whose neighbours lie apart. */
export const columnBlock = 64;
/** Rows up to here are scanned by one invocation each. */
const shortRow = 32;
const columnsPerGroup = 64;

/**
 * Elements `[pre, n, post]` in a tensor of any shape and, with several blocks, the cumulative sums of the blocks
 * `[pre, blocks, post]`, to their cumulative sums.
 */
export const scanBlocks = internalKernel<ScanParams>({
  name: "scanBlocks",
  shape: ([x]) => x as Aval,
  kernel([x, totals], _output, params, target) {
    const { dtype } = x as Aval;
    const [, n, post] = params.extents;
    invariant(dtype === "f32" || dtype === "i32" || dtype === "u32", "sums of 32-bit numbers");
    const together = post === 1 && n > shortRow && target.lanesPerRow > 1;
    return (together ? rowKernel : columnKernel)(dtype, totals !== undefined, params, target);
  },
});

/** What comes before a block, from the cumulative sums of all blocks: those of the block before, which has this number. */
function offset(totals: string, blocks: number, post: number, { reverse }: ScanParams, zero: string): string {
  const isFirst = reverse ? `section == ${blocks - 1}u` : "section == 0u";
  const before = reverse ? `min(section + 1u, ${blocks - 1}u)` : "max(section, 1u) - 1u";
  return `select(${totals}[(outer * ${blocks}u + ${before}) * ${post}u + inner], ${zero}, ${isFirst})`;
}

function columnKernel(dtype: DType, hasTotals: boolean, params: ScanParams): WrittenKernel {
  const {
    extents: [pre, n, post],
    length,
    reverse,
  } = params;
  const blocks = Math.ceil(n / length);
  const columns = pre * blocks * post;
  const zero = `${dtype}(0)`;
  return {
    label: `scan_columns_${dtype}_${n}x${post}`,
    body: ({ inputs: [input, totals], output }) => `
  let column = number * ${columnsPerGroup}u + local;
  if (column >= ${columns}u) { return; }
  let inner = column % ${post}u;
  let section = column / ${post}u % ${blocks}u;
  let outer = column / ${post * blocks}u;
  let first = section * ${length}u;
  let end = min(first + ${length}u, ${n}u);
  let start = outer * ${n * post}u + inner;
  var total = ${hasTotals ? offset(totals as string, blocks, post, params, zero) : zero};
  for (var i = first; i < end; i++) {
    let place = start + ${reverse ? "(first + end - 1u - i)" : "i"} * ${post}u;
    total += ${input}[place];
    ${output}[place] = total;
  }`,
    workgroupSize: columnsPerGroup,
    workgroups: Math.ceil(columns / columnsPerGroup),
    flops: pre * n * post,
  };
}

function rowKernel(dtype: DType, hasTotals: boolean, params: ScanParams, target: CompileTarget): WrittenKernel {
  const {
    extents: [pre, n],
    length,
    reverse,
  } = params;
  const size = Math.min(256, target.maxInvocationsPerWorkgroup);
  const blocks = Math.ceil(n / length);
  const own = Math.ceil(Math.min(n, length) / size);
  const zero = `${dtype}(0)`;
  const place = `row + ${reverse ? "(first + end - 1u - i)" : "i"}`;
  return {
    label: `scan_rows_${dtype}_${n}`,
    declarations: `var<workgroup> partial: array<${dtype}, ${size}>;`,
    body: ({ inputs: [input, totals], output }) => `${endBeyond(pre * blocks)}
  let inner = 0u;
  let section = number % ${blocks}u;
  let outer = number / ${blocks}u;
  let row = outer * ${n}u;
  let first = section * ${length}u;
  let end = min(first + ${length}u, ${n}u);
  let own_first = min(first + local * ${own}u, end);
  let own_end = min(own_first + ${own}u, end);
  var total = ${zero};
  for (var i = own_first; i < own_end; i++) { total += ${input}[${place}]; }
  partial[local] = total;
  workgroupBarrier();
  for (var distance = 1u; distance < ${loopBound(size, target)}; distance <<= 1u) {
    let other = select(${zero}, partial[max(local, distance) - distance], local >= distance);
    workgroupBarrier();
    partial[local] += other;
    workgroupBarrier();
  }
  total = select(${zero}, partial[max(local, 1u) - 1u], local > 0u);${
    hasTotals
      ? `
  total += ${offset(totals as string, blocks, 1, params, zero)};`
      : ""
  }
  for (var i = own_first; i < own_end; i++) {
    total += ${input}[${place}];
    ${output}[${place}] = total;
  }`,
    workgroupSize: size,
    workgroups: pre * blocks,
    flops: 2 * pre * n,
  };
}
