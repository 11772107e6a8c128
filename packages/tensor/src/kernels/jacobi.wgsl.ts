/**
 * Symmetric eigenvalue problems by Jacobi's method, in round-robin order: n / 2 disjoint rotations per round.
 *
 * `rotatePairs`: one workgroup diagonalises one diagonal block, its triangle in workgroup memory (2 n² bytes) and, where it
 * fits, the eigenvectors too (4 n² bytes); two barriers per round. `applyPairs`: one workgroup per block of the matrix and
 * of the eigenvectors applies the rotations of a round from both sides, two products of blocks, and moves the result to
 * where the next round of the tournament wants it, so that all rounds have one text. Rotations are applied as
 * x - s (y + τ x): what is rotated by little changes by little, and orthogonality is kept.
 *
 * @see Golub and Van Loan, Matrix Computations (2013), section 8.5; Rutishauser, The Jacobi method for real symmetric
 *   matrices (1966), for τ
 */
import type { Aval } from "../primitives/definition";
import { endBeyond, internalKernel, loopBound } from "./internal";

/** Extent of the blocks that one workgroup diagonalises, at most; a multiple of four. */
export const largestPair = 64;

interface RotateParams {
  /** Extent of a diagonal block, a multiple of four. */
  readonly extent: number;
  /** Rounds through all rotations, at most: a workgroup stops after one that rotates nothing. */
  readonly sweeps: number;
}

/**
 * Matrices `[n, k, m, m]`, of which the first of k is read, with elements of at most 1, to the transposed eigenvectors of
 * their diagonal blocks, `[n, m / extent, extent, extent]`.
 */
export const rotatePairs = internalKernel<RotateParams>({
  name: "rotatePairs",
  shape([state], { extent }) {
    const [count, , whole] = (state as Aval).shape as [number, number, number];
    return { shape: [count, whole / extent, extent, extent], dtype: "f32" };
  },
  kernel([state], _output, { extent, sweeps }, target) {
    const [count, slots, whole] = (state as Aval).shape as [number, number, number];
    const pairs = whole / extent;
    const half = extent / 2;
    const triangleSize = (extent * (extent + 1)) / 2;
    const size = Math.min(256, target.maxInvocationsPerWorkgroup);
    const bytes = 4 * (triangleSize + 2 * half + 2 + extent * extent);
    const isLocal = bytes <= target.maxWorkgroupBytes;
    const blockUpdates = (half * (half - 1)) / 2;
    return {
      label: `jacobi_${extent}`,
      declarations: `
var<workgroup> a: array<f32, ${triangleSize}>;
var<workgroup> rotation: array<vec2<f32>, ${half}>;
var<workgroup> rotated: atomic<u32>;
var<workgroup> go_on: u32;
${isLocal ? `var<workgroup> v: array<f32, ${extent * extent}>;` : ""}
fn at(i: u32, j: u32) -> u32 { let high = max(i, j); return high * (high + 1u) / 2u + min(i, j); }
/// The two rows of pair k in a round: one player stays, the others move on around the table.
fn pair_of(k: u32, round: u32) -> vec2<u32> {
  let first = (round + k) % ${extent - 1}u;
  let second = select((round + ${extent - 1}u - k) % ${extent - 1}u, ${extent - 1}u, k == 0u);
  return vec2<u32>(min(first, second), max(first, second));
}
/// (x, y) to (x cos - y sin, y cos + x sin), from sin and sin / (1 + cos).
fn turn(x: f32, y: f32, r: vec2<f32>) -> vec2<f32> { return vec2<f32>(x - r.x * (y + r.y * x), y + r.x * (x - r.y * y)); }`.replaceAll(
        "///",
        "//",
      ),
      body({ inputs: [input], output }) {
        const name = isLocal ? "v" : output;
        const base = isLocal ? "" : "start + ";
        const barrier = isLocal ? "workgroupBarrier();" : "storageBarrier(); workgroupBarrier();";
        return `${endBeyond(count * pairs)}
  let start = number * ${extent * extent}u;
  let corner = number / ${pairs}u * ${slots * whole * whole}u + number % ${pairs}u * ${extent * (whole + 1)}u;
  for (var i = local; i < ${loopBound(extent * extent, target)}; i += ${size}u) {
    let row = i / ${extent}u;
    let column = i % ${extent}u;
    if (column <= row) { a[at(row, column)] = ${input}[corner + row * ${whole}u + column]; }
    ${name}[${base}i] = select(0.0, 1.0, row == column);
  }
  if (local == 0u) { atomicStore(&rotated, 0u); }
  ${barrier}
  for (var sweep = 0u; sweep < ${loopBound(sweeps, target)}; sweep++) {
    for (var round = 0u; round < ${loopBound(extent - 1, target)}; round++) {
      for (var k = local; k < ${loopBound(half, target)}; k += ${size}u) {
        let p = pair_of(k, round);
        let app = a[at(p.x, p.x)];
        let aqq = a[at(p.y, p.y)];
        let apq = a[at(p.x, p.y)];
        var r = vec2<f32>(0.0, 0.0);
        if (abs(apq) > max(${2 ** -25} * sqrt(abs(app * aqq)), ${2 ** -30})) {
          let theta = (aqq - app) / (2.0 * apq);
          let size = abs(theta);
          // For large angles' cotangents the square would overflow.
          var t = select(1.0 / (size + sqrt(min(size, 1e9) * min(size, 1e9) + 1.0)), 0.5 / size, size > 1e9);
          t = select(t, -t, theta < 0.0);
          let c = 1.0 / sqrt(t * t + 1.0);
          let s = t * c;
          r = vec2<f32>(s, s / (1.0 + c));
          a[at(p.x, p.x)] = app - t * apq;
          a[at(p.y, p.y)] = aqq + t * apq;
          a[at(p.x, p.y)] = 0.0;
          atomicOr(&rotated, 1u);
        }
        rotation[k] = r;
      }
      workgroupBarrier();
      for (var i = local; i < ${loopBound(blockUpdates, target)}; i += ${size}u) {
        // Pairs k > l: every row of this rectangle holds two rows of the triangle of pairs.
        let row = i / ${half - 1}u;
        let column = i % ${half - 1}u;
        let isShort = column + row >= ${half - 1}u;
        let k = select(${half - 1}u - row, row, isShort);
        let l = select(column, column + row - ${half - 1}u, isShort);
        let rk = rotation[k];
        let rl = rotation[l];
        if (rk.x != 0.0 || rl.x != 0.0) {
          let p = pair_of(k, round);
          let q = pair_of(l, round);
          let upper = turn(a[at(p.x, q.x)], a[at(p.x, q.y)], rl);
          let lower = turn(a[at(p.y, q.x)], a[at(p.y, q.y)], rl);
          let left = turn(upper.x, lower.x, rk);
          let right = turn(upper.y, lower.y, rk);
          a[at(p.x, q.x)] = left.x;
          a[at(p.y, q.x)] = left.y;
          a[at(p.x, q.y)] = right.x;
          a[at(p.y, q.y)] = right.y;
        }
      }
      for (var i = local; i < ${loopBound(half * extent, target)}; i += ${size}u) {
        let r = rotation[i / ${extent}u];
        if (r.x != 0.0) {
          let p = pair_of(i / ${extent}u, round) * ${extent}u + i % ${extent}u;
          let moved = turn(${name}[${base}p.x], ${name}[${base}p.y], r);
          ${name}[${base}p.x] = moved.x;
          ${name}[${base}p.y] = moved.y;
        }
      }
      ${barrier}
    }
    if (local == 0u) { go_on = atomicExchange(&rotated, 0u); }
    if (workgroupUniformLoad(&go_on) == 0u) { break; }
  }${
    isLocal
      ? `
  for (var i = local; i < ${loopBound(extent * extent, target)}; i += ${size}u) { ${output}[start + i] = v[i]; }`
      : ""
  }`;
      },
      workgroupSize: size,
      workgroups: count * pairs,
      // About six sweeps, each of which updates the triangle and the vectors.
      flops: count * pairs * 6 * 9 * extent ** 3,
    };
  },
});

/**
 * Matrices and their eigenvectors `[n, 2, m, m]`, and transposed rotations of their diagonal blocks `[n, p, e, e]`, to the
 * rotated ones, with their blocks of e / 2 in the order of the next round.
 */
export const applyPairs = internalKernel<Record<string, never>>({
  name: "applyPairs",
  shape: ([state]) => state as Aval,
  kernel([state, rotations], _output, _params, target) {
    const [count, , whole] = (state as Aval).shape as [number, number, number];
    const [, pairs, extent] = (rotations as Aval).shape as [number, number, number];
    const [quarter, width, half] = [extent / 4, whole / 4, extent / 2];
    const size = quarter * quarter;
    const lanes = ["x", "y", "z", "w"] as const;
    const each = (text: (i: number) => string): string => [0, 1, 2, 3].map(text).join("\n      ");
    return {
      label: `jacobi_apply_${extent}`,
      declarations: `
var<workgroup> product: array<vec4<f32>, ${extent * quarter}>;
// Where the next round of the tournament has a block: the first one stays, the others go around the table.
fn seat(block: u32) -> u32 {
  if (block == 0u || ${pairs}u == 1u) { return block; }
  if (block == 1u) { return 2u; }
  if (block % 2u == 1u) { return block - 2u; }
  return select(block + 2u, ${2 * pairs - 1}u, block == ${2 * pairs - 2}u);
}
// The place of a row or column.
fn place(i: u32) -> u32 { return seat(i / ${half}u) * ${half}u + i % ${half}u; }`,
      vectors: { inputs: [true, true], output: true },
      body: ({ inputs: [input, turns], output }) => `${endBeyond(count * 2 * pairs * pairs)}
  let matrix = number / ${2 * pairs * pairs}u;
  let is_matrix = number / ${pairs * pairs}u % 2u == 0u;
  let rows = number / ${pairs}u % ${pairs}u;
  let columns = number % ${pairs}u;
  let start = number / ${pairs * pairs}u * ${whole * width}u;
  let row = local / ${quarter}u * 4u;
  let column = local % ${quarter}u;
  {
    let left = start + (rows * ${extent}u + row) * ${width}u + columns * ${quarter}u;
    let right = ((matrix * ${pairs}u + columns) * ${extent}u + column * 4u) * ${quarter}u;
    var c0 = vec4<f32>(); var c1 = vec4<f32>(); var c2 = vec4<f32>(); var c3 = vec4<f32>();
    for (var k = 0u; k < ${loopBound(quarter, target)}; k++) {
      ${each((i) => `let q${i} = ${turns}[right + ${i * quarter}u + k];`)}
      ${each((i) => `let a${i} = ${input}[left + ${i * width}u + k];`)}
      ${each((i) => `c${i} += vec4<f32>(${[0, 1, 2, 3].map((j) => `dot(a${i}, q${j})`).join(", ")});`)}
    }
    ${each((i) => `product[(row + ${i}u) * ${quarter}u + column] = c${i};`)}
  }
  workgroupBarrier();
  let target_column = place(columns * ${extent}u + column * 4u) / 4u;
  if (is_matrix) {
    let left = ((matrix * ${pairs}u + rows) * ${extent}u + row) * ${quarter}u;
    var c0 = vec4<f32>(); var c1 = vec4<f32>(); var c2 = vec4<f32>(); var c3 = vec4<f32>();
    for (var k = 0u; k < ${loopBound(quarter, target)}; k++) {
      ${each((i) => `let q${i} = ${turns}[left + ${i * quarter}u + k];`)}
      ${each((i) => `let a${i} = product[(k * 4u + ${i}u) * ${quarter}u + column];`)}
      ${each((i) => `c${i} += ${[0, 1, 2, 3].map((j) => `q${i}.${lanes[j]} * a${j}`).join(" + ")};`)}
    }
    ${each((i) => `${output}[start + place(rows * ${extent}u + row + ${i}u) * ${width}u + target_column] = c${i};`)}
  } else {
    ${each((i) => `${output}[start + (rows * ${extent}u + row + ${i}u) * ${width}u + target_column] = product[(row + ${i}u) * ${quarter}u + column];`)}
  }`,
      workgroupSize: size,
      workgroups: count * 2 * pairs * pairs,
      flops: count * 6 * whole * whole * extent,
    };
  },
});
