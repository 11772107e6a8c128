/**
 * Random numbers as pure functions of a key (`u32 [2]`): the same key gives the same bits on every adapter, in every
 * order of calls. Split a key for every use; never use one twice.
 *
 * Element i of a draw is Threefry2x32-20 of the key at counter (0, i), the exclusive or of its two words, which is what
 * JAX computes with `jax_threefry_partitionable`.
 *
 * @see Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011)
 */

import { tensor } from "./create";
import { ArgumentError, formatShape, ShapeError } from "./errors";
import { erf } from "./reference/special";
import { type Shape, sizeOf } from "./shape";
import { iota, shuffled, stack, Tensor, threefry } from "./tensor";

/** A key: u32 `[2]`. */
export type Key = Tensor;

/** The key of a seed: an integer from 0 to 2^53 - 1. */
export function key(seed: number): Key {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new ArgumentError(`key: the seed ${seed} is not an integer from 0 to 2^53 - 1.`);
  }
  return tensor(Uint32Array.of(Math.floor(seed / 2 ** 32), seed >>> 0));
}

function words(operation: string, from: Key): [Tensor, Tensor] {
  if (from.dtype !== "u32" || from.rank !== 1 || from.shape[0] !== 2) {
    throw new ShapeError(
      `${operation}: a key is u32 [2], got ${from.dtype} ${formatShape(from.shape)}. Make one with key(seed) or split.`,
    );
  }
  return [from.slice([0], [1]).reshape([]), from.slice([1], [2]).reshape([])];
}

const counters = (count: number): Tensor => iota([count], 0, "u32");

/** `count` independent keys: u32 `[count, 2]`. */
export function split(from: Key, count = 2): Tensor {
  const [first, second] = words("split", from);
  const block = (word: "first" | "second") =>
    threefry([first, second, counters(count).fullLike(0), counters(count)], word);
  return stack([block("first"), block("second")], { axis: 1 });
}

/** {@link split} as an array of keys, for destructuring. */
export function splitKeys(from: Key, count = 2): Key[] {
  const keys = split(from, count);
  return Array.from({ length: count }, (_, index) => keys.slice([index], [index + 1]).reshape([2]));
}

/** A key that depends on an integer too: a host number, or a u32 scalar such as a step counter. */
export function foldIn(from: Key, data: number | Tensor): Key {
  const [first, second] = words("foldIn", from);
  const low = data instanceof Tensor ? data.cast("u32").reshape([]) : tensor(Uint32Array.of(data >>> 0)).reshape([]);
  const block = (word: "first" | "second") => threefry([first, second, low.fullLike(0), low], word);
  return stack([block("first"), block("second")]);
}

/** 32 random bits per element: u32 of the shape. */
export function randomBits(from: Key, shape: Shape): Tensor {
  const [first, second] = words("randomBits", from);
  const counter = counters(sizeOf(shape));
  return threefry([first, second, counter.fullLike(0), counter], "xor").reshape(shape);
}

/** Uniform in [low, high), 23 random bits. */
export function uniform(from: Key, shape: Shape, { low = 0, high = 1 } = {}): Tensor {
  const mantissa = randomBits(from, shape).shiftRight(9).bitOr(0x3f800000);
  const unit = mantissa.bitcast("f32").sub(1);
  return low === 0 && high === 1 ? unit : unit.mul(high - low).add(low);
}

/** Uniform in the open interval (0, 1): the midpoints of 2^23 equal cells. */
const openUniform = (from: Key, shape: Shape): Tensor =>
  randomBits(from, shape)
    .shiftRight(9)
    .cast("f32")
    .add(0.5)
    .mul(2 ** -23);

/** Normal numbers with the given mean and standard deviation, by the inverse of the distribution function. */
export function normal(from: Key, shape: Shape, { mean = 0, std = 1 } = {}): Tensor {
  const z = openUniform(from, shape)
    .mul(2)
    .sub(1)
    .erfInv()
    .mul(Math.SQRT2 * std);
  return mean === 0 ? z : z.add(mean);
}

/** A standard normal number conditioned on lying in [low, high], by the inverse of the distribution function. */
export function truncatedNormal(from: Key, shape: Shape, { low = -2, high = 2 } = {}): Tensor {
  if (!(low < high)) throw new ArgumentError(`truncatedNormal: low ${low} is not below high ${high}.`);
  const [a, b] = [erf(low / Math.SQRT2), erf(high / Math.SQRT2)];
  const z = openUniform(from, shape)
    .mul(b - a)
    .add(a)
    .erfInv()
    .mul(Math.SQRT2);
  return z.maximum(low).minimum(high);
}

/** true with probability `p`; the bits are compared as integers, so that p = 0 and p = 1 are exact. */
export function bernoulli(from: Key, p: number, shape: Shape): Tensor {
  if (!(p >= 0 && p <= 1)) throw new ArgumentError(`bernoulli: the probability ${p} is outside of [0, 1].`);
  const bits = randomBits(from, shape);
  if (p === 1) return bits.equal(bits);
  return bits.less(Math.round(p * 2 ** 32) === 2 ** 32 ? 2 ** 32 - 1 : Math.round(p * 2 ** 32));
}

/** Integers in [low, high), i32. The bias of the remainder is below (high - low) / 2^32. */
export function randomIntegers(from: Key, shape: Shape, { low = 0, high }: { low?: number; high: number }): Tensor {
  if (!(Number.isInteger(low) && Number.isInteger(high) && low < high)) {
    throw new ArgumentError(`randomIntegers: [${low}, ${high}) holds no integer.`);
  }
  return randomBits(from, shape)
    .rem(high - low)
    .cast("i32")
    .add(low);
}

/**
 * A random order of 0 … count - 1, i32 `[count]`.
 *
 * @see {@link permutedPositions}
 */
export const permutation = (from: Key, count: number): Tensor =>
  permutedPositions(from, iota([count], 0, "u32"), count).cast("i32");

/**
 * Where the random permutation of 0 … count - 1 that belongs to the key sends u32 positions. Only these are computed,
 * without sorting and without memory: a training step draws its batch from the epoch's order in this way.
 *
 * @see Hoang, Morris and Rogaway, An enciphering scheme based on a card shuffle (CRYPTO 2012): swap-or-not
 */
export function permutedPositions(from: Key, positions: Tensor, count: number): Tensor {
  const [first, second] = words("permutedPositions", from);
  return shuffled(first, second, positions, count);
}
