/**
 * Uniform numbers in [0, 1) from a 32-bit seed, the same on every machine (Mulberry32: an additive generator with a mixing
 * finaliser). Good enough to fill benchmarks with; not for statistics.
 */
export function uniformGenerator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = state;
    bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
