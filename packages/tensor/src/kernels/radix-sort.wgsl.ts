/**
 * Sorts long rows: least significant digit first, four bits per pass, every pass stable.
 *
 * A pass is three dispatches: the digits of every block are counted, the counts are summed up (cumsum, elsewhere), and
 * every element moves to its place. Each invocation owns `perInvocation` neighbours, so that the order within a block is
 * that of the input. Keys are shifted as they move: all passes have one text. Traffic per pass: 20 bytes per element.
 *
 * @see Harris, Owens and Kruger, Fast parallel GPU-sorting using a hybrid algorithm (GPU Gems 3, chapter 39)
 */
import type { Aval } from "../primitives/definition";
import { endBeyond, internalKernel, loopBound } from "./internal";

const size = 128;
const perInvocation = 16;
/** Elements that one workgroup sorts. */
const blockLength = size * perInvocation;
export const digitBits = 4;
const digits = 2 ** digitBits;

const blocksOf = (length: number): number => Math.ceil(length / blockLength);

/** Keys and positions `[rows, 2, n]` to how often each digit occurs in each block, `[rows, digits, blocks]`, u32. */
export const countDigits = internalKernel<Record<string, never>>({
  name: "countDigits",
  shape([pairs]) {
    const [rows, , length] = (pairs as Aval).shape as [number, number, number];
    return { shape: [rows, digits, blocksOf(length)], dtype: "u32" };
  },
  kernel([pairs], _output, _params, target) {
    const [rows, , length] = (pairs as Aval).shape as [number, number, number];
    const blocks = blocksOf(length);
    return {
      label: `count_digits_${length}`,
      // Sums of integers do not depend on their order: these atomics give the same counts in every run.
      declarations: `var<workgroup> counts: array<atomic<u32>, ${digits}>;`,
      body: ({ inputs: [input], output }) => `${endBeyond(rows * blocks)}
  let row = number / ${blocks}u;
  let section = number % ${blocks}u;
  if (local < ${digits}u) { atomicStore(&counts[local], 0u); }
  workgroupBarrier();
  for (var i = local; i < ${loopBound(blockLength, target)}; i += ${size}u) {
    let position = section * ${blockLength}u + i;
    if (position < ${length}u) { atomicAdd(&counts[${input}[row * ${2 * length}u + position] & ${digits - 1}u], 1u); }
  }
  workgroupBarrier();
  if (local < ${digits}u) {
    ${output}[(row * ${digits}u + local) * ${blocks}u + section] = atomicLoad(&counts[local]);
  }`,
      workgroupSize: size,
      workgroups: rows * blocks,
      flops: 0,
    };
  },
});

/**
 * Keys and positions `[rows, 2, n]`, how often each digit occurs in each block `[rows, digits, blocks]`, and the
 * cumulative sums of that over digits and blocks, to the pairs in the order of their lowest digits, with that digit removed.
 */
export const moveByDigit = internalKernel<Record<string, never>>({
  name: "moveByDigit",
  shape: ([pairs]) => pairs as Aval,
  kernel([pairs], _output, _params, target) {
    const [rows, , length] = (pairs as Aval).shape as [number, number, number];
    const blocks = blocksOf(length);
    const each = loopBound(digits, target);
    const entries = digits * size;
    return {
      label: `move_by_digit_${length}`,
      declarations: `/** For every digit, how many each invocation has; then how many come before its own. */
var<workgroup> counts: array<u32, ${entries}>;
var<workgroup> partial: array<u32, ${size}>;
var<workgroup> starts: array<u32, ${digits}>;`.replace(/\/\*\*(.*)\*\//, "//$1"),
      body: ({ inputs: [input, counted, sums], output }) => `${endBeyond(rows * blocks)}
  let row = number / ${blocks}u;
  let section = number % ${blocks}u;
  let source = row * ${2 * length}u;
  let first = section * ${blockLength}u + local * ${perInvocation}u;
  let end = min(first + ${perInvocation}u, ${length}u);
  for (var digit = 0u; digit < ${each}; digit++) { counts[digit * ${size}u + local] = 0u; }
  for (var position = first; position < end; position++) {
    counts[(${input}[source + position] & ${digits - 1}u) * ${size}u + local]++;
  }
  workgroupBarrier();
  var total = 0u;
  for (var i = 0u; i < ${each}; i++) { total += counts[local * ${digits}u + i]; }
  partial[local] = total;
  workgroupBarrier();
  for (var distance = 1u; distance < ${loopBound(size, target)}; distance <<= 1u) {
    let other = select(0u, partial[max(local, distance) - distance], local >= distance);
    workgroupBarrier();
    partial[local] += other;
    workgroupBarrier();
  }
  var running = partial[local] - total;
  for (var i = 0u; i < ${each}; i++) {
    let count = counts[local * ${digits}u + i];
    counts[local * ${digits}u + i] = running;
    running += count;
  }
  workgroupBarrier();
  if (local < ${digits}u) { starts[local] = counts[local * ${size}u]; }
  workgroupBarrier();
  for (var position = first; position < end; position++) {
    let key = ${input}[source + position];
    let digit = key & ${digits - 1}u;
    let own = counts[digit * ${size}u + local];
    counts[digit * ${size}u + local] = own + 1u;
    let entry = (row * ${digits}u + digit) * ${blocks}u + section;
    let place = source + ${sums}[entry] - ${counted}[entry] + own - starts[digit];
    ${output}[place] = key >> ${digitBits}u;
    ${output}[place + ${length}u] = ${input}[source + ${length}u + position];
  }`,
      workgroupSize: size,
      workgroups: rows * blocks,
      flops: 0,
    };
  },
});
