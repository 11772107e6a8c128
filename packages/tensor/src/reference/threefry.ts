const rotations = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
] as const;

/**
 * Threefry2x32 with 20 rounds on the words (key0, key1, counter0, counter1).
 *
 * @see Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011)
 */
export function threefry2x32(words: readonly [number, number, number, number]): [number, number] {
  const [key0, key1, counter0, counter1] = words;
  const keys = [key0, key1, (key0 ^ key1 ^ 0x1bd11bda) >>> 0];
  let x0 = (counter0 + key0) >>> 0;
  let x1 = (counter1 + key1) >>> 0;
  for (let group = 0; group < 5; group++) {
    for (const rotation of rotations[group % 2] as (typeof rotations)[0]) {
      x0 = (x0 + x1) >>> 0;
      x1 = ((x1 << rotation) | (x1 >>> (32 - rotation))) >>> 0;
      x1 = (x1 ^ x0) >>> 0;
    }
    x0 = (x0 + (keys[(group + 1) % 3] as number)) >>> 0;
    x1 = (x1 + (keys[(group + 2) % 3] as number) + group + 1) >>> 0;
  }
  return [x0, x1];
}

/** Rounds of {@link swapOrNot}: six per bit of the position are the authors' recommendation. */
export const swapOrNotRounds = (count: number): number => 6 * Math.max(1, 32 - Math.clz32(Math.max(1, count - 1)));

/**
 * Where the keyed permutation of 0 … count - 1 sends `position`. In every round a position may swap with its mirror
 * image about a random centre; one random bit per pair decides.
 *
 * @see Hoang, Morris and Rogaway, An enciphering scheme based on a card shuffle (CRYPTO 2012)
 */
export function swapOrNot(key0: number, key1: number, position: number, count: number): number {
  let x = position;
  for (let round = 0; round < swapOrNotRounds(count); round++) {
    const [centre] = threefry2x32([key0, key1, 0xffffffff, round]);
    const partner = ((centre % count) + count - x) % count;
    const [bits] = threefry2x32([key0, key1, Math.max(x, partner), round]);
    if (bits & 1) x = partner;
  }
  return x;
}
