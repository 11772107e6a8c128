/**
 * Diagonal blocks of triangular algorithms: one workgroup per block, one invocation per row or column, the block in
 * workgroup memory (4 n² bytes: 16 KiB at the largest size, which every device has). All else is `dot`.
 *
 * Factor: left-looking by columns, three barriers each. Inverse: every invocation solves for one column of its own, with
 * no barrier; the factor fills one triangle of the square, its inverse the other one.
 */
import type { Aval } from "../primitives/definition";
import { endBeyond, internalKernel, loopBound } from "./internal";

/** Largest block. */
export const largestBlock = 64;

/**
 * With `square[k][i]` = L_ik for i >= k, fills `square[i][c]`, i > c, with the inverse W_ic: one column per invocation. Its
 * diagonal is 1 / L_cc.
 */
const invertFactor = (size: number, rows: string): string => `
  let inverse_pivot = 1.0 / square[local * ${size}u + local];
  for (var i = local + 1u; i < ${rows}; i++) {
    var total = square[local * ${size}u + i] * inverse_pivot;
    for (var k = local + 1u; k < i; k++) { total += square[k * ${size}u + i] * square[k * ${size}u + local]; }
    square[i * ${size}u + local] = -total / square[i * ${size}u + i];
  }`;

/** Writes W: the triangle below the diagonal, the reciprocals on it, zeros above. */
const storeInverse = (size: number, rows: string, output: string, start: string): string => `
  for (var i = 0u; i < ${rows}; i++) {
    let below = square[i * ${size}u + local];
    let pivot = 1.0 / square[i * ${size}u + i];
    ${output}[${start} + i * ${size}u + local] = select(select(0.0, pivot, local == i), below, local < i);
  }`;

/**
 * Symmetric blocks `[n, b, b]`, the least pivot of each `[n]` and the largest magnitude of an element of each of its
 * rows `[n, b]`, to the factors and their inverses `[2, n, b, b]`. Pivots below the least one are replaced by it.
 */
export const factorBlocks = internalKernel<Record<string, never>>({
  name: "factorBlocks",
  shape: ([blocks]) => ({ shape: [2, ...(blocks as Aval).shape], dtype: "f32" }),
  kernel([blocks], _output, _params, target) {
    const [count, size] = (blocks as Aval).shape as [number, number, number];
    const rows = loopBound(size, target);
    return {
      label: `factor_blocks_${size}`,
      declarations: `var<workgroup> square: array<f32, ${size * size}>;`,
      body: ({ inputs: [input, least, largest], output }) => `${endBeyond(count)}
  let start = number * ${size * size}u;
  let floor_value = ${least}[number];
  let bound = ${largest}[number * ${size}u + local];
  for (var j = 0u; j < ${rows}; j++) {
    // The sums of a column, of which invocation j has the pivot.
    var total = 0.0;
    if (local >= j) {
      total = ${input}[start + local * ${size}u + j];
      for (var k = 0u; k < j; k++) { total -= square[k * ${size}u + local] * square[k * ${size}u + j]; }
      square[j * ${size}u + local] = total;
    }
    workgroupBarrier();
    let sum = square[j * ${size}u + j];
    let pivot = sqrt(select(floor_value, sum, sum > floor_value));
    workgroupBarrier();
    if (local >= j) {
      square[j * ${size}u + local] = select(clamp(total / pivot, -bound, bound), pivot, local == j);
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < ${rows}; i++) {
    ${output}[start + i * ${size}u + local] = select(0.0, square[local * ${size}u + i], local <= i);
  }
  workgroupBarrier();${invertFactor(size, rows)}
  workgroupBarrier();${storeInverse(size, rows, output, `${count * size * size}u + start`)}`,
      workgroupSize: size,
      workgroups: count,
      flops: (2 / 3) * count * size ** 3,
    };
  },
});

interface InverseParams {
  /** Extent of a block. */
  readonly size: number;
  /** Reads the matrix transposed: its upper triangle. */
  readonly upper: boolean;
}

/**
 * Matrices `[n, m, m]` to the inverses of the lower triangular blocks on their diagonals `[n, ⌈m / size⌉, size, size]`;
 * beyond the matrix they are the identity. A zero on the diagonal makes a NaN.
 */
export const invertBlocks = internalKernel<InverseParams>({
  name: "invertBlocks",
  shape([matrices], { size }) {
    const [count, extent] = (matrices as Aval).shape as [number, number, number];
    return { shape: [count, Math.ceil(extent / size), size, size], dtype: "f32" };
  },
  kernel([matrices], output, { size, upper }, target) {
    const [count, extent] = (matrices as Aval).shape as [number, number, number];
    const blocks = output.shape[1] as number;
    const rows = loopBound(size, target);
    const from = upper ? `j * ${extent}u + i` : `i * ${extent}u + j`;
    return {
      label: `invert_blocks_${size}`,
      declarations: `var<workgroup> square: array<f32, ${size * size}>;`,
      body: ({ inputs: [input], output: name }) => `${endBeyond(count * blocks)}
  let matrix = number / ${blocks}u * ${extent * extent}u;
  let first = number % ${blocks}u * ${size}u;
  for (var k = 0u; k < ${rows}; k++) {
    let i = first + local;
    let j = first + k;
    var value = select(0.0, 1.0, local == k);
    if (local >= k && i < ${extent}u) {
      value = ${input}[matrix + ${from}];
      if (local == k && value == 0.0) { value = opaque_bits(0x7fc00000u); }
    }
    square[k * ${size}u + local] = value;
  }
  workgroupBarrier();${invertFactor(size, rows)}
  workgroupBarrier();${storeInverse(size, rows, name, `number * ${size * size}u`)}`,
      workgroupSize: size,
      workgroups: count * blocks,
      flops: (1 / 3) * count * blocks * size ** 3,
    };
  },
});
