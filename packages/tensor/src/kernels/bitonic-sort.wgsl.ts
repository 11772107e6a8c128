/**
 * Sorts short rows: one workgroup per row, a bitonic network in workgroup memory.
 *
 * Every element carries its position, so that the network, which is not stable by itself, gives the stable order. Where
 * key and position fit into 32 bits together they are one word: 4 bytes of workgroup memory per element, else 8. The
 * traffic is 8 bytes per element; log²(n) / 2 barriers.
 */
import type { CompileTarget } from "../compiler/target";
import { invariant } from "../errors";
import type { Aval, WrittenKernel } from "../primitives/definition";
import { endBeyond, internalKernel, loopBound, powerOfTwo } from "./internal";

interface BitonicParams {
  /** Keys are smaller than 2^bits. */
  readonly bits: number;
}

/** Workgroup memory that every device has. */
const workgroupBytes = 16_384;

const isPacked = (length: number, bits: number): boolean => Math.log2(powerOfTwo(length)) + bits <= 32;

/** Does a row fit into the workgroup memory that every device has? */
export const fitsBitonic = (length: number, bits: number): boolean =>
  powerOfTwo(length) * (isPacked(length, bits) ? 4 : 8) <= workgroupBytes;

/** Keys `[rows, n]`, u32, to the positions `[rows, n]`, i32, of the elements in ascending order; equal ones in place. */
export const bitonicOrder = internalKernel<BitonicParams>({
  name: "bitonicOrder",
  shape: ([keys]) => ({ shape: (keys as Aval).shape, dtype: "i32" }),
  kernel: (inputs, _output, params, target) => bitonicKernel(inputs, params, target, false),
});

/**
 * As {@link bitonicOrder}, for rows of a power of two whose keys fit into a word together with their positions: sorted
 * words `[rows, n]`, u32, the position in the lowest log2(n) bits.
 */
export const bitonicWords = internalKernel<BitonicParams>({
  name: "bitonicWords",
  shape: ([keys]) => keys as Aval,
  kernel: (inputs, _output, params, target) => bitonicKernel(inputs, params, target, true),
});

function bitonicKernel(
  [keys]: readonly Aval[],
  { bits }: BitonicParams,
  target: CompileTarget,
  keepsWords: boolean,
): WrittenKernel {
  const [rows, length] = (keys as Aval).shape as [number, number];
  const padded = Math.max(2, powerOfTwo(length));
  const size = Math.min(256, padded / 2, target.maxInvocationsPerWorkgroup);
  const packed = isPacked(length, bits);
  const positionBits = Math.log2(padded);
  invariant(!keepsWords || (packed && length === padded), "words that hold keys and positions, and no others");
  const words = packed
    ? `var<workgroup> words: array<u32, ${padded}>;
fn is_greater(a: u32, b: u32) -> bool { return words[a] > words[b]; }
fn exchange(a: u32, b: u32) { let word = words[a]; words[a] = words[b]; words[b] = word; }`
    : `var<workgroup> words: array<u32, ${padded}>;
var<workgroup> positions: array<u32, ${padded}>;
fn is_greater(a: u32, b: u32) -> bool {
  return words[a] > words[b] || (words[a] == words[b] && positions[a] > positions[b]);
}
fn exchange(a: u32, b: u32) {
  let word = words[a]; words[a] = words[b]; words[b] = word;
  let position = positions[a]; positions[a] = positions[b]; positions[b] = position;
}`;
  // What fills the row up has the largest key and the last positions: it ends behind everything else.
  const load = (input: string) =>
    packed
      ? `words[i] = select(0xffffffffu, (${input}[row + min(i, ${length - 1}u)] << ${positionBits}u) | i, i < ${length}u);`
      : `words[i] = select(0xffffffffu, ${input}[row + min(i, ${length - 1}u)], i < ${length}u);
    positions[i] = i;`;
  return {
    label: `bitonic_${keepsWords ? "words" : "order"}_${length}`,
    declarations: words,
    body: ({ inputs: [input], output }) => `${endBeyond(rows)}
  let row = number * ${length}u;
  for (var i = local; i < ${loopBound(padded, target)}; i += ${size}u) {
    ${load(input as string)}
  }
  workgroupBarrier();
  for (var run = 2u; run <= ${loopBound(padded, target)}; run <<= 1u) {
    for (var distance = run >> 1u; distance > 0u; distance >>= 1u) {
      for (var i = local; i < ${loopBound(padded / 2, target)}; i += ${size}u) {
        let low = ((i & ~(distance - 1u)) << 1u) | (i & (distance - 1u));
        let high = low | distance;
        if (is_greater(low, high) == ((low & run) == 0u)) { exchange(low, high); }
      }
      workgroupBarrier();
    }
  }
  for (var i = local; i < ${loopBound(length, target)}; i += ${size}u) {
    ${output}[row + i] = ${keepsWords ? "words[i]" : `i32(${packed ? `words[i] & ${padded - 1}u` : "positions[i]"})`};
  }`,
    workgroupSize: size,
    workgroups: rows,
    flops: 0,
  };
}
