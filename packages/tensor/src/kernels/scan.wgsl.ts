/**
 * Cumulative sums within blocks of an axis: the last of the three dispatches of a long one (sums of blocks, their
 * cumulative sums, this).
 *
 * Rows that lie together in memory: one workgroup per block, four elements per invocation, partial sums combined in
 * workgroup memory. Other axes: one invocation per column of a block, neighbours in neighbouring columns; no barrier.
 * Traffic: 8 bytes per element. The order of the terms is fixed by the shape and the form.
 */
import type { CompileTarget } from "../compiler/target";
import { invariant } from "../errors";
import type { Aval, WrittenKernel } from "../primitives/definition";
import { endBeyond, internalKernel, loopBound } from "./internal";

interface ScanParams {
  /** Elements of a block. */
  readonly length: number;
  /** Sums from the end of the axis. */
  readonly reverse: boolean;
}

/** Elements that one workgroup scans. */
export const rowBlock = 1024;
/** Elements that one invocation scans along an axis whose neighbours lie apart. */
export const columnBlock = 64;
/** Rows up to here are scanned by one invocation each. */
const shortRow = 32;
const columnsPerGroup = 64;

/** `x: [pre, n, post]` and, with several blocks, what is added to each `[pre, blocks, post]`, to `[pre, n, post]`. */
export const scanBlocks = internalKernel<ScanParams>({
  name: "scanBlocks",
  shape: ([x]) => x as Aval,
  kernel([x, offsets], _output, params, target) {
    const { shape, dtype } = x as Aval;
    const [, n, post] = shape as [number, number, number];
    invariant(dtype === "f32" || dtype === "i32" || dtype === "u32", "sums of 32-bit numbers");
    const size = Math.min(256, target.maxInvocationsPerWorkgroup);
    const together = post === 1 && n > shortRow && params.length % size === 0;
    return together
      ? rowKernel(x as Aval, offsets !== undefined, params, size, target)
      : columnKernel(x as Aval, offsets !== undefined, params);
  },
});

function columnKernel({ shape, dtype }: Aval, hasOffsets: boolean, { length, reverse }: ScanParams): WrittenKernel {
  const [pre, n, post] = shape as [number, number, number];
  const blocks = Math.ceil(n / length);
  const columns = pre * blocks * post;
  return {
    label: `scan_columns_${dtype}_${n}x${post}`,
    body: ({ inputs: [input, offsets], output }) => `
  let column = number * ${columnsPerGroup}u + local;
  if (column >= ${columns}u) { return; }
  let first = column / ${post}u % ${blocks}u * ${length}u;
  let end = min(first + ${length}u, ${n}u);
  let start = column / ${post * blocks}u * ${n * post}u + column % ${post}u;
  var total = ${hasOffsets ? `${offsets}[column]` : `${dtype}(0)`};
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

function rowKernel(
  { shape, dtype }: Aval,
  hasOffsets: boolean,
  { length, reverse }: ScanParams,
  size: number,
  target: CompileTarget,
): WrittenKernel {
  const [pre, n] = shape as [number, number, number];
  const blocks = Math.ceil(n / length);
  const own = length / size;
  const zero = `${dtype}(0)`;
  const place = reverse ? "end - 1u - i" : "first + i";
  return {
    label: `scan_rows_${dtype}_${n}`,
    declarations: `var<workgroup> partial: array<${dtype}, ${size}>;`,
    body: ({ inputs: [input, offsets], output }) => `${endBeyond(pre * blocks)}
  let row = number / ${blocks}u * ${n}u;
  let first = number % ${blocks}u * ${length}u;
  let end = min(first + ${length}u, ${n}u);
  var values: array<${dtype}, ${own}>;
  var total = ${zero};
  for (var k = 0u; k < ${own}u; k++) {
    let i = local * ${own}u + k;
    if (first + i < end) { total += ${input}[row + ${place}]; }
    values[k] = total;
  }
  partial[local] = total;
  workgroupBarrier();
  for (var distance = 1u; distance < ${loopBound(size, target)}; distance <<= 1u) {
    let other = select(${zero}, partial[max(local, distance) - distance], local >= distance);
    workgroupBarrier();
    partial[local] += other;
    workgroupBarrier();
  }
  var before = select(${zero}, partial[max(local, 1u) - 1u], local > 0u);${
    hasOffsets
      ? `
  before += ${offsets}[number];`
      : ""
  }
  for (var k = 0u; k < ${own}u; k++) {
    let i = local * ${own}u + k;
    if (first + i < end) { ${output}[row + ${place}] = before + values[k]; }
  }`,
    workgroupSize: size,
    workgroups: pre * blocks,
    flops: pre * n,
  };
}
