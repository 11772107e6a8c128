/**
 * A source of random numbers made of 32-bit integer operations only, so that every platform gives the same sequence.
 * Statistical quality is that of a 32-bit mixing function: ample for drawing pictures, and for nothing more serious.
 */
export interface IntegerRandom {
  /** A whole number from 0 to 2^32 - 1. */
  bits(): number;
  /** A number from `low` (included) to `high` (excluded), uniform over 2^32 steps. */
  uniform(low: number, high: number): number;
  /** A whole number from 0 to `count - 1`. */
  below(count: number): number;
  /** Approximately standard normal: the centred sum of twelve uniform numbers, which needs no logarithm. */
  bell(): number;
}

/**
 * The random numbers of stream `stream` of `seed`: a Weyl sequence passed through a mixing function (the scheme of
 * SplitMix in 32 bits). Streams of the same seed start at unrelated places, so an image can be drawn without the ones
 * before it.
 */
export function integerRandom(seed: number, stream: number): IntegerRandom {
  let state = mix(mix(seed >>> 0) ^ Math.imul(stream, 0x9e3779b9));
  const bits = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    return mix(state);
  };
  const uniform = (low: number, high: number): number => low + (high - low) * (bits() / 2 ** 32);
  const below = (count: number): number => Math.floor(uniform(0, count));
  const bell = (): number => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += bits() / 2 ** 32;
    return sum;
  };
  return { bits, uniform, below, bell };
}

/** A bijection of 32-bit integers in which every input bit changes about half of the output bits. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
